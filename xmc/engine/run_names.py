"""Names of runs where several are worked with at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from xmc.errors import ConfigError

NAME = r"^[A-Za-z0-9._-]{1,64}$"


def name_runs(words: Sequence[str]) -> dict[str, Path]:
    """`FOLDER` or `NAME=FOLDER` words as folders by name; the name of a plain folder is its last part.

    Raises: ConfigError for a name that is taken or has other characters than letters, digits, `.`, `_` and `-`.

    >>> name_runs(["runs/a", "new=runs/b"])
    {'a': PosixPath('runs/a'), 'new': PosixPath('runs/b')}
    """
    folders: dict[str, Path] = {}
    for word in words:
        name, equals, folder = word.partition("=")
        path = Path(folder if equals else word)
        name = name if equals else path.resolve().name
        if not re.match(NAME, name):
            raise ConfigError(
                f"'{name}' cannot name a run: 1 to 64 letters, digits, '.', '_' and '-' can.",
                hint="Name it on the command line: --run NAME=FOLDER",
            )
        if name in folders:
            raise ConfigError(f"two runs are named '{name}'.", hint="Name them: --run NAME=FOLDER")
        folders[name] = path
    return folders
