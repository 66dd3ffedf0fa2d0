"""Who may enter, and what the buttons do; without ROS."""

from __future__ import annotations

import json
import socket
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from rlt_ros.config import ConfigError
from rlt_ros.console.access import COOKIE, Access, read_token
from rlt_ros.console.config import ConsoleParameters
from rlt_ros.console.server import Pages, Server, bind
from rlt_ros.console.state import ConsoleState, Picture

pytestmark = pytest.mark.live

TOKEN = "a token of twenty-two"
Page = dict[str, Any]


class Console:
    """The real server on a port of its own, and a browser without a window."""

    def __init__(self, access: Access | None = None, *, read_only: bool = False) -> None:
        self.state = ConsoleState("/rlt", ("base", "wrist"), 100)
        self.pressed: list[str] = []
        self.watched: list[int] = []
        self.dead: set[str] = set()
        pages = Pages(self.state, access or Access(), self._perform, read_only=read_only, watched=self.watched.append)
        bound = bind("127.0.0.1", 0)
        self.port = bound.getsockname()[1]
        self.server = Server(pages.app(), bound)
        self.cookie: dict[str, str] = {}

    def _perform(self, action: str) -> Future[tuple[bool, str]]:
        self.pressed.append(action)
        future: Future[tuple[bool, str]] = Future()
        if action in self.dead:
            return future
        future.set_result((True, f"did {action}"))
        return future

    def request(self, method: str, path: str, body: object = None, **headers: str) -> tuple[HTTPResponse, str]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path, json.dumps(body), {**headers, **self.cookie})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response, text

    def open(self, **headers: str) -> ClientConnection:
        origin = headers.pop("origin", None)
        return connect(f"ws://127.0.0.1:{self.port}/ws", origin=origin, additional_headers={**headers, **self.cookie})

    def press(self, page: ClientConnection, action: str) -> Page:
        page.send(json.dumps({"action": action, "id": 1}))
        return answer(page)


def answer(page: ClientConnection) -> Page:
    """The next result."""
    while (told := hear(page)).get("type") != "result":
        pass
    return told


def hear(page: ClientConnection) -> Page:
    message = page.recv(timeout=10)
    return json.loads(message) if isinstance(message, str) else {"picture": message}


@pytest.fixture
def make() -> Iterator[Callable[..., Console]]:
    made: list[Console] = []

    def one(*arguments: Any, **options: Any) -> Console:
        made.append(Console(*arguments, **options))
        return made[-1]

    yield one
    for console in made:
        console.server.stop()


def test_page_state_and_pictures_arrive(make: Callable[..., Console]) -> None:
    console = make()
    console.state.update("executor", {"state": "ACTOR"})
    console.state.picture("wrist", Picture(1.0, b"jpeg"))
    page, text = console.request("GET", "/")
    assert page.status == 200
    assert "E-STOP" in text
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    with console.open() as socket:
        assert hear(socket) == {"type": "hello", "read_only": False, "cameras": ["base", "wrist"]}
        assert hear(socket)["executor"]["state"] == "ACTOR"
        assert hear(socket)["picture"] == b"\x01jpeg"
        assert console.watched == [1]
    console.server.stop()
    assert console.watched == [1, 0]


def test_every_file_that_the_page_names_is_there(make: Callable[..., Console]) -> None:
    console = make()
    for name in ("style.css", "console.js", "plot.js", "login.js", "icon.svg"):
        assert console.request("GET", f"/static/{name}")[0].status == 200


# -- buttons -------------------------------------------------------------------------------------------------


def test_a_stop_takes_one_step_and_clearing_it_two(make: Callable[..., Console]) -> None:
    console = make()
    with console.open() as page:
        assert console.press(page, "estop")["ok"]
        assert not console.press(page, "clear_estop_confirmed")["ok"], "nobody asked before"
        assert console.press(page, "clear_estop")["ok"]
        assert not console.press(page, "clear_estop_confirmed")["ok"], "a bounce"
        assert console.pressed == ["estop"]
        console.press(page, "clear_estop")
        console.press(page, "success")
        time.sleep(0.4)
        assert not console.press(page, "clear_estop_confirmed")["ok"], "something else came between"
        console.press(page, "clear_estop")
        time.sleep(0.4)
        assert console.press(page, "clear_estop_confirmed")["ok"]
        console.press(page, "clear_estop")
        with console.open() as other:
            assert console.press(other, "estop")["ok"]
        time.sleep(0.4)
        assert not console.press(page, "clear_estop_confirmed")["ok"], "a new stop, by somebody else"
    assert console.pressed == ["estop", "success", "clear_estop_confirmed", "estop"]


