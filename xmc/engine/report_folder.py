"""May a command write its report into a folder: not over the report of another one, nor into a run."""

from __future__ import annotations

import json
from pathlib import Path

from xmc.engine.run_config import FILE_NAME
from xmc.errors import ConfigError

REPORT_NAME = "report.json"
_ELSEWHERE = "Give another --out, such as a new folder."


def require_report_folder(out: Path, *, key: str) -> None:
    """Refuse a folder whose `report.json` is not one with this key, as the command's own are, and a run; touch nothing.

    Raises: ConfigError, also when `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file, expected a folder for the report.", hint="Give another --out.")
    if (out / FILE_NAME).is_file():
        raise ConfigError(f"{out} holds a {FILE_NAME}, as a run does; no report is put there.", hint=_ELSEWHERE)
    path = out / REPORT_NAME
    if not path.exists():
        return
    try:
        is_own = key in json.loads(path.read_bytes())
    except (OSError, ValueError, TypeError):
        is_own = False
    if not is_own:
        raise ConfigError(f"{path} is there and was not written by this command.", hint=_ELSEWHERE)
