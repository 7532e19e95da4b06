"""Libraries that an adapter needs and xmc does not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from xmc.errors import ConfigError


@contextlib.contextmanager
def from_extra(extra: str, *, package: str) -> Iterator[None]:
    """Import what the extra brings inside this block.

    Raises: ConfigError naming the package and the extra when an import fails.

    >>> with from_extra("haystack", package="haystack-ai"):
    ...     import no_such_module
    Traceback (most recent call last):
    ...
    xmc.errors.ConfigError: the package 'haystack-ai' is not installed. pip install 'xmc-engine[haystack]'
    """
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"the package '{package}' is not installed.", hint=f"pip install 'xmc-engine[{extra}]'"
        ) from error
