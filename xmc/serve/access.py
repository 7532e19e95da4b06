"""Who may ask for what: tokens, hosts, and the two classes of routes."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field

from xmc.counted import counted
from xmc.errors import ConfigError
from xmc.serve.refusals import RefusedError

OPEN_PATHS = frozenset({"/", "/playground.js", "/playground.css", "/healthz", "/readyz"})
ADMIN_PATHS = frozenset({"/v1/labels", "/v1/reload"})
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
WILDCARDS = ("", "0.0.0.0", "::")  # addresses to listen on, by which nobody calls
SHORTEST_TOKEN = 16


@dataclass(frozen=True)
class Access:
    """`token` opens the routes that read, `admin_token` those that change something as well; empty ones open nothing.

    Without `token` everybody who can connect may read. Without `admin_token` nobody may change anything. `hosts` are
    the names by which a browser may call the service; none: any, which is for services behind a name of their own.
    """

    token: str = field(default="", repr=False)
    admin_token: str = field(default="", repr=False)
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, token in (("token", self.token), ("admin token", self.admin_token)):
            if token and len(token) < SHORTEST_TOKEN:
                raise ConfigError(
                    f"the {name} has {counted(len(token), 'character')}; at least {SHORTEST_TOKEN} are needed.",
                    hint="Make one with: python -c 'import secrets; print(secrets.token_urlsafe())'",
                )
        if self.token and self.token == self.admin_token:
            raise ConfigError("the token and the admin token are the same.", hint="Make two.")

    def require(self, path: str, headers: dict[bytes, bytes]) -> None:
        """Let a request in. Raises: RefusedError 401, 403 or 421."""
        self._require_host(headers.get(b"host", b""))
        if path in OPEN_PATHS:
            return
        given = _bearer(headers.get(b"authorization", b""))
        is_admin = bool(self.admin_token) and _same(given, self.admin_token)
        if path in ADMIN_PATHS:
            if not self.admin_token:
                raise RefusedError(403, "admin_off", "changes are off: this service has no admin token.")
            if not is_admin:
                raise (
                    _unauthorized()
                    if not given
                    else RefusedError(403, "not_admin", "this token does not allow changes.")
                )
        elif self.token and not is_admin and not _same(given, self.token):
            raise _unauthorized()

    def _require_host(self, host: bytes) -> None:
        if not self.hosts:
            return
        name = host.decode("latin-1").lower()
        name = name[: name.index("]") + 1] if name.startswith("[") and "]" in name else name.partition(":")[0]
        if name not in self.hosts:
            message = "this service is not reached under this host name; its operator can allow it with --allow-host."
            raise RefusedError(421, "unknown_host", message)


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to an address.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _same(given: bytes, token: str) -> bool:
    return hmac.compare_digest(given, token.encode())


def _bearer(header: bytes) -> bytes:
    kind, _, token = header.partition(b" ")
    return token.strip() if kind.lower() == b"bearer" else b""


def _unauthorized() -> RefusedError:
    message = "a token is needed: send the header Authorization: Bearer TOKEN."
    return RefusedError(401, "unauthorized", message, headers={"www-authenticate": "Bearer"})


def access_for(host: str, token: str, admin_token: str, allowed_hosts: Sequence[str]) -> Access:
    """The access of a service on this address: one that only this machine reaches answers to local names only.

    Another one answers to every name, unless some are given: then to those, and to local ones and its own address,
    by which a health check may ask. Raises: ConfigError for a token that is too short.
    """
    if not (is_loopback(host) or allowed_hosts):
        return Access(token, admin_token)
    own = () if host in WILDCARDS else (f"[{host}]" if ":" in host else host,)
    names = (*LOOPBACK_NAMES, *own, *allowed_hosts)
    return Access(token, admin_token, tuple(dict.fromkeys(name.lower() for name in names)))
