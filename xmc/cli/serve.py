"""`xmc serve`: answer over HTTP."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xmc.cli.leaving import leave_at_once
from xmc.cli.options import DeviceOption
from xmc.errors import ConfigError

if TYPE_CHECKING:
    from xmc.serve.service import Service

TOKEN, ADMIN_TOKEN = "XMC_TOKEN", "XMC_ADMIN_TOKEN"
logger = logging.getLogger("xmc.serve")
LAST_S = 1.0  # for what runs in a thread when all requests are answered
LIBRARIES = ("fastapi", "uvicorn", "httptools", "prometheus_client")


def serve_command(
    run: Annotated[list[str], typer.Option("--run", help="FOLDER or NAME=FOLDER of a run; may be repeated.")],
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="Port; 0 takes any that is free.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help=f"File with the token of readers; or the variable {TOKEN}.")
    ] = None,
    admin_token_file: Annotated[
        Path | None,
        typer.Option("--admin-token-file", help=f"File with the token that allows changes; or {ADMIN_TOKEN}."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="Answer to this host name, and to local ones; may be repeated."),
    ] = None,
    insecure_no_auth: Annotated[
        bool, typer.Option("--insecure-no-auth", help="Listen beyond this machine without a token.")
    ] = False,
    batch_window_ms: Annotated[
        float, typer.Option("--batch-window-ms", min=0, max=1000, help="Among many clients, wait so long for company.")
    ] = 2.0,
    batch_queries: Annotated[int, typer.Option("--batch-queries", min=1, help="Most queries of one search.")] = 256,
    reload_s: Annotated[
        float, typer.Option("--reload-s", min=0, help="Look for newly committed states so often; 0: never.")
    ] = 1.0,
    limit: Annotated[
        list[str] | None, typer.Option("--limit", metavar="NAME=VALUE", help="Change one limit; may be repeated.")
    ] = None,
    docs: Annotated[bool, typer.Option("--docs", help="Offer /docs and /openapi.json.")] = False,
    no_playground: Annotated[bool, typer.Option("--no-playground", help="Leave out the page at /.")] = False,
    device: DeviceOption = "auto",
) -> None:
    """Answer searches over HTTP, with a page to try them on.

    Example: xmc serve --run runs/icd
    """
    _require_installed()
    from xmc.engine.run_names import name_runs
    from xmc.serve.access import access_for, is_loopback
    from xmc.serve.app import create_app
    from xmc.serve.limits import read_limits
    from xmc.serve.log import log_to_stderr
    from xmc.serve.server import bind, run_server

    limits, folders = read_limits(limit or ()), name_runs(run)
    access = access_for(host, _token(token_file, TOKEN), _token(admin_token_file, ADMIN_TOKEN), allow_host or ())
    if not (access.token or is_loopback(host) or insecure_no_auth):
        raise ConfigError(
            f"{host or 'every address'} can be reached from other machines, and no token is set.",
            hint=f"Give --token-file or {TOKEN}, or listen on 127.0.0.1; --insecure-no-auth lets everybody in.",
        )
    log_to_stderr()
    with bind(host, port) as listening:
        app = create_app(
            folders, access=access, limits=limits, device=device, window_ms=batch_window_ms,
            batch_queries=batch_queries, reload_s=reload_s, docs=docs, playground=not no_playground,
        )  # fmt: skip
        where = f"[{host}]" if ":" in host else host
        address = f"http://{where}:{listening.getsockname()[1]}"
        if insecure_no_auth and not access.token:
            typer.echo("warning: everybody who can connect may search: no token is set.", err=True)
        run_server(app, listening, limits=limits, started=lambda: _announce(address, list(folders)))
    _end(app.state.service)


def _require_installed() -> None:
    """Refuse where the libraries of the service, an extra, are missing. Raises: ConfigError."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"xmc serve needs {', '.join(missing)}, not installed here.",
            hint="Install: pip install 'xmc-engine[serve]'",
        )


def _token(path: Path | None, variable: str) -> str:
    """The token of a file, else of a variable, else none."""
    if path is None:
        return os.environ.get(variable, "").strip()
    try:
        token = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text in UTF-8; it must hold a token.") from None
    if not token:
        raise ConfigError(f"{path} is empty; it must hold a token.")
    return token


def _end(service: Service) -> None:
    """Say that the service has stopped.

    A search that nobody waits for any more does not keep the process alive. An interpreter that ends would wait for
    it, however long it takes; to drop it is safe, since a search writes nothing.
    """
    ended = service.ended(LAST_S)
    if not ended:
        logger.warning("a search or reload still ran %g s after the last answer: it is dropped", LAST_S)
    with contextlib.suppress(OSError):  # of a terminal that is gone
        typer.echo("stopped", err=True)
    if not ended:
        leave_at_once(0)


def _announce(address: str, names: Sequence[str]) -> None:
    typer.echo(f"serving {', '.join(names)} on {address}  (stop with Ctrl-C)", err=True)
