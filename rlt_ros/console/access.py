"""Who may see the page, and who may press its buttons."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
import socket
from collections.abc import Iterable
from pathlib import Path

from rlt_ros.config import ConfigError

COOKIE = "rlt_console"
_SHORTEST = 16


class Access:
    """Names under which the page may be called, and the token.

    A page of another site that is open in the same browser must not be able to reach the robot: neither by its own
    scripts (their `Origin` is another) nor by a name of its own that suddenly means this machine (DNS rebinding: the
    `Host` is unknown here).
    """

    def __init__(self, token: str = "", hosts: Iterable[str] = ()) -> None:
        """Without a token everybody who reaches the port may enter."""
        self._token = token.encode()
        self._hosts = {"localhost", socket.gethostname().lower(), *(host.lower() for host in hosts if host)}

    @property
    def asks(self) -> bool:
        """Whether a token is needed."""
        return bool(self._token)

    @property
    def cookie(self) -> str:
        """What a browser shows once it gave the token; the same after a restart."""
        return hmac.new(self._token, b"rlt console cookie", hashlib.sha256).hexdigest()

    def knows(self, token: str) -> bool:
        """Whether this is the token."""
        return self.asks and hmac.compare_digest(self._token, token.strip().encode())

    def admits(self, cookie: str | None) -> bool:
        """Whether a browser with this cookie may enter."""
        return not self.asks or (cookie is not None and hmac.compare_digest(self.cookie.encode(), cookie.encode()))

    def is_ours(self, host: str | None, origin: str | None) -> bool:
        """Whether a request was meant for this page, and comes from it.

        Args:
            host: header `Host`.
            origin: header `Origin`; browsers always send it with what can do harm.
        """
        if not host:
            return False
        name = _name(host)
        known = name in self._hosts or _is_address(name)
        return known and (origin is None or origin.partition("://")[2] == host)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def read_token(path: Path) -> str:
    """The token in a file; an absent file is made, readable by its owner only.

    Raises:
        ConfigError: it cannot be read or made, others can read it, or the token is too short.
    """
    try:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        else:
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_urlsafe(24) + "\n")
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path} can be read by others: chmod 600 {path}")
        token = path.read_text().strip()
    except OSError as error:
        raise ConfigError(f"token file {path}: {error.strerror}") from error
    if len(token) < _SHORTEST:
        raise ConfigError(
            f"the token in {path} has {len(token)} characters, {_SHORTEST} are the least: remove the file"
        )
    return token


def _name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if host.count(":") == 1 else host.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
