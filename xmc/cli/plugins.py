"""`xmc plugins`: what is installed, what it offers, what failed; lists without importing a single loss or index."""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xmc.cli.options import JsonOption
from xmc.errors import ConfigError, PluginError, did_you_mean
from xmc.specs import Spec

if TYPE_CHECKING:
    from xmc.plugin_manager import Offer, Plugins


def plugins_command(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[show NAME]", help="`show` prints the options of one loss, index, encoder, recipe, …"),
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            help="Only loss, head, index, encoder, reranker, augmentation, optimizer, metric, check or recipe.",
        ),
    ] = "",
    as_json: JsonOption = False,
    failed: Annotated[bool, typer.Option("--failed", help="Only what failed; exit code 1 if anything did.")] = False,
    requirements: Annotated[
        bool, typer.Option("--requirements", help="Only NAME==VERSION of every distribution with a plugin.")
    ] = False,
) -> None:
    """List plugins and what they offer, or show one thing with its options.

    Example: xmc plugins --kind loss
    Example: xmc plugins show dexml.decoupled-softmax
    """
    from xmc.cli.output import print_json
    from xmc.plugin_manager import KINDS, load_plugins

    if kind and kind not in KINDS:
        raise ConfigError(f"--kind '{kind}' is not one of {', '.join(KINDS)}.", hint=did_you_mean(kind, KINDS))
    plugins = load_plugins()
    if words:
        _show(plugins, _name_to_show(words), kind=kind, as_json=as_json)
        return
    if requirements:
        if kind or failed:
            raise ConfigError("--requirements lists those of all plugins: leave out --kind and --failed.")
        lines = requirement_lines(plugins)
        if as_json:
            print_json(lines)
        else:
            typer.echo("\n".join(lines))
        return
    listing = list_plugins(plugins, kind=kind, failed=failed)
    if as_json:
        print_json(listing)
    else:
        _print_listing(listing, failed=failed)
    if failed and plugins.failed:
        raise typer.Exit(1)


def list_plugins(plugins: Plugins, *, kind: str = "", failed: bool = False) -> dict[str, Any]:
    """What `xmc plugins --json` prints: loaded and failed plugins, and what the loaded ones offer."""
    states = [
        {
            "plugin": each.name,
            "distribution": each.source,
            "state": "loaded",
            "error": "",
        }
        for each in plugins.loaded
        if not failed
    ]
    states += [
        {"plugin": each.name, "distribution": each.distribution, "state": "failed", "error": each.describe()}
        for each in plugins.failed
    ]
    offers = [
        {
            "kind": offered,
            "name": offer.full_name,
            "plugin": offer.plugin,
            "summary": offer.spec.summary,
            "reference": offer.spec.reference,
        }
        for offered, found in plugins.offers.items()
        for offer in found
        if kind in ("", offered) and not failed
    ]
    return {"plugins": states, "offers": offers}


def requirement_lines(plugins: Plugins) -> list[str]:
    """`name==version` of each distribution that a loaded plugin came with, sorted."""
    return sorted(
        {f"{each.distribution}=={each.version}" for each in plugins.loaded if each.version and not each.is_file}
    )


def describe_offer(offer: Offer) -> dict[str, Any]:
    """Everything about one offered thing; imports its class (which may import heavy libraries)."""
    facts: dict[str, Any] = {
        "kind": offer.spec.kind,
        "name": offer.full_name,
        "plugin": offer.plugin,
        "target": offer.spec.target,
        "summary": offer.spec.summary,
        "reference": offer.spec.reference,
    }
    common = {field.name for field in dataclasses.fields(Spec)}
    own = [field.name for field in dataclasses.fields(offer.spec) if field.name not in common]
    facts |= {name: getattr(offer.spec, name) for name in own}  # pool of a loss, exact of an index
    target = offer.load()
    if offer.spec.kind == "recipe":
        return facts | {"settings": target}
    return facts | {
        "signature": f"{target.__name__}{_signature(target)}",
        "options": _options(target),
        "description": inspect.getdoc(target) or "",
    }


def _signature(target: Any) -> str:
    return str(inspect.signature(target)).removesuffix(" -> None").replace("'", "")


def _options(target: Any) -> list[dict[str, Any]]:
    """Name, type and default of each field that a configuration may set."""
    if not dataclasses.is_dataclass(target):
        return []
    return [
        {"option": field.name, "type": str(getattr(field.type, "__name__", field.type)), "default": _default(field)}
        for field in dataclasses.fields(target)
        if field.init
    ]


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return repr(field.default)
    return repr(field.default_factory()) if field.default_factory is not dataclasses.MISSING else "required"


def _name_to_show(words: list[str]) -> str:
    if len(words) != 2 or words[0] != "show":
        raise ConfigError(f"xmc plugins does not understand '{' '.join(words)}'.", hint="Use: xmc plugins show NAME")
    return words[1]


def _find(plugins: Plugins, name: str, kind: str) -> Offer:
    """The one thing of that full or short name, of `kind` or of any kind."""
    if kind:
        return plugins.find(kind, name)
    offers = [offer for found in plugins.offers.values() for offer in found]
    matches = [o for o in offers if o.full_name == name] or [o for o in offers if o.spec.name == name]
    if len(matches) == 1:
        return matches[0]
    if matches:
        candidates = ", ".join(f"{offer.spec.kind} {offer.full_name}" for offer in matches)
        raise PluginError(f"'{name}' is the name of several things: {candidates}.", hint="Add --kind or a full name.")
    plugins.require_not_failed(name.partition(".")[0])
    hint = did_you_mean(name, [known for offer in offers for known in (offer.full_name, offer.spec.name)])
    raise PluginError(f"no plugin offers anything called '{name}'.", hint=hint or "See: xmc plugins.")


def _show(plugins: Plugins, name: str, *, kind: str, as_json: bool) -> None:
    from xmc.cli.output import print_json, print_table

    facts = describe_offer(_find(plugins, name, kind))
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        if key not in ("options", "description", "settings") and value != "":
            typer.echo(f"{key + ':':<11} {value}")
    if facts.get("options"):
        print_table(facts["options"], title="options")
    if "settings" in facts:
        from xmc.config import write_toml

        typer.echo(f"\n{write_toml(facts['settings'])}")
    if facts.get("description"):
        typer.echo(f"\n{facts['description']}")


def _print_listing(listing: dict[str, Any], *, failed: bool) -> None:
    from xmc.cli.output import print_table

    broken = [row for row in listing["plugins"] if row["state"] == "failed"]
    if not failed:
        print_table([{key: row[key] for key in ("kind", "name", "summary")} for row in listing["offers"]])
        print_table(
            [{key: row[key] for key in ("plugin", "distribution")} for row in listing["plugins"] if row not in broken],
            title="plugins",
        )
    if broken:
        print_table([{key: row[key] for key in ("plugin", "distribution", "error")} for row in broken], title="failed")
    elif failed:
        typer.echo("no plugin failed")
