"""Options by keyword that a framework hands on: one that nothing reads is refused, since it is most often misspelt."""

from __future__ import annotations

from collections.abc import Collection

from xmc.errors import ConfigError, did_you_mean

OF_A_SEARCH = ("k", "min_probability", "allowed", "filter")


def require_known(given: Collection[str], allowed: Collection[str], *, of: str) -> None:
    """Refuse names that `of` does not have. Raises: ConfigError naming them and what is allowed.

    >>> require_known(["min_probablity"], ["k", "min_probability"], of="XmcRetriever")
    Traceback (most recent call last):
    ...
    xmc.errors.ConfigError: XmcRetriever has no option 'min_probablity'; it has: k, min_probability. \
Did you mean 'min_probability'?
    """
    unknown = [name for name in given if name not in allowed]
    if unknown:
        named = ", ".join(f"'{name}'" for name in unknown)
        has = f"it has: {', '.join(allowed)}" if allowed else "it has none"
        raise ConfigError(f"{of} has no option {named}; {has}.", hint=did_you_mean(unknown[0], allowed))
