"""Whether a command may write its report into a folder: not over another command's report, and not into a run."""

from __future__ import annotations

import json
from pathlib import Path

from xmc.engine.run_config import FILE_NAME
from xmc.errors import ConfigError
from xmc.store import require_folders_above

REPORT_NAME = "report.json"
_ELSEWHERE = "Give another --out, such as a new folder."


def require_report_folder(out: Path, *, key: str) -> None:
    """Refuse a run, and a folder whose `report.json` lacks this key, which the command's own reports have.

    Raises: ConfigError, also when `out` or what is above it is a file. Nothing is written.
    """
    require_folders_above(out)
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
