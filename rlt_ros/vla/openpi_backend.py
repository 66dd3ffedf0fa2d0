"""A VLA behind openpi's websocket protocol: `rlt serve` on a GPU machine, or a server of openpi's own.

The protocol has no numbers on its messages, so a reply that is late would be taken for the next one's: after anything
that goes wrong the connection is closed, and the next pass opens a new one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from rlt_ros.config import ConfigError
from rlt_ros.vla.backend import InferenceError, Pass
from rlt_ros.vla.bundle import Bundle, BundleError
from rlt_ros.vla.openpi_wire import LARGEST, WireError, pack, unpack

PROTOCOL = 1
"""Version of the keys below `rlt` in messages."""
_CONNECT_WITHIN = 2.0
_RETRY_AFTER = 0.2
"""Seconds: a server that is not there is asked five times a second."""


@dataclass(frozen=True)
class OpenpiSettings:
    """`settings` of a bundle whose back end is openpi.

    Attributes:
        uri: of the server.
        images: where the server wants the picture of each of our cameras: a key, or a list of keys inside one another.
        state: where it wants the joint positions.
        prompt: where it wants the instruction.
        channels_first: pictures are sent as (3, H, W), as openpi's ALOHA policies take them.
        relative: the server's rows are relative to the joint positions that it was sent.
        timeout: seconds for an answer.
        first_timeout: seconds for the first answer of a connection: JAX compiles then.
    """

    uri: str = "ws://127.0.0.1:8000"
    images: dict[str, str | list[str]] = field(default_factory=dict)
    state: str | list[str] = "state"
    prompt: str | list[str] = "prompt"
    channels_first: bool = False
    relative: bool = False
    timeout: float = 0.5
    first_timeout: float = 120.0


class OpenpiBackend:
    """The client. It connects at the first pass, and anew whenever the connection was lost."""

    skipped: tuple[str, ...] = ()

    def __init__(self, bundle: Bundle) -> None:
        """Read the settings; nothing is asked yet.

        Raises:
            BundleError: a setting is unknown.
        """
        try:
            self._settings = OpenpiSettings(**bundle.settings)
        except TypeError as error:
            raise BundleError(f"{bundle.directory}: settings of the openpi back end: {error}") from error
        self._bundle = bundle
        self._where = {name: self._settings.images.get(name, ["images", name]) for name in bundle.cameras}
        self.provider = self._settings.uri
        self._instruction = ""
        self._connection: ClientConnection | None = None
        self._patience, self._retry_at, self._problem = 0.0, 0.0, ""
        self.batch = 1

    def set_instruction(self, instruction: str) -> None:
        """See `VlaBackend`; the server's tokenizer takes any sentence."""
        if not instruction.strip():
            raise ValueError("the instruction is empty")
        self._instruction = instruction

    def infer(self, images: NDArray[np.uint8], position: NDArray[np.float32]) -> list[Pass]:
        """See `VlaBackend`."""
        if self._connection is None and time.monotonic() < self._retry_at:
            raise InferenceError(self._problem)  # a moment ago
        try:
            if len(images) == 1:  # as openpi's own servers take it
                return [self._read(self._ask(self._request(images[0], position[0])), position[0])]
            # A batch of ours: the pictures of each camera, one below the other.
            reply = self._ask(self._request(images.swapaxes(0, 1), position), len(images))
            return [self._read(_part(reply, index), position[index]) for index in range(len(images))]
        except (OSError, TimeoutError, WebSocketException) as error:
            self.close()
            self._retry_at = time.monotonic() + _RETRY_AFTER
            self._problem = f"no answer from {self._settings.uri}: {_told(error)}"
            raise InferenceError(self._problem) from error
        except (InferenceError, WireError) as error:
            self.close()
            raise InferenceError(f"{self._settings.uri}: {error}") from error

    def close(self) -> None:
        """End the connection without waiting for the other side, which may be frozen."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.socket.close()

    def _request(self, images: NDArray[np.uint8], position: NDArray[np.float32]) -> dict[str, Any]:
        request: dict[str, Any] = {"rlt": {"protocol": PROTOCOL}}
        for name, picture in zip(self._bundle.cameras, images, strict=True):
            sent = np.moveaxis(picture, -1, -3) if self._settings.channels_first else picture
            _place(request, self._where[name], np.ascontiguousarray(sent))
        _place(request, self._settings.state, position)
        _place(request, self._settings.prompt, self._instruction)
        return request

    def _ask(self, request: dict[str, Any], moments: int = 1) -> dict[str, Any]:
        if self._connection is None:
            self._connect()
        assert self._connection is not None
        self._connection.send(pack(request))
        answer = self._connection.recv(timeout=self._patience * moments)
        if isinstance(answer, str):  # openpi's way to tell of an exception
            raise InferenceError(f"the server failed: {(answer.strip().splitlines() or ['?'])[-1]}")
        self._patience = self._settings.timeout
        return unpack(answer)

    def _connect(self) -> None:
        # No pings: openpi's server infers in its event loop and could not answer them meanwhile.
        self._connection = connect(
            self._settings.uri,
            compression=None,
            max_size=LARGEST,
            proxy=None,
            open_timeout=_CONNECT_WITHIN,
            close_timeout=_RETRY_AFTER,
            ping_interval=None,
        )
        greeting = self._connection.recv(timeout=_CONNECT_WITHIN)
        if isinstance(greeting, str):
            raise InferenceError(f"the server greets with text: {greeting[:200]}")
        served = unpack(greeting)
        check_server(self._bundle, served)
        batch = served.get("rlt", {}).get("batch", 1) if isinstance(served.get("rlt"), dict) else 1
        self.batch = batch if isinstance(batch, int) and batch > 0 else 1
        self._patience = self._settings.first_timeout

    def _read(self, reply: dict[str, Any], position: NDArray[np.float32]) -> Pass:
        actions = reply.get("actions")
        rows, joints = self._bundle.horizon, len(self._bundle.joints)
        if not isinstance(actions, np.ndarray) or actions.ndim != 2:
            raise InferenceError(f"'actions' is {_shape(actions)}, not rows of joint targets")
        if len(actions) < rows or actions.shape[1] < joints:
            raise InferenceError(f"'actions' has shape {actions.shape}, the bundle needs ({rows}, {joints})")
        reference = actions[:rows, :joints].astype(np.float32)
        if self._settings.relative:
            reference = reference + position
        extra = {name: reply.get(f"rlt/{name}") for name in ("token", "embeddings")}
        for name, value in extra.items():
            if value is not None and not (isinstance(value, np.ndarray) and value.dtype.kind == "f"):
                raise InferenceError(f"'rlt/{name}' is {_shape(value)}, not an array of floats")
        if self._bundle.token_dim and not any(value is not None for value in extra.values()):
            raise InferenceError(
                "the server sends actions only, neither embeddings nor an RL token: extend it as docs/openpi.md shows, "
                "serve the VLA with 'rlt serve', or set token_dim to 0 in bundle.yaml for flights without RL"
            )
        return Pass(reference, **extra)


def check_server(bundle: Bundle, greeting: dict[str, Any]) -> None:
    """Whether a server's VLA is the one that the bundle was made for, as far as the server says what it serves.

    Raises:
        InferenceError: it is another one; the message says what differs.
    """
    served = greeting.get("rlt")
    if not isinstance(served, dict):
        return
    if served.get("protocol") != PROTOCOL:
        raise InferenceError(f"the server speaks version {served.get('protocol')} of our keys, this is {PROTOCOL}")
    here = {
        "vla": bundle.sha256,
        "joints": list(bundle.joints),
        "cameras": list(bundle.cameras),
        "image_size": bundle.image_size,
        "period": bundle.period,
    }
    for name, value in here.items():
        if name in served and served[name] != value:
            raise InferenceError(
                f"the server's VLA is another one: {name} is {served[name]} there, {value} in bundle "
                f"'{bundle.name}'; make the bundle anew with 'rlt adapt import openpi'"
            )


def ask_greeting(uri: str) -> dict[str, Any]:
    """What a server says of itself.

    Raises:
        ConfigError: there is none, or it speaks otherwise.
    """
    try:
        with connect(uri, compression=None, max_size=LARGEST, proxy=None, open_timeout=_CONNECT_WITHIN) as connection:
            greeting = connection.recv(timeout=_CONNECT_WITHIN)
        if isinstance(greeting, str):
            raise WireError("it greets with text")
        return unpack(greeting)
    except (OSError, TimeoutError, WebSocketException, WireError, ValueError) as error:
        raise ConfigError(
            f"no openpi server answers at {uri} ({_told(error)}): start it, or correct the address"
        ) from error


def _place(request: dict[str, Any], where: str | list[str], value: Any) -> None:
    *outer, last = [where] if isinstance(where, str) else where
    for key in outer:
        request = request.setdefault(key, {})
    request[last] = value


def _part(reply: dict[str, Any], index: int) -> dict[str, Any]:
    """One moment's reply of a batch's; what has no such place is left out."""
    arrays = {name: value for name, value in reply.items() if isinstance(value, np.ndarray) and value.ndim}
    return {name: value[index] for name, value in arrays.items() if index < len(value)}


def _shape(value: Any) -> str:
    return f"an array {value.shape} of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__


def _told(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()
