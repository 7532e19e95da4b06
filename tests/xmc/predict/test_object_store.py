"""Invariants, against the S3 API served on loopback: the objects of a store are those of a folder, byte for byte; an
object is whole or not there; what is missing or forbidden is said; a key never reaches an output or an error."""

import http.server
import os
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from predict_cases import contents, write_shards

from xmc import predict_run
from xmc.data.shard_list import ShardFile, list_shards
from xmc.data.shard_stream import open_stream
from xmc.errors import ArtifactError, ConfigError, DataError
from xmc.store.location import Location
from xmc.store.location_writer import delete_at, location_writer, write_text_at

SERVER = """
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
import sys
sys.stdin.read()
"""
KEY = "not-a-real-key"
S3 = f"s3://someone:{KEY}@"


@pytest.fixture(scope="module")
def endpoint():
    pytest.importorskip("moto", reason="moto[server] is not installed")
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    yield f"127.0.0.1:{int(server.stdout.readline())}"
    server.stdin.close()
    server.wait(30)


@pytest.fixture(scope="module")
def options(endpoint):
    return f"endpoint_override={endpoint}&scheme=http&region=us-east-1"


@pytest.fixture
def bucket(endpoint, request):
    """A new bucket; its name."""
    name = f"bucket-{time.time_ns()}"
    urllib.request.urlopen(urllib.request.Request(f"http://{endpoint}/{name}", method="PUT")).close()
    return name


def upload(folder, place):
    for path in folder.iterdir():
        with location_writer(place.child(path.name)) as file:
            file.write(path.read_bytes())


def objects(place):
    system, path = place.opened()
    from pyarrow.fs import FileSelector, FileType

    infos = system.get_file_info(FileSelector(path, recursive=True))
    names = [info.path.removeprefix(path + "/") for info in infos if info.type == FileType.File]
    return {name: place.child(name).read_bytes() for name in names}


def test_from_bucket_to_bucket(tiny_run, bucket, options, tmp_path):
    folder = write_shards(tmp_path / "in", shards=3, rows=30)
    upload(folder, Location.of(f"{S3}{bucket}/in?{options}"))
    out = Location.of(f"{S3}{bucket}/out?{options}")
    job = {"k": 3, "workers": 1, "batch_rows": 16}
    report = predict_run(
        tiny_run,
        f"{S3}{bucket}/in/part-*?{options}",
        f"{S3}{bucket}/out?{options}",
        **job,
    )
    assert (report.shards, report.rows, report.out) == (3, 93, f"s3://{bucket}/out")
    predict_run(tiny_run, str(folder), tmp_path / "out", **job)
    here, there = contents(tmp_path / "out"), objects(out)
    assert set(here) == set(there)
    assert all(here[name] == there[name] for name in here if name.endswith(".parquet"))
    assert not [name for name, data in there.items() if KEY.encode() in data]

    write_text_at(out.child("part-1.parquet"), "short")  # not the size that was acknowledged
    delete_at(out.child("_acks/part-2.parquet.json"))  # killed between the object and its acknowledgement
    again = predict_run(tiny_run, f"{S3}{bucket}/in?{options}", f"{S3}{bucket}/out?{options}", **job)
    assert again.skipped == 1
    assert objects(out) == there
    with pytest.raises(ConfigError, match="holds the output of another job: k 3 there, 2 here") as raised:
        predict_run(
            tiny_run,
            f"{S3}{bucket}/in?{options}",
            f"{S3}{bucket}/out?{options}",
            **{**job, "k": 2},
        )
    assert KEY not in str(raised.value)


def test_an_object_is_whole_or_not_there(bucket, options):
    place = Location.of(f"{S3}{bucket}/a?{options}")
    with pytest.raises(RuntimeError, match="stop"), location_writer(place) as file:
        file.write(b"x" * 1000)
        raise RuntimeError("stop")
    assert place.size() is None and place.read_bytes() is None
    data = os.urandom(12 << 20)  # more than one part of an upload
    with location_writer(place) as file:
        file.write(data)
    assert place.size() == file.size == len(data) and place.read_bytes() == data


def test_the_time_of_an_object_counts_to_the_second(bucket, options):
    """MinIO, Ceph and others list it with milliseconds, and have none when they are asked for the one object."""
    write_text_at(Location.of(f"{S3}{bucket}/in/a.parquet?{options}"), "x")
    (shard,) = list_shards(f"{S3}{bucket}/in?{options}").shards
    assert not replace(shard, modified_ns=shard.modified_ns + 623_000_000).has_changed()
    assert replace(shard, modified_ns=shard.modified_ns + 1_000_000_000).has_changed()


def test_a_missing_bucket_is_named(tiny_run, options, tmp_path):
    with pytest.raises(ArtifactError, match=r"s3://no-such-bucket-here/in.*refuses.*Is the bucket there") as raised:
        list_shards(f"{S3}no-such-bucket-here/in/*.parquet?{options}")
    assert KEY not in str(raised.value)
    folder = write_shards(tmp_path / "in", shards=1, rows=5)
    with pytest.raises(ArtifactError, match="refuses"):
        predict_run(tiny_run, str(folder), f"{S3}no-such-bucket-here/out?{options}", workers=1)


class Forbidding(http.server.BaseHTTPRequestHandler):
    """Answers 403 to everything."""

    def do_HEAD(self):
        self.send_error(403)

    do_GET = do_HEAD

    def log_message(self, *words):
        pass