def test_a_stop_does_not_wait_for_a_node_that_does_not_answer(make: Callable[..., Console]) -> None:
    console = make()
    console.dead = {"intervene"}
    with console.open() as page:
        page.send(json.dumps({"action": "intervene", "id": 1}))
        began = time.monotonic()
        told = console.press(page, "estop")
        assert told["ok"]
        assert told["action"] == "estop"
        assert time.monotonic() - began < 1.0


def test_a_read_only_page_can_stop_and_nothing_else(make: Callable[..., Console]) -> None:
    console = make(read_only=True)
    with console.open() as page:
        told = [console.press(page, action) for action in ("start", "success", "auto", "estop")]
    assert [entry["ok"] for entry in told] == [False, False, False, True]
    assert console.pressed == ["estop"]


def test_what_is_no_button_is_answered(make: Callable[..., Console]) -> None:
    console = make()
    with console.open() as page:
        for text in ("", "[]", '{"action": "estop"}', '{"id": 1}', '{"action": "estop", "id": "x"}'):
            page.send(text)
            assert not answer(page)["ok"]
    assert console.pressed == []


# -- who may enter -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "origin", "ours"),
    [
        ("127.0.0.1:8700", None, True),
        ("127.0.0.1:8700", "http://127.0.0.1:8700", True),
        ("[::1]:8700", "http://[::1]:8700", True),
        ("localhost:8700", "http://localhost:8700", True),
        ("robot.lab:8700", "http://robot.lab:8700", True),
        ("127.0.0.1:8700", "http://evil.example", False),
        ("127.0.0.1:8700", "http://127.0.0.1:9999", False),
        ("127.0.0.1:8700", "null", False),
        ("evil.example:8700", "http://evil.example:8700", False),
        ("evil.example", None, False),
        (None, None, False),
    ],
)
def test_foreign_origins_and_unknown_names_are_refused(host: str | None, origin: str | None, ours: bool) -> None:
    assert Access(hosts=("robot.lab",)).is_ours(host, origin) is ours


def test_a_page_of_another_site_reaches_nothing(make: Callable[..., Console]) -> None:
    console = make()
    assert console.request("GET", "/", origin="http://evil.example")[0].status == 403
    assert console.request("POST", "/login", {"token": ""}, origin="http://evil.example")[0].status == 403
    assert console.request("GET", "/", host="evil.example")[0].status == 403
    with pytest.raises(InvalidStatus, match="403"):
        console.open(origin="http://evil.example")
    assert console.watched == []


def test_a_token_is_asked_for_once_and_a_wrong_one_refused(make: Callable[..., Console]) -> None:
    console = make(Access(TOKEN))
    page, text = console.request("GET", "/")
    assert page.status == 401
    assert "E-STOP" not in text
    with pytest.raises(InvalidStatus, match="403"):
        console.open()
    with pytest.raises(InvalidStatus, match="403"):
        console.open(cookie=f"{COOKIE}={'0' * 64}")
    assert console.request("POST", "/login", {"token": "wrong"})[0].status == 403
    assert console.request("POST", "/login", ["token"])[0].status == 400
    assert console.request("POST", "/login", {"token": "x" * 2000})[0].status == 413
    entered, _ = console.request("POST", "/login", {"token": TOKEN})
    assert entered.status == 200
    cookie = entered.headers["set-cookie"]
    assert "httponly" in cookie.lower()
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie
    console.cookie = {"cookie": cookie.partition(";")[0]}
    assert console.request("GET", "/")[0].status == 200
    with console.open() as page:
        assert console.press(page, "estop")["ok"]
    again = Access(TOKEN)
    assert again.admits(Access(TOKEN).cookie), "a console that was started again knows its browsers"
    assert not again.admits(Access("another token of twenty").cookie)


def test_without_a_token_only_this_machine_may_enter(tmp_path: Path) -> None:
    ConsoleParameters().check()
    ConsoleParameters(host="::1").check()
    for host in ("0.0.0.0", "192.168.1.5", "robot.lab"):
        with pytest.raises(ConfigError, match="token_file"):
            ConsoleParameters(host=host).check()
        ConsoleParameters(host=host, token_file=str(tmp_path / "token")).check()


def test_a_token_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "token"
    made = read_token(path)
    assert len(made) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_token(path) == made
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_token(path)
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(ConfigError, match="5 characters"):
        read_token(path)
    with pytest.raises(ConfigError, match="token file"):
        read_token(tmp_path / "nowhere" / "token")


def test_a_taken_port_is_passed_over() -> None:
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with bind("127.0.0.1", port) as second:
            assert port < second.getsockname()[1] < port + 10
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
    with pytest.raises(ConfigError, match="cannot listen on 192\\.0\\.2\\.1"):
        bind("192.0.2.1", 8700)
