"""Register one plugin: its hooks, what it declares, and what makes it a broken one."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from traceback import walk_tb
from types import ModuleType

import pluggy

from xmc import hookspecs
from xmc.errors import PluginError, XmcWarning, did_you_mean
from xmc.specs import Spec

RAN = "__xmc_sha256__"  # of a plugin file's module: the checksum of what was run
NAME_PATTERN = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
TARGET_PATTERN = re.compile(r"[^\s:]+:[^\s:]+")
POOLS = ("row", "batch")  # of a loss


def register(
    manager: pluggy.PluginManager, name: str, module: object, hooks: Mapping[str, str]
) -> dict[str, list[Spec]]:
    """Register a plugin and collect what it declares by kind, or leave no trace of it and raise.

    `hooks` are the declaring hooks by kind. Raises: whatever the plugin raises; TypeError, ValueError, PluginError.
    """
    try:
        manager.register(module, name=name)
        _refuse_unknown_hooks(manager, name, module)
        manager.check_pending()
        _require_hooks(manager, name, module)
        return {kind: _declared(module, name, kind, hook) for kind, hook in hooks.items()}
    except (Exception, SystemExit):
        withdraw(manager, name)
        raise


def withdraw(manager: pluggy.PluginManager, name: str) -> None:
    """Take a plugin out again: registered, then refused, it would make every later check_pending raise."""
    if manager.has_plugin(name):
        manager.unregister(name=name)


def _refuse_unknown_hooks(manager: pluggy.PluginManager, name: str, module: object) -> None:
    """Refuse what is marked as a hook and is none: a misspelt one would never be called."""
    there = [hook for hook in vars(hookspecs) if hook.startswith("xmc_")]
    for hook in dir(module):
        if hook not in there and manager.parse_hookimpl_opts(module, hook) is not None:
            hint = did_you_mean(hook, there) or f"There are: {', '.join(there)}."
            raise PluginError(f"unknown hook '{hook}' in plugin '{name}'.", hint=hint)


def _require_hooks(manager: pluggy.PluginManager, name: str, module: object) -> None:
    """Refuse functions named like hooks that pluggy would never call, and a plugin of no hook at all."""
    known = [hook for hook in vars(hookspecs) if hook.startswith("xmc_") and callable(getattr(module, hook, None))]
    unmarked = [hook for hook in known if manager.parse_hookimpl_opts(module, hook) is None]
    if unmarked:
        raise PluginError(f"{unmarked[0]} of plugin '{name}' has no @hookimpl, so it is never called.")
    if not known:
        raise PluginError(f"plugin '{name}' implements no hook of xmc, so it offers nothing and watches nothing.")


def _declared(module: object, plugin: str, kind: str, hook: str) -> list[Spec]:
    function = getattr(module, hook, None)
    if function is None:
        return []
    answer = function()
    if isinstance(answer, str | Spec) or not isinstance(answer, Iterable):
        raise TypeError(f"{hook} of plugin '{plugin}' must return a list of specs, got {answer!r}")
    specs = list(answer)
    for spec in specs:
        if not isinstance(spec, Spec) or spec.kind != kind:
            raise TypeError(f"{hook} of plugin '{plugin}' must return specs of its kind, got {spec!r}")
        if wrong := _wrong_in(spec):
            raise ValueError(f"{hook} of plugin '{plugin}': {wrong}")
    return specs


def _wrong_in(spec: Spec) -> str:
    """What is wrong with a spec, whose class checks nothing; empty when nothing is."""
    if not isinstance(spec.name, str) or not NAME_PATTERN.fullmatch(spec.name):
        return f"name {spec.name!r} must be lower-case words joined by '-'"
    if not isinstance(spec.target, str) or not TARGET_PATTERN.fullmatch(spec.target):
        form = "package:file.toml" if spec.kind == "recipe" else "module:Class"
        return f"target of {spec.name!r} must be a text '{form}', imported when it is used, got {spec.target!r}"
    for field in fields(spec):
        value, default = getattr(spec, field.name), field.default
        if default is not MISSING and type(value) is not type(default):
            return f"{field.name} of {spec.name!r} must be a {type(default).__name__}, got {value!r}"
    if (pool := getattr(spec, "pool", POOLS[0])) not in POOLS:
        return f"pool of {spec.name!r} must be {' or '.join(map(repr, POOLS))}, got {pool!r}"
    return ""


def import_file(path: Path) -> tuple[ModuleType, str]:
    """Run a Python file as the module of its stem, which specs then name, and the SHA-256 of what was run.

    A process runs it once; an XmcWarning says when it has changed since. Raises: PluginError when it is none, cannot be
    read, raises, or its stem is that of another module.
    """
    name, path = path.stem, path.resolve()
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} is not a Python file.", hint="Give one whose name ends in .py.")
    if not path.is_file():
        near = did_you_mean(path.stem, [other.stem for other in path.parent.glob("*.py")])
        hint = near or "A relative path counts from the folder in which the command runs."
        raise PluginError(f"there is no plugin file {path}.", hint=hint)
    if "." in name:
        raise PluginError(f"plugin file {path} has a dot in its name.", hint="Give it another name: my_loss.py")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if (there := sys.modules.get(name)) is not None and getattr(there, "__file__", None) == str(path):
        ran = str(getattr(there, RAN, sha256))
        if ran != sha256:
            warnings.warn(
                f"plugin file {path} has changed since this process ran it, and goes on as it was. For the file as it "
                "is now, start the process again.",
                XmcWarning,
                stacklevel=3,
            )
        return there, ran
    other = there or importlib.util.find_spec(name)
    if other is not None and getattr(other, "origin", None) != str(path):
        raise PluginError(f"plugin file {path} is called like the module '{name}'.", hint="Give it another name.")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    with failing_as_plugin_file(path):
        spec.loader.exec_module(module)
    setattr(module, RAN, sha256)
    return module, sha256


@contextlib.contextmanager
def failing_as_plugin_file(path: Path) -> Iterator[None]:
    """Let what the code of a plugin file raises be a PluginError that names the file, and forget its module."""
    try:
        yield
    except (Exception, SystemExit) as error:  # a plugin may raise anything
        sys.modules.pop(path.stem, None)
        if isinstance(error, PluginError):
            raise
        lines = [
            line for frame, line in walk_tb(error.__traceback__) if frame.f_code.co_filename == str(path.resolve())
        ]
        where = f" at line {lines[-1]}" if lines else ""
        message = f"plugin file {path} failed to load{where}: {type(error).__name__}: {error}."
        raise PluginError(message, hint=_mending(error)) from error


def _mending(error: BaseException) -> str:
    """What to do when the code of a plugin file raises this."""
    if isinstance(error, SyntaxError) and error.text:
        return f"Line {error.lineno} of {error.filename} reads: {error.text.strip()[:100]}"
    if isinstance(error, ModuleNotFoundError):
        return f"Mend the import, or install the package that has '{error.name}' where xmc is installed: {sys.prefix}"
    wanted = re.match(r"cannot import name '(\w+)'", str(error)) if isinstance(error, ImportError) else None
    near = did_you_mean(wanted[1], dir(sys.modules.get(getattr(error, "name", None) or ""))) if wanted else ""
    return near or "Show the traceback: xmc --debug, before the verb."
