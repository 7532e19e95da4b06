"""Damage to a stored folder: every kind there is to every file, one at a time, undone afterwards."""

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

Undo = Callable[[], None]


def _rewrite(path: Path, data: bytes) -> Undo | None:
    before = path.read_bytes()
    if data == before:
        return None
    path.write_bytes(data)
    return lambda: path.write_bytes(before) and None


def truncated(path: Path, generator: random.Random) -> Undo | None:
    data = path.read_bytes()
    return _rewrite(path, data[: generator.randrange(len(data))] if data else data)


def last_byte_cut(path: Path, generator: random.Random) -> Undo | None:
    return _rewrite(path, path.read_bytes()[:-1])


def emptied(path: Path, generator: random.Random) -> Undo | None:
    return _rewrite(path, b"")


def extended(path: Path, generator: random.Random) -> Undo | None:
    return _rewrite(path, path.read_bytes() + generator.choice([b"\n", b" ", b"\0", generator.randbytes(100)]))


def bit_flipped(path: Path, generator: random.Random) -> Undo | None:
    data = bytearray(path.read_bytes())
    if data:
        data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    return _rewrite(path, bytes(data))


def head_flipped(path: Path, generator: random.Random) -> Undo | None:
    """In the first bytes, where formats keep lengths and offsets."""
    data = bytearray(path.read_bytes())
    if data:
        data[generator.randrange(min(64, len(data)))] ^= generator.randrange(1, 256)
    return _rewrite(path, bytes(data))


def block_overwritten(path: Path, generator: random.Random) -> Undo | None:
    data = bytearray(path.read_bytes())
    start = generator.randrange(len(data) + 1)
    size = min(generator.randrange(1, 513), len(data) - start)
    data[start : start + size] = generator.choice([bytes(size), b"\xff" * size, generator.randbytes(size)])
    return _rewrite(path, bytes(data))


def block_moved(path: Path, generator: random.Random) -> Undo | None:
    data = path.read_bytes()
    cut = generator.randrange(len(data) + 1)
    return _rewrite(path, data[cut:] + data[:cut])


def deleted(path: Path, generator: random.Random) -> Undo | None:
    data = path.read_bytes()
    path.unlink()
    return lambda: path.write_bytes(data) and None


def linked(path: Path, generator: random.Random) -> Undo | None:
    """The same content, but behind a link: whoever owns its target can change it later."""
    target = path.with_name("..target") if generator.random() < 0.5 else path.parents[2] / "target"
    path.rename(target)
    path.symlink_to(target)

    def undo() -> None:
        path.unlink()
        target.rename(path)

    return undo


def replaced_by_folder(path: Path, generator: random.Random) -> Undo | None:
    data = path.read_bytes()
    path.unlink()
    path.mkdir()

    def undo() -> None:
        path.rmdir()
        path.write_bytes(data)

    return undo


def extra_file(path: Path, generator: random.Random) -> Undo | None:
    if path.name == "CURRENT":
        return None  # beside the versions there may be other files
    extra = path.with_name(generator.choice(["extra.bin", path.name + ".bak", ".hidden", "pytorch_model.bin"]))
    extra.write_bytes(path.read_bytes())
    return extra.unlink


def swapped(path: Path, generator: random.Random) -> Undo | None:
    """With another file of the store, which includes its other versions."""
    others = [p for p in store_of(path).rglob("*") if p.is_file() and p.read_bytes() != path.read_bytes()]
    return _swap(path, generator.choice([p for p in others if p.name != ".lock"]))


def swapped_with_other_version(path: Path, generator: random.Random) -> Undo | None:
    if path.name == "CURRENT":
        return None
    for version in store_of(path).glob("v*"):
        other = version / path.relative_to(next(p for p in path.parents if p.parent == store_of(path)))
        if version not in path.parents and other.is_file() and other.read_bytes() != path.read_bytes():
            return _swap(path, other)
    return None


def _swap(one: Path, other: Path) -> Undo:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)

    def undo() -> None:
        one.write_bytes(first)
        other.write_bytes(second)

    return undo


def store_of(path: Path) -> Path:
    """The folder that holds CURRENT."""
    return next(parent for parent in path.parents if os.path.lexists(parent / ".lock"))


KINDS = (
    truncated,
    last_byte_cut,
    emptied,
    extended,
    bit_flipped,
    head_flipped,
    block_overwritten,
    block_moved,
    deleted,
    linked,
    replaced_by_folder,
    extra_file,
    swapped,
    swapped_with_other_version,
)


def files_of(store: Path, version: Path) -> list[Path]:
    """Every file that a reader of the store depends on."""
    return [store / "CURRENT", *sorted(path for path in version.rglob("*") if path.is_file())]


@contextlib.contextmanager
def damaged(path: Path, kind: Callable[[Path, random.Random], Undo | None], generator: random.Random) -> Iterator[bool]:
    """Damage the file for the block; yields whether anything was changed."""
    undo = kind(path, generator)
    try:
        yield undo is not None
    finally:
        if undo:
            undo()
