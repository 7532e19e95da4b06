"""Invariants: a file, a folder and a pattern name the shards a shell would name, in natural order, with their state."""

import gzip
import os
import re
import shlex
import socket
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xmc.data.shard_list import ShardFile, list_shards
from xmc.data.shard_pattern import ShardPattern, pattern_of
from xmc.errors import ConfigError, DataError
from xmc.store.location import Location

NAMES = ("part-10.parquet", "part-9.parquet", "b.arrow", "sub/part-1.parquet", "_done.parquet", ".x.parquet", "c.txt")


@pytest.fixture
def folder(tmp_path):
    for name in (*NAMES, "_hidden/d.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("", ["b.arrow", "part-9.parquet", "part-10.parquet", "sub/part-1.parquet"]),
        ("/part-9.parquet", ["part-9.parquet"]),
        ("/part-*.parquet", ["part-9.parquet", "part-10.parquet"]),
        ("/part-?.parquet", ["part-9.parquet"]),
        ("/part-[!9]*.parquet", ["part-10.parquet"]),
        ("/*/*.parquet", ["sub/part-1.parquet"]),
        ("/_*/*.parquet", ["_hidden/d.parquet"]),
        ("/**/.*.parquet", [".x.parquet"]),
        ("/**/part-*.parquet", ["part-9.parquet", "part-10.parquet", "sub/part-1.parquet"]),
        ("/s**/*", ["sub/part-1.parquet"]),
        ("/sub/**", ["part-1.parquet"]),
        ("/[!c]*/**", ["sub/part-1.parquet"]),
    ],
)
def test_what_is_named(folder, pattern, names):
    for text in (f"{folder}{pattern}", f"file://{folder}{pattern}")[: 1 if "?" in pattern else 2]:
        assert [shard.name for shard in list_shards(text).shards] == names


