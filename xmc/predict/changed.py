"""Inputs that are not those whose hits are in the output folder: told, or done again when that was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xmc.data.shard_list import ShardFile
from xmc.errors import ConfigError
from xmc.predict.ack import Ack
from xmc.store.location import Location


def inputs_to_redo(
    there: Mapping[str, Ack], inputs: Mapping[str, ShardFile], out: Location, *, redo_changed: bool, moved: bool
) -> list[str]:
    """The outputs to make again: those whose input was written again, or lies elsewhere and was not said to have moved.

    Raises: ConfigError when there are such and `redo_changed` was not asked for, naming the first.
    """
    changed = [name for name, ack in there.items() if not ack.has_state_of(inputs[name])]
    elsewhere = [
        name for name, ack in there.items() if ack.has_state_of(inputs[name]) and not ack.lay_where(inputs[name])
    ]
    if moved:
        elsewhere = []
    if redo_changed:
        return changed + elsewhere
    if changed:
        raise ConfigError(
            f"{inputs[changed[0]].location.shown} is not the file whose hits are in {out.child(changed[0]).shown}: it "
            f"was written again, or is another{_more(changed)}.",
            hint="--redo-changed answers what has changed, --overwrite everything; or give another --out.",
        )
    if elsewhere:
        raise ConfigError(
            f"{out.child(elsewhere[0]).shown} has the hits of {there[elsewhere[0]].location}, which lay elsewhere than "
            f"{inputs[elsewhere[0]].location.shown}; name, size and time are the same{_more(elsewhere)}.",
            hint="Give another --out for other files. If the same files were moved or mounted elsewhere, say --moved; "
            "--redo-changed answers them again.",
        )
    return []


def _more(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1:,} more)" if len(names) > 1 else ""
