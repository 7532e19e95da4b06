"""Versions with two files of the same text, and how they are read back."""

from xmc.store import VersionedFolder


def commit(store: VersionedFolder, text: str, *, keep: int = 2) -> None:
    with store.new_version(facts={"text": text}, keep=keep) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a.txt").write_text(text)
        (folder / "b.txt").write_text(text * 2)


def read(store: VersionedFolder) -> str:
    version = store.current()
    text = (version.folder / "sub" / "a.txt").read_text()
    assert (version.folder / "b.txt").read_text() == text * 2
    assert version.manifest.facts == {"text": text}
    return text


def entries(store: VersionedFolder) -> list[str]:
    return sorted(path.name for path in store.root.iterdir())
