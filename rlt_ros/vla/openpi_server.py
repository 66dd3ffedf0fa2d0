"""A bundle over openpi's websocket protocol: for a GPU machine beside the robot, and for openpi's own clients.

A request is a map with `images` (a map by camera, or whatever of our cameras' names is found at its top), `state` and
`prompt`; the reply has `actions` (H, J) absolute joint targets, `rlt/token` (D,) and, where the VLA shows them,
`rlt/embeddings` (L, W) float16. With a leading axis on all pictures and the state it is a batch, and so is the reply.
"""

from __future__ import annotations

import asyncio
import http
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from rlt_ros.vla.backend import InferenceError
from rlt_ros.vla.loaded import LoadedVla
from rlt_ros.vla.openpi_backend import PROTOCOL
from rlt_ros.vla.openpi_wire import LARGEST, WireError, pack, unpack


class RequestError(ValueError):
    """A request is not what this VLA takes. The message says what is wrong."""


class VlaServer:
    """One VLA, one pass at a time, however many clients."""

    def __init__(self, vla: LoadedVla, told: Callable[[str], None] = lambda _: None) -> None:
        """Serve what is loaded; `told` is given a line for people about every client."""
        self._vla, self._told = vla, told
        self._worker = ThreadPoolExecutor(1, "vla")
        self._instruction = ""
        self._embeddings: list[int] | None = None
        self.passes = 0

    def warm_up(self) -> None:
        """The first passes, before anybody waits for them."""
        bundle = self._vla.bundle
        self._vla.warm_up()
        images = np.zeros((len(bundle.cameras), bundle.image_size, bundle.image_size, 3), np.uint8)
        made = self._vla.infer(images, np.zeros(len(bundle.joints)))
        self._embeddings = None if made.embeddings is None else list(made.embeddings.shape)

    @property
    def greeting(self) -> dict[str, Any]:
        """What a client is told first."""
        bundle = self._vla.bundle
        return {
            "rlt": {
                "protocol": PROTOCOL,
                "bundle": bundle.id,
                "vla": bundle.vla,
                "name": bundle.name,
                "robot": bundle.robot,
                "cameras": list(bundle.cameras),
                "image_size": bundle.image_size,
                "joints": list(bundle.joints),
                "horizon": bundle.horizon,
                "period": bundle.period,
                "token_dim": bundle.token_dim,
                "embeddings": self._embeddings,
                "batch": self._vla.batch,
                "tasks": bundle.tasks,
                "normaliser": bundle.normaliser.to_dict(),
            }
        }

    async def run(self, host: str, port: int, ready: Callable[[int], None]) -> None:
        """Serve until cancelled.

        Args:
            host: address to listen at.
            port: 0 takes a free one.
            ready: called with the port when clients may come.

        Raises:
            OSError: the port is taken.
        """
        async with serve(
            self._client, host, port, compression=None, max_size=LARGEST, process_request=self._health
        ) as server:
            ready(next(iter(server.sockets)).getsockname()[1])
            await server.serve_forever()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to one request.

        Raises:
            RequestError: it is not what this VLA takes.
            InferenceError: the VLA gave nothing that may be flown.
        """
        start = time.perf_counter()
        images, positions, batch = self._read(request)
        made = self._vla.infer_batch(images, positions)
        self.passes += len(made)
        reply: dict[str, Any] = {"actions": np.stack([one.reference for one in made])}
        if self._vla.bundle.token_dim:
            reply["rlt/token"] = np.stack([one.token for one in made])
        if made[0].embeddings is not None:
            reply["rlt/embeddings"] = np.stack([one.embeddings for one in made]).astype(np.float16)
        if not batch:
            reply = {name: value[0] for name, value in reply.items()}
        return {**reply, "policy_timing": {"infer_ms": 1e3 * (time.perf_counter() - start)}}

    def _read(self, request: dict[str, Any]) -> tuple[NDArray[np.uint8], NDArray[np.float32], bool]:
        bundle = self._vla.bundle
        given = request.get("images", request)
        pictures = [_array(given, name, "images") for name in bundle.cameras]
        state = _array(request, "state", "the request")
        batch = state.ndim == 2
        side = bundle.image_size
        for index, (name, picture) in enumerate(zip(bundle.cameras, pictures, strict=True)):
            # openpi's ALOHA clients send (3, H, W).
            if picture.shape[-3:] == (3, side, side):
                picture = np.moveaxis(picture, -3, -1)
            if picture.dtype != np.uint8 or picture.shape != (*state.shape[:-1], side, side, 3):
                raise RequestError(
                    f"picture '{name}' is {picture.shape} of {picture.dtype}, it must be ({side}, {side}, 3) of uint8"
                )
            pictures[index] = picture
        if state.ndim not in (1, 2) or state.shape[-1] != len(bundle.joints) or state.dtype.kind != "f":
            raise RequestError(
                f"'state' is {state.shape} of {state.dtype}, this VLA takes the {len(bundle.joints)} joint positions "
                f"{', '.join(bundle.joints)}"
            )
        prompt = request.get("prompt", bundle.instruction())
        if prompt != self._instruction:
            try:
                self._vla.set_instruction(str(prompt))
            except ValueError as error:
                raise RequestError(str(error)) from error
            self._instruction = str(prompt)
        images = np.stack(pictures, axis=-4)
        return (images, state, True) if batch else (images[None], state[None], False)

    async def _client(self, connection: ServerConnection) -> None:
        peer = f"{connection.remote_address[0]}:{connection.remote_address[1]}"
        self._told(f"{peer} connected")
        try:
            await connection.send(pack(self.greeting))
            async for message in connection:
                await connection.send(await self._reply(message, peer))
        except ConnectionClosed:
            pass
        self._told(f"{peer} left")

    async def _reply(self, message: str | bytes, peer: str) -> str | bytes:
        try:
            if isinstance(message, str):
                raise RequestError("text is not understood: requests are msgpack maps in binary frames")
            # In a thread, so that pings and /healthz are answered meanwhile.
            return await asyncio.get_running_loop().run_in_executor(
                self._worker, lambda: pack(self.answer(unpack(message)))
            )
        except (RequestError, WireError, InferenceError) as error:
            self._told(f"{peer}: {error}")
            return f"{type(error).__name__}: {error}"

    def _health(self, connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(http.HTTPStatus.OK, "OK\n") if request.path == "/healthz" else None


def _array(given: Any, name: str, where: str) -> NDArray[Any]:
    if not isinstance(given, dict) or not isinstance(given.get(name), np.ndarray):
        known = ", ".join(map(str, given)) if isinstance(given, dict) else type(given).__name__
        raise RequestError(f"'{name}' is missing in {where}, which has {known}")
    found: NDArray[Any] = given[name]
    return found
