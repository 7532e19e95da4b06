"""Paths that begin with `~`, the home folder."""

import os.path
from pathlib import Path


def home_expanded(path: str) -> Path:
    """The path with the home folder in place of `~`; of a user who is unknown it stays, and then nothing is there.

    >>> home_expanded("~no-such-user/model"), home_expanded("model")
    (PosixPath('~no-such-user/model'), PosixPath('model'))
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111 - where the user is unknown, that of pathlib raises
