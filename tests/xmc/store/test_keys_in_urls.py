"""Invariants: what of a URL may be a key is in no error, whatever the key is made of."""

import pytest

from xmc.errors import ConfigError
from xmc.store.location import Location

SECRET = "wJalr%2FXUtn"


@pytest.mark.parametrize("secret", ["wJa/lrXUtn", "wJa?lrXUtn", "wJa/lr?XUtn", "wJa%lrXUtn", "wJa lrXUtn"])
def test_a_key_that_breaks_the_url_apart_is_not_shown(secret):
    with pytest.raises(ConfigError) as caught:
        Location.of(f"s3://AKIA1:{secret}@bucket/in").opened()
    said = str(caught.value)
    assert "XUtn" not in said and "wJa" not in said and "AKIA1" not in said


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"s3://AKIA1:{SECRET}@bucket/in", "s3://bucket/in"),
        ("s3://bucket/in@home/a", "s3://bucket/in@home/a"),
        ("hdfs://host:8020/in@home", "hdfs://host:8020/in@home"),
    ],
)
def test_other_urls_are_taken_apart_as_before(url, shown):
    assert Location.of(url).shown == shown
