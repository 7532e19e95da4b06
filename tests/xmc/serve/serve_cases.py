"""An app in this process, and the command `xmc serve` in one of its own."""

import os
import time
from contextlib import contextmanager

import forked
from starlette.testclient import TestClient

from xmc.serve.access import access_for
from xmc.serve.app import create_app
from xmc.serve.limits import Limits

BASE = "http://127.0.0.1"
ADMIN = "an-admin-token-for-tests"
AS_ADMIN = {"authorization": f"Bearer {ADMIN}"}


@contextmanager
def client_of(runs, *, limits=None, token="", admin_token=ADMIN, **options):
    """A client of an app in this process."""
    access = access_for("127.0.0.1", token, admin_token, ())
    app = create_app(runs, access=access, limits=limits or Limits(), reload_s=0, **options)
    with TestClient(app, base_url=BASE, raise_server_exceptions=False) as client:
        yield client


@contextmanager
def served(*arguments, env=None, target=forked.xmc):
    """`xmc serve` on a free port; yields its process and its address, and lets it end in peace."""
    process = forked.Forked(target, "serve", "--port", "0", *arguments, env={**os.environ, **(env or {})})
    try:
        process.logged = []
        while (line := process.stderr.readline()) and not line.startswith("serving"):
            process.logged.append(line)
        assert line, f"xmc serve ended with {process.wait()}"
        process.address = line.split(" on ")[1].split()[0]
        yield process
    finally:
        process.terminate()
        process.wait(20)
        process.stderr.close()


def with_endless_searches(*words):
    """The command `xmc` whose searches of more than one text take longer than any test, as a target."""
    from xmc.retrieve.retriever import Retriever

    search = Retriever.search

    def endless(retriever, texts, **options):
        if len(texts) > 1:
            time.sleep(600)
        return search(retriever, texts, **options)

    Retriever.search = endless
    forked.xmc(*words)
