"""What the command line says of an error: a sentence and a hint, where it knows whose affair it is."""

from __future__ import annotations

import traceback
from importlib import metadata

from xmc.errors import XmcError
from xmc.machine import lacks_memory

GROUP, ENGINE = "xmc", "xmc-engine"  # as `xmc.plugin_manager` has them, which is imported by the verbs only
OF_A_FILE = "__xmc_sha256__"  # `xmc.plugin_registration` marks the module of a plugin file so
NO_ROOM_TO_LOAD = "failed to map segment from shared object"
MEMORY_HINT = (
    "A training gets smaller by encoder.dimension, train.label_scope=sampled, train.score_memory_mb (--dry-run prints "
    "its parts), an index by --memory, xmc predict by --workers and --batch-rows. See docs/troubleshooting.md."
)
PLUGIN_HINT = (
    "Mend the plugin, or tell its author. Show the traceback: xmc --debug, before the verb. xmc.testing has the "
    "checks of a plugin's contract."
)


def told(error: Exception) -> tuple[str, str]:
    """The sentence and the hint, which may be empty; no sentence for an error of xmc itself, whose traceback is wanted.

    >>> told(XmcError("That is wrong.", hint="Do this."))
    ('That is wrong.', 'Do this.')
    """
    if isinstance(error, XmcError):
        return error.message, error.hint
    if _is_refusal(error):
        return _refused(error), "" if isinstance(error, OSError) else MEMORY_HINT
    sentence = _of_plugin(error)
    return sentence, PLUGIN_HINT if sentence else ""


def _is_refusal(error: Exception) -> bool:
    """Whether the system said no, which is nobody's bug.

    Where there is no room to load a library, it is an ImportError; on a disk that is mounted noexec another one.
    """
    if isinstance(error, ImportError):
        return NO_ROOM_TO_LOAD in str(error) and "not permitted" not in str(error)
    return isinstance(error, OSError) or lacks_memory(error)


def _refused(error: Exception) -> str:
    """What the system refused, and for which file."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    if isinstance(error, OSError):
        return f"{type(error).__name__}: {error}."
    reason = str(error).strip().partition("\n")[0].rstrip(".")
    return f"there is not enough memory: {reason}." if reason else "there is not enough memory."


def _of_plugin(error: Exception) -> str:
    """Which plugin failed, and the last of its lines that was running; empty when none was. Those of xmc are xmc."""
    packages = {
        entry.module.partition(".")[0]: entry.name
        for entry in metadata.entry_points(group=GROUP)
        if entry.dist is None or entry.dist.name != ENGINE
    }
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        name, code = str(frame.f_globals.get("__name__", "")), frame.f_code
        plugin = name if OF_A_FILE in frame.f_globals else packages.get(name.partition(".")[0])
        if plugin and not code.co_filename.startswith("<"):  # nor what `dataclass` has made of it
            what = f"{type(error).__name__}: {error}".rstrip(": .\n")
            return f"plugin '{plugin}' failed in {code.co_name} ({code.co_filename}, line {line}): {what}."
    return ""