@pytest.fixture
def forbidding():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forbidding) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"endpoint_override=127.0.0.1:{server.server_port}&scheme=http&region=us-east-1"
        server.shutdown()


def test_an_object_that_is_refused_is_a_failure_of_its_own(forbidding):
    place = Location.of(f"{S3}bucket/in/a.parquet?{forbidding}")
    shard = ShardFile(place, "a.parquet", 10, 0)
    for ask in (lambda: open_stream(shard, columns=[], rows=1).__enter__(), shard.has_changed):
        with pytest.raises(DataError, match=r"s3://bucket/in/a.parquet: the store refuses") as raised:
            ask()
        assert KEY not in str(raised.value)


def test_an_empty_folder_of_a_bucket_and_a_missing_object(bucket, options):
    with pytest.raises(DataError, match=rf"there is no table s3://{bucket}/in\."):
        list_shards(f"{S3}{bucket}/in?{options}")
    with pytest.raises(DataError, match=rf"there is no table s3://{bucket}/in/\*.parquet"):
        list_shards(f"{S3}{bucket}/in/*.parquet?{options}")


def test_a_key_with_an_empty_part_is_named(endpoint, bucket, options):
    for key in ("in/a.parquet", "in//b.parquet"):
        request = urllib.request.Request(f"http://{endpoint}/{bucket}/{key}", data=b"x", method="PUT")
        urllib.request.urlopen(request).close()
    for pattern in ("in", "in/**", "in/**/*.parquet"):
        with pytest.raises(DataError, match=rf"s3://{bucket}/in//b\.parquet: a part of its name .* is empty"):
            list_shards(f"{S3}{bucket}/{pattern}?{options}")
    assert [shard.name for shard in list_shards(f"{S3}{bucket}/in/*?{options}").shards] == ["a.parquet"]


def test_other_urls(tmp_path):
    write_text_at(Location.of(f"file://{tmp_path}/a%20b/c"), "here")
    assert (tmp_path / "a b" / "c").read_text() == "here"
    with pytest.raises(ConfigError, match="a file URL names no host"):
        Location.of("file://elsewhere/a")
    for name in ("a#1", "part-?.parquet"):
        with pytest.raises(ConfigError, match=r"a file URL has no '\?' or '#'\. Write %3F or %23"):
            Location.of(f"file://{tmp_path}/{name}")
    assert Location.of(f"file://{tmp_path}/a%231").path == f"{tmp_path}/a#1"
    with pytest.raises(ConfigError, match="no file system for 'gopher://' URLs"):
        list_shards("gopher://host/in")
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    place = Location.of("memory://folder/a.txt")
    write_text_at(place, "in memory")
    assert place.read_bytes() == b"in memory" and place.size() == 9


def test_a_store_that_fsspec_opens(tiny_run, tmp_path):
    """Its paths begin with a slash, those of S3 do not."""
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
    folder = write_shards(tmp_path / "in", shards=2, rows=9)
    upload(folder, Location.of("memory://bucket/in"))
    upload(folder, Location.of("memory://bucket/in/below"))
    names = ["below/part-0.parquet", "below/part-1.arrow", "part-0.parquet", "part-1.arrow"]
    for pattern in ("", "/**", "/**/*"):
        assert [shard.name for shard in list_shards(f"memory://bucket/in{pattern}").shards] == names
    assert [shard.name for shard in list_shards("memory://bucket/in/*.*").shards] == names[2:]
    report = predict_run(tiny_run, "memory://bucket/in", "memory://bucket/out", k=3, workers=1)
    assert (report.shards, report.skipped, report.out) == (4, 0, "memory://bucket/out")
    delete_at(Location.of("memory://bucket/out/part-1.parquet"))
    assert predict_run(tiny_run, "memory://bucket/in", "memory://bucket/out", k=3, workers=1).skipped == 3
    predict_run(tiny_run, str(folder), tmp_path / "out", k=3, workers=1)
    there = objects(Location.of("memory://bucket/out"))
    assert {name for name in there if "below" not in name} == set(contents(tmp_path / "out"))
    assert all(there[name] == (tmp_path / "out" / name).read_bytes() for name in ("part-0.parquet", "part-1.parquet"))
    with pytest.raises(DataError, match="there is no table memory://bucket/none"):
        list_shards("memory://bucket/none")
    fsspec.filesystem("memory").store["/bucket/in/part-0.parquet"].created = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(ConfigError, match=r"in/part-0\.parquet is not the file whose hits are in .*written again"):
        predict_run(tiny_run, "memory://bucket/in", "memory://bucket/out", k=3, workers=1)


def test_options_of_a_store_that_fsspec_opens_reach_it():
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
    system, path = Location.of("memory://bucket/a?endpoint=http%3A%2F%2Fhost&anon=1").opened()
    assert path == "/bucket/a"
    assert system.handler.fs.storage_options == {"endpoint": "http://host", "anon": "1"}

    class Strict(fsspec.get_filesystem_class("memory")):
        def __init__(self, region=""):
            super().__init__()

    fsspec.register_implementation("strict", Strict)
    with pytest.raises(ConfigError, match=r"strict://bucket: the options after the \? cannot be: .*'colour'"):
        Location.of("strict://bucket/a?region=here&colour=red").opened()
