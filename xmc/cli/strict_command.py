"""A verb's command that drops nothing of what was typed: an option given twice, or words left over, are refused."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand

from xmc.errors import ConfigError


class StrictCommand(TyperCommand):
    """The parser by itself takes the last value of an option that was given several times, and says nothing."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words after the verb.

        Raises: ConfigError for an option with a value that is given again, and for words that the verb has no use for.
        """
        if not ctx.resilient_parsing and "--help" not in args:
            _, words, given = self.make_parser(ctx).parse_args(args=list(args))
            _require_once(given)
            _require_place(words, [parameter for parameter in self.params if parameter.param_type_name == "argument"])
        return super().parse_args(ctx, args)


def _require_once(given: Sequence[Any]) -> None:
    """Flags may be repeated: that loses nothing."""
    seen = set()
    for parameter in given:
        if parameter.param_type_name != "option" or parameter.multiple or parameter.is_flag:
            continue
        if parameter.name in seen:
            raise ConfigError(
                f"{parameter.opts[0]} is given more than once.",
                hint="Give it once: it takes one value.",
            )
        seen.add(parameter.name)


def _require_place(words: Sequence[str], arguments: Sequence[Any]) -> None:
    if any(argument.nargs < 0 for argument in arguments):
        return
    extra = words[sum(argument.nargs for argument in arguments) :]
    if not extra:
        return
    shown = ", ".join(f"'{word}'" for word in extra[:3]) + (f" and {len(extra) - 3:,} more" if len(extra) > 3 else "")
    expanded = any(os.path.exists(word) for word in extra)  # noqa: PTH110 - never raises, however long
    raise ConfigError(
        f"unexpected words: {shown}.",
        hint="If they come from a pattern, put it in quotes, so that the shell leaves it as it is: '*.parquet'."
        if expanded
        else "See --help for what this verb takes.",
    )
