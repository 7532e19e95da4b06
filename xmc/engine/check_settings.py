"""The section `[check]`: options of checks, and limits on their figures; nothing in it is ever ignored.

[check.calibrate]                    options of a check
method = "platt"
[check.limits]                       CHECK.FIGURE = the worst value that passes
calibrate.ece_at_5 = 0.02
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from xmc.api import Check
from xmc.config import build_options
from xmc.errors import ConfigError, did_you_mean
from xmc.plugin_manager import Offer, Plugins

LIMITS = "limits"


@dataclass(frozen=True)
class Limit:
    """The worst value of a figure that passes; `better` says on which side the better ones lie."""

    check: str
    figure: str
    bound: float
    better: str

    @property
    def name(self) -> str:
        """`check.figure`."""
        return f"{self.check}.{self.figure}"

    def passes(self, value: float) -> bool:
        """Whether a value is good enough; the bound itself is."""
        return value <= self.bound if self.better == "lower" else value >= self.bound


@dataclass(frozen=True)
class CheckSettings:
    """What the user set about checks: values by check, those of others are their defaults, and the limits."""

    checks: Mapping[str, Check] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    given: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The section as plain values: only what was set, so that a run does not depend on the installed checks."""
        return {name: dict(values) for name, values in self.given.items()}

    def check(self, offer: Offer) -> Check:
        """A check with the options that were set."""
        return self.checks[offer.full_name] if offer.full_name in self.checks else offer.load()()


def check_settings(plugins: Plugins, section: Mapping[str, Any], *, source: str) -> CheckSettings:
    """Read the section `[check]`, in which names may be nested or dotted alike.

    Raises: PluginError for an unknown check; ConfigError for an unknown option or figure or a wrong value.
    """
    options: dict[str, dict[str, Any]] = {}
    bounds: dict[str, Any] = {}
    for path, value in _leaves(section):
        name, _, key = path.rpartition(".")
        if path.startswith(f"{LIMITS}."):
            bounds[path.removeprefix(f"{LIMITS}.")] = value
        elif name:
            options.setdefault(plugins.find("check", name).full_name, {})[key] = value
        else:
            raise ConfigError(
                f"{source}: [check] has sections for checks and for limits, got the key '{key}'.",
                hint="Example: --set check.calibrate.top=10, or --set check.limits.calibrate.ece_at_5=0.02",
            )
    checks: dict[str, Check] = {
        name: build_options(plugins.find("check", name).load(), values, section=f"check.{name}", source=source)
        for name, values in options.items()
    }
    limits = tuple(_limit(plugins, checks, name, bound, source) for name, bound in bounds.items())
    given: dict[str, Mapping[str, Any]] = dict(sorted(options.items()))
    if limits:
        given[LIMITS] = {limit.name: limit.bound for limit in limits}
    return CheckSettings(checks, limits, given)


def _limit(plugins: Plugins, checks: Mapping[str, Check], name: str, bound: Any, source: str) -> Limit:
    check_name, _, figure = name.rpartition(".")
    if not check_name:
        raise ConfigError(
            f"{source}: the limit '{name}' names no check.", hint="Example: calibrate.ece_at_5 = 0.02 in [check.limits]"
        )
    offer = plugins.find("check", check_name)
    check = checks[offer.full_name] if offer.full_name in checks else offer.load()()
    figures = {figure: better for figure, better in check.figures().items() if better != "neither"}
    if figure not in figures:
        raise ConfigError(
            f"{source}: check '{offer.full_name}' has no figure '{figure}' to limit (it has: {', '.join(figures)}).",
            hint=did_you_mean(figure, figures),
        )
    if isinstance(bound, bool) or not isinstance(bound, (int, float)) or not math.isfinite(bound):
        raise ConfigError(f"{source}: the limit {name} must be a finite number, got {bound!r}.")
    return Limit(offer.full_name, figure, float(bound), figures[figure])


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, value) of everything that is not a table itself."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def options_of(check: Check) -> dict[str, Any]:
    """The options of a check as plain values."""
    return dataclasses.asdict(check)  # type: ignore[call-overload]
