"""The web server: one static page, one WebSocket.

To the page: text frames `hello`, `state` (see `ConsoleState.snapshot`) and `result`; binary frames are pictures, the
camera's number in a byte and JPEG. From the page: `{"action", "id"}`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from rlt_ros.config import ConfigError
from rlt_ros.console.access import COOKIE, Access
from rlt_ros.console.state import ConsoleState

STATIC = Path(__file__).parent / "static"
ALWAYS_ALLOWED = ("estop",)
"""Whoever may look may stop."""
CLEAR, CLEAR_AGAIN = "clear_estop", "clear_estop_confirmed"
_CLEAR_WITHIN = 8.0
_CLEAR_NOT_BEFORE = 0.3
_STATE_PERIOD = 0.5
_ANSWER_WITHIN = 5.0
_PORTS = 10
_LARGEST_LOGIN = 1024
_GUESSES = 5
"""That wait at a time."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

Perform = Callable[[str], "Future[tuple[bool, str]]"]
"""Does what a button says; the answer is whether it worked, and a sentence."""


class Pages:
    """The open pages."""

    def __init__(
        self,
        state: ConsoleState,
        access: Access,
        perform: Perform,
        *,
        read_only: bool = False,
        picture_period: float = 0.2,
        watched: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Serve a state.

        Args:
            state: what is shown.
            access: who may see it.
            perform: called for every button, from the server's thread.
            read_only: buttons other than the emergency stop are refused.
            picture_period: seconds between two pictures of a camera.
            watched: called with the number of open pages whenever it changes, from the server's thread.
        """
        self._state, self._access, self._perform = state, access, perform
        self._read_only, self._picture_period, self._watched = read_only, picture_period, watched
        self._wake: dict[WebSocket, asyncio.Event] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._login = asyncio.Lock()
        self._guesses = self._stops = 0

    def app(self) -> Callable[..., Awaitable[None]]:
        """The ASGI application."""
        inner = Starlette(
            routes=[
                Route("/", self._page),
                Route("/login", self._enter, methods=["POST"]),
                WebSocketRoute("/ws", self._serve),
                Mount("/static", StaticFiles(directory=STATIC, follow_symlink=True)),
            ]
        )

        async def guarded(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] in ("http", "websocket"):
                headers = Headers(scope=scope)
                if not self._access.is_ours(headers.get("host"), headers.get("origin")):
                    refusal = PlainTextResponse("this page is not for you: unknown host, or foreign origin", 403)
                    if scope["type"] == "http":
                        await refusal(scope, receive, send)
                    else:
                        await send({"type": "websocket.close", "code": 1008})
                    return
            await inner(scope, receive, send)

        return guarded

    def hurry(self) -> None:
        """Something happened that must be seen at once; may be called from any thread."""
        if self._loop is not None and self._wake:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(lambda: [event.set() for event in self._wake.values()])

    # -- pages ---------------------------------------------------------------------------------------------

    async def _page(self, request: Request) -> Response:
        admitted = self._access.admits(request.cookies.get(COOKIE))
        name, code = ("index.html", 200) if admitted else ("login.html", 401)
        return FileResponse(STATIC / name, code, headers=_HEADERS)

    async def _enter(self, request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _LARGEST_LOGIN:
                return JSONResponse({"error": "too long for a token"}, 413)
        try:
            token = str(json.loads(body)["token"])
        except (ValueError, KeyError, TypeError):
            return JSONResponse({"error": "a token is needed"}, 400)
        if self._guesses >= _GUESSES:
            return JSONResponse({"error": "too many try to enter: wait a little"}, 429)
        self._guesses += 1
        try:
            async with self._login:  # one guess a second, whoever guesses
                if not self._access.knows(token):
                    await asyncio.sleep(1.0)
                    return JSONResponse({"error": "wrong token"}, 403)
        finally:
            self._guesses -= 1
        response = JSONResponse({})
        response.set_cookie(COOKIE, self._access.cookie, httponly=True, samesite="strict", max_age=30 * 86400)
        return response

    async def _serve(self, page: WebSocket) -> None:
        cookies = SimpleCookie(page.headers.get("cookie", ""))
        if not self._access.admits(cookies[COOKIE].value if COOKIE in cookies else None):
            await page.close(1008)
            return
        await page.accept()
        self._loop = asyncio.get_running_loop()
        self._wake[page] = asyncio.Event()
        self._watched(len(self._wake))
        speaking = asyncio.create_task(self._speak(page))
        try:
            await self._listen(page)
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            speaking.cancel()
            with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await speaking
            del self._wake[page]
            self._watched(len(self._wake))

    async def _speak(self, page: WebSocket) -> None:
        hello = {"type": "hello", "read_only": self._read_only, "cameras": self._state.cameras}
        await page.send_text(json.dumps(hello))
        seen, urgent, told = 0, -1, 0.0
        shown: dict[str, float] = {}
        wake = self._wake[page]
        while True:
            now = time.monotonic()
            if self._state.urgent != urgent or now - told >= _STATE_PERIOD:
                urgent, told = self._state.urgent, now
                snapshot = self._state.snapshot(seen)
                seen = snapshot["count"]
                await page.send_text(json.dumps({"type": "state", **snapshot}))
            for number, (name, picture) in enumerate(
                (name, self._state.pictures().get(name)) for name in self._state.cameras
            ):
                if picture is not None and shown.get(name) != picture.captured:
                    shown[name] = picture.captured
                    await page.send_bytes(bytes([number]) + picture.jpeg)
            wake.clear()
            with suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(wake.wait(), self._picture_period)

    async def _listen(self, page: WebSocket) -> None:
        asked, stops = 0.0, -1
        calls: set[asyncio.Task[None]] = set()
        while True:
            try:
                message = json.loads(await page.receive_text())
                action, number = str(message["action"]), int(message["id"])
            except (ValueError, KeyError, TypeError):
                await self._answer(page, -1, "", (False, "not understood"))
                continue
            answer: tuple[bool, str]
            if action == CLEAR:
                asked, stops = time.monotonic(), self._stops
                answer = (True, f"press again within {_CLEAR_WITHIN:.0f} s, if nobody is in the robot's reach")
            elif action == CLEAR_AGAIN and (
                stops != self._stops or not _CLEAR_NOT_BEFORE <= time.monotonic() - asked <= _CLEAR_WITHIN
            ):
                answer = (False, "not cleared: press 'clear e-stop' first, then confirm it")
            elif self._read_only and action not in ALWAYS_ALLOWED:
                answer = (False, "this page is read-only")
            else:
                self._stops += action in ALWAYS_ALLOWED  # nobody clears a stop that was pressed after they asked
                # A stop must not wait for the answer of a node that is dead.
                asked = 0.0
                call = asyncio.create_task(self._call(page, number, action))
                calls.add(call)
                call.add_done_callback(calls.discard)
                continue
            await self._answer(page, number, action, answer)

    async def _call(self, page: WebSocket, number: int, action: str) -> None:
        try:
            answer = await asyncio.wait_for(asyncio.wrap_future(self._perform(action)), _ANSWER_WITHIN)
        except (asyncio.TimeoutError, TimeoutError):
            answer = (False, f"{action}: no answer within {_ANSWER_WITHIN:.0f} s")
        with suppress(WebSocketDisconnect, RuntimeError):  # the page is gone
            await self._answer(page, number, action, answer)

    async def _answer(self, page: WebSocket, number: int, action: str, answer: tuple[bool, str]) -> None:
        told = {"type": "result", "id": number, "action": action, "ok": answer[0], "message": answer[1]}
        await page.send_text(json.dumps(told))


def bind(host: str, port: int) -> socket.socket:
    """A listening socket at the port, or at the next free one of ten.

    Raises:
        ConfigError: there is none, or the address is not this machine's.
    """
    ports = range(port, min(port + _PORTS, 65536)) if port else (0,)
    reason: OSError | None = None
    for number in ports:
        made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((host, number))
            made.listen()  # whoever comes before the server has started waits
            return made
        except OSError as error:
            made.close()
            reason = error
    raise ConfigError(f"the console cannot listen on {host}, ports {ports[0]} to {ports[-1]}: {reason}")


class Server:
    """Serves an application in a thread of its own."""

    def __init__(self, app: Callable[..., Awaitable[None]], bound: socket.socket) -> None:
        """Begin."""
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="websockets-sansio",
            ws_per_message_deflate=False,  # pictures are compressed, the rest is small
            ws_max_size=4096,
            timeout_graceful_shutdown=1,
            server_header=False,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([bound],), daemon=True, name="console")
        self._thread.start()

    def stop(self) -> None:
        """End, with a word to the open pages."""
        self._server.should_exit = True
        self._thread.join(3.0)
