"""A verb's command that drops nothing of what was typed: an option given twice, or words left over, are refused."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand

from xmc.errors import ConfigError, first_few, quoted


class StrictCommand(TyperCommand):
    """The parser by itself takes the last value of an option that was given several times, and says nothing."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words after the verb.

        Raises: ConfigError for an option with a value that is given again, and for words that the verb has no use for.
        """
        if not ctx.resilient_parsing and "--help" not in args:
            _, words, given = self.make_parser(ctx).parse_args(args=list(args))
            _require_once(given)
            _require_place(str(self.name), words, self.params)
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


def _require_place(verb: str, words: Sequence[str], parameters: Sequence[Any]) -> None:
    """Refuse the words that are left when every argument has had its own."""
    if not words:
        return
    takes_text = any(parameter.name == "text" and parameter.param_type_name == "argument" for parameter in parameters)
    takes_run = any("--run" in parameter.opts for parameter in parameters)
    if len(words) == 1 and takes_run and os.path.isdir(words[0]):  # noqa: PTH112 - never raises, however long
        hint = f"A run is named by --run: xmc {verb} --run {quoted(words[0])}"
    elif any(os.path.exists(word) for word in words):  # noqa: PTH110 - as above
        hint = "If they come from a pattern, put it in quotes, so that the shell leaves it as it is: '*.parquet'."
    elif takes_text:
        hint = "Put a text of several words in quotes."
    else:
        hint = "See --help for what this verb takes."
    raise ConfigError(f"unexpected words: {first_few(words, most=3)}.", hint=hint)