def test_a_relative_path(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert [shard.name for shard in list_shards("sub").shards] == ["part-1.parquet"]
    assert [shard.name for shard in list_shards("./sub/*").shards] == ["part-1.parquet"]
    assert list_shards("sub").shards[0].location == Location("", str(folder / "sub" / "part-1.parquet"))


def test_the_state_of_a_file(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    (shard,) = list_shards(str(path)).shards
    assert ShardFile.from_dict(shard.to_dict()) == shard
    assert (shard.size, shard.modified_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert not shard.has_changed()
    os.utime(path, ns=(0, shard.modified_ns + 1))
    assert shard.has_changed()


@pytest.mark.parametrize("pattern", ["/nothing.parquet", "/no*.parquet", "/no/*.parquet", "/c.txt/*"])
def test_nothing(folder, pattern):
    with pytest.raises(DataError, match="there is no table"):
        list_shards(f"{folder}{pattern}")


def test_what_is_there_and_holds_no_table_is_said_to_be_that(folder, tmp_path_factory):
    (folder / "empty.parquet").mkdir()
    (folder / "log.parquet").mkdir()
    (folder / "log.parquet" / "_temporary").write_text("")
    (folder / "gone.parquet").symlink_to("nowhere.parquet")
    os.mkfifo(folder / "pipe.parquet")
    with socket.socket(socket.AF_UNIX) as made:
        short = tmp_path_factory.mktemp("s") / "x.parquet"  # the path of a socket has at most 107 bytes
        made.bind(str(short))
        for place, said in (
            (folder / "empty.parquet", r"^there is no table in the folder \S+/empty\.parquet, which is empty\."),
            (folder / "log.parquet", r"^there is no table in the folder \S+/log\.parquet\. Give"),
            (folder / "gone.parquet", r"^\S+/gone\.parquet is a link to nothing, and no table\."),
            (folder / "pipe.parquet", r"^\S+/pipe\.parquet is a pipe, socket or device, and no table\."),
            (short, r"^\S+/x\.parquet is a pipe, socket or device, and no table\."),
        ):
            with pytest.raises(DataError, match=said):
                list_shards(str(place))


def test_another_kind_of_file(folder):
    with pytest.raises(DataError, match=r"c\.txt: a table ends in \.parquet or \.arrow"):
        list_shards(f"{folder}/c*")


def test_a_link_to_what_is_above_the_named_folder_is_not_followed(folder):
    (folder / "sub" / "up").symlink_to(folder)
    names = [shard.name for shard in list_shards(str(folder / "sub")).shards]
    assert not [name for name in names if name.startswith("up/")]
    assert names == [name.removeprefix("sub/") for name in _names(folder) if name.startswith("sub/")]


def _names(folder):
    return [shard.name for shard in list_shards(str(folder)).shards]


def test_what_is_left_out_is_said(folder):
    """In both forms alike, but for other endings, which a pattern leaves out or names itself."""
    (folder / "a.PARQUET").write_text("")
    (folder / "b.pq").write_text("")
    (folder / "c.pq").write_text("")
    (folder / "sub" / "back").symlink_to("..")
    os.mkfifo(folder / "pipe.parquet")
    hidden, loop = "3 whose path has a name that begins with _ or .", "1 with a link to a folder above"
    pipe = "1 of the kind pipe, socket or device"
    for text, reasons in (
        (
            str(folder),
            {hidden, loop, pipe, "2 with the ending .pq", "1 with the ending .PARQUET", "1 with the ending .txt"},
        ),
        (f"{folder}/**/*.parquet", {hidden, loop, pipe}),
    ):
        listing = list_shards(text)
        (note,) = listing.notes
        where, _, said = note.removesuffix(".").partition(": ")
        assert where == f"left out of {text}" and (set(said.split("; ")) - {"others"}) <= reasons
        assert "part-1.parquet" not in [shard.name for shard in listing.shards]
        assert len([shard for shard in listing.shards if shard.name.endswith("part-1.parquet")]) == 1
    assert not list_shards(f"{folder}/part-*.parquet").notes


def test_what_xmc_wrote_is_no_shard_unless_its_folder_is_named(folder):
    for name in (
        "job/_job.json",
        "x/_acks/a.parquet.json",
        "y/CURRENT",
        "y/new/manifest.json",
        "z/v000001/manifest.json",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    hits = ("_job.json", "_acks/deep/a.parquet.json", "deep/a.parquet", "b.parquet")
    part = ("CURRENT", "v000002/manifest.json", "v000002/deep/c.parquet")
    for name in (*(f"sub/hits/{one}" for one in hits), *(f"run/index/{one}" for one in part), "run/x.arrow"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    for other in ("job", "x", "y/new", "z/v000001"):  # a mark alone is none
        (folder / other / "q.arrow").write_text("")
    for text, count in ((folder, 9), (f"{folder}/**/*.parquet", 3)):
        listing = list_shards(text)
        assert len(listing.shards) == count and "sub/part-1.parquet" in [shard.name for shard in listing.shards]
        assert "2 with hits of xmc predict" in listing.notes[0] and "1 with parts of a run" in listing.notes[0]
    assert len(list_shards(folder / "sub" / "hits").shards) == 2  # named, so the command says what they lack
    with pytest.raises(DataError, match=r"there is no table .*: 1 with parts of a run"):
        list_shards(f"{folder}/run/i*/**/*.parquet")


def test_a_folder_that_a_pattern_names_is_not_passed_over_unseen(tmp_path):
    """Spark writes folders whose names end in .parquet."""
    for name in ("x.parquet", "day.parquet/part-0.parquet", "_hidden.parquet/part-0.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    listing = list_shards(f"{tmp_path}/*.parquet")
    assert [shard.name for shard in listing.shards] == ["x.parquet"]
    (note,) = listing.notes
    assert "1 of the kind folder (what lies inside is named by" in note and f"{tmp_path}/*.parquet/**" in note
    assert [shard.name for shard in list_shards(f"{tmp_path}/*.parquet/**").shards] == ["day.parquet/part-0.parquet"]
    both = list_shards(f"{tmp_path}/**")
    assert [shard.name for shard in both.shards] == ["day.parquet/part-0.parquet", "x.parquet"]
    assert not any("kind folder" in note for note in both.notes)
    with pytest.raises(DataError, match=r"there is no table .*/d\*\. left out .*: 1 of the kind folder"):
        list_shards(f"{tmp_path}/d*")


def test_a_linked_folder_is_that_folder_and_a_link_to_nothing_an_error(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "e.arrow").write_text("e")
    (folder / "linked").symlink_to(elsewhere)
    assert "linked/e.arrow" in [shard.name for shard in list_shards(str(folder)).shards]
    (folder / "gone.arrow").symlink_to("nowhere")
    for text in (folder, f"{folder}/*.arrow"):
        with pytest.raises(DataError, match=r"gone\.arrow is a link to nothing"):
            list_shards(str(text))
    assert len(list_shards(f"{folder}/part-*.parquet").shards) == 2


def test_what_exists_is_itself(tmp_path):
    for name in ("a[1].parquet", "a1.parquet", "d[1]/a.arrow", "d1/b.arrow"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    for text, names in {"a[1].parquet": ["a[1].parquet"], "d[1]/*": ["a.arrow"], "d[1]": ["a.arrow"]}.items():
        assert [shard.name for shard in list_shards(f"{tmp_path}/{text}").shards] == names
    (tmp_path / "a[1].parquet").unlink()
    assert [shard.name for shard in list_shards(f"{tmp_path}/a[1].parquet").shards] == ["a1.parquet"]


def test_several_are_joined(folder):
    listing = list_shards([f"{folder}/part-*.parquet", f"{folder}/part-9.parquet", f"{folder}/b.arrow"])
    assert [shard.name for shard in listing.shards] == ["b.arrow", "part-9.parquet", "part-10.parquet"]
    with pytest.raises(DataError, match=r"there is no table .*nothing"):
        list_shards([str(folder), f"{folder}/nothing"])
    for nothing, message in (([], "no shards were named"), ("", "a name of shards is empty")):
        with pytest.raises(DataError, match=message):
            list_shards(nothing)


def would_name(pattern, path):
    place = Location.of(path)
    return ShardPattern.of(pattern).names(place, real=place.real)


def test_what_a_pattern_would_name(folder):
    def named(text, name):
        return would_name(f"{folder}{text}", f"{folder}/{name}")

    assert named("", "hits/a.parquet") and named("/", "a.parquet") and named("/part-9.parquet", "part-9.parquet")
    assert named("/**/*.parquet", "hits/a.parquet") and not named("/*.parquet", "hits/a.parquet")
    assert not named("", "_hits/a.parquet") and not named("/sub", "hits/a.parquet")


def test_what_a_pattern_would_name_where_links_lead(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "link").symlink_to(folder)
    (folder / "way").symlink_to(elsewhere)
    assert would_name(f"{elsewhere}/link", f"{folder}/hits/a.parquet")
    assert would_name(f"{elsewhere}/link/b.arrow", f"{folder}/b.arrow")
    assert would_name(str(folder), f"{folder}/way/a.parquet")
    assert not would_name(str(folder), f"{elsewhere}/a.parquet")


def test_a_path_is_taken_as_text_is(folder):
    assert list_shards(folder) == list_shards(str(folder)) == list_shards([folder])


def test_a_name_that_is_no_text(tmp_path):
    (tmp_path / "a\udcff.parquet").write_text("")
    with pytest.raises(DataError, match=r"a\\udcff\.parquet': its name is not UTF-8"):
        list_shards(str(tmp_path))
    for name in ("a\udcff.parquet", "\udcff/*.parquet", "file:///\udcff", "s3://\udcff/in"):
        with pytest.raises(ConfigError, match=r"its name is not UTF-8\. Rename it\."):
            list_shards(str(tmp_path / name) if "://" not in name else name)


KINDS = {
    "jsonl": b'{"id": "a", "text": "tram"}\n{"id": "b", "text": "two words"}\n',
    "csv": b"id,text\na,tram\nb,two words\n",
}


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_hint_makes_a_table_of_it(tmp_path, kind, packed):
    path = tmp_path / f"it's my.{kind}{packed}"
    path.write_bytes(gzip.compress(KINDS[kind]) if packed else KINDS[kind])
    with pytest.raises(DataError) as caught:
        list_shards(str(path))
    command = shlex.split(caught.value.hint.partition(": ")[2])
    assert command[:2] == ["python", "-c"]
    subprocess.run([sys.executable, *command[1:]], check=True)
    (shard,) = list_shards(str(tmp_path / "*.parquet")).shards
    assert pq.read_table(shard.location.path).to_pydict() == {"id": ["a", "b"], "text": ["tram", "two words"]}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a.parquet.gz", "Unpack it: gunzip"),
        ("a.arrow.zst", "Unpack it: unzstd"),
        ("a.feather", "If it is Arrow IPC"),
        ("a.pq", "If it is Parquet"),
    ],
)
def test_what_a_table_of_another_name_needs_is_said(tmp_path, name, says):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=rf"a table ends in .parquet or .arrow\. {says}"):
        list_shards(tmp_path / name)


def test_lines_of_text_have_another_way(folder):
    with pytest.raises(DataError, match="xmc search - --run RUN < FILE"):
        list_shards(f"{folder}/c.txt")


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("a[].parquet", "'[]' is no set of characters (it is empty)"),
        ("a[!].parquet", "'[!]' is no set of characters (it is empty)"),
        ("no/[z-b]*.parquet", "'[z-b]' is no set of characters (bad character range z-b)"),
    ],
)
def test_a_set_of_characters_that_is_none_is_refused(folder, pattern, why):
    """Also where no name would be compared with it."""
    with pytest.raises(
        DataError, match=re.escape(f"the pattern '{pattern.removeprefix('no/')}' cannot be read: {why}.")
    ) as caught:
        list_shards(f"{folder}/{pattern}")
    assert "[!0-9] any other" in caught.value.hint


@pytest.mark.filterwarnings("error")
def test_a_set_of_characters_is_that_of_a_shell_and_no_regular_expression():
    names = "0", "\\", "d", "a", "[", "&", "/"
    for pattern, meant in (("[\\d]", "\\d"), ("[[]", "["), ("[a&&d]", "da&"), ("[!d]", "0\\a[&"), ("[^d]", "0\\a[&")):
        assert {name for name in names if pattern_of(pattern).fullmatch(name)} == set(meant), pattern


def test_dots_are_dots():
    assert not pattern_of("*.parquet").fullmatch("a-parquet")
