"""Settings that a verb takes for a run that is trained already; the others are of the training, which is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xmc.config import Settings, parse_assignments
from xmc.errors import ConfigError

DATA = "data.name"  # where the data set lies today


def settings_for(verb: str, settings: Settings, *, takes: Sequence[str]) -> dict[str, Any]:
    """The settings by section; each is of a section or a key that the verb takes, or `data.name`.

    Others would be obeyed in part: another `train.seed` holds out other queries than the run was not trained on.
    Raises: ConfigError naming the first one that it does not take.

    >>> settings_for("xmc evaluate", ["evaluate.ks=[1]"], takes=["evaluate"])
    {'evaluate': {'ks': [1]}}
    """
    chosen = parse_assignments(settings)
    names = sorted(f"{section}.{key}" for section, values in chosen.items() for key in values)
    others = [name for name in names if name not in (*takes, DATA) and name.partition(".")[0] not in takes]
    if others:
        taken = ", ".join(each if "." in each else f"[{each}]" for each in takes)
        raise ConfigError(
            f"{verb} takes settings of {taken} and {DATA}, got {others[0]}.",
            hint="What a run was trained with, and so which queries it held out, changes with a new training only.",
        )
    return chosen
