"""A VLA behind openpi's protocol: the same answers as here, and whatever the server does ends in a told reason."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from served import in_thread, served
from vla_support import CAMERAS, HORIZON, JOINTS, SENTENCES, SIZE, TOKEN, moment, tiny_bundle
from websockets.asyncio.server import serve
from websockets.sync.client import connect

from rlt_ros.config import ConfigError
from rlt_ros.vla.backend import InferenceError
from rlt_ros.vla.bundle import Bundle, load_bundle
from rlt_ros.vla.imports import import_openpi
from rlt_ros.vla.loaded import LoadedVla
from rlt_ros.vla.openpi_server import VlaServer
from rlt_ros.vla.openpi_wire import WireError, pack, unpack

pytestmark = pytest.mark.live


@contextmanager
def answering(*answers: Callable[[dict[str, Any]], Any], greeting: Any = None) -> Iterator[str]:
    """A server that is not ours: the n-th request of all connections gets the n-th answer, further ones the last."""
    left = list(answers)

    async def client(connection: Any) -> None:
        await connection.send(pack({}) if greeting is None else greeting)
        async for message in connection:
            answer = (left.pop(0) if len(left) > 1 else left[0])(unpack(message))
            if isinstance(answer, float):
                await asyncio.sleep(answer)
                answer = good({"state": np.full(3, 9.0)})
            await connection.send(answer if isinstance(answer, str | bytes) else pack(answer))

    async def run(ready: Callable[[int], None]) -> None:
        async with serve(client, "127.0.0.1", 0, compression=None) as server:
            ready(next(iter(server.sockets)).getsockname()[1])
            await server.serve_forever()

    with in_thread(run) as uri:
        yield uri


def good(request: dict[str, Any]) -> dict[str, Any]:
    return {"actions": np.tile(np.asarray(request["state"], np.float32), (HORIZON, 1))}


def client(directory: Path, uri: str, **settings: Any) -> LoadedVla:
    """A client of a server that says nothing of itself."""
    made = tiny_bundle(directory, backend="openpi", settings={"uri": uri, **settings}, sha256="0" * 64)
    return LoadedVla(load_bundle(made.directory))


def test_a_bundle_served_gives_what_it_gives_here(tmp_path: Path) -> None:
    here = tiny_bundle(tmp_path / "here", encoder=True)
    with served(LoadedVla(here)) as uri:
        there = import_openpi(uri, tmp_path / "there", "far", [], {})
        loaded = load_bundle(there.directory)
        assert (loaded.joints, loaded.cameras, loaded.tasks, loaded.period) == (JOINTS, CAMERAS, SENTENCES, 0.02)
        assert loaded.normaliser.to_dict() == here.normaliser.to_dict()
        near, far = LoadedVla(here), LoadedVla(loaded)
        for vla in (near, far):
            vla.set_instruction("wait here")
        for seed in range(3):
            a, b = near.infer(*moment(seed)), far.infer(*moment(seed))
            np.testing.assert_array_equal(a.reference, b.reference)
            np.testing.assert_array_equal(a.token, b.token)
            assert b.embeddings is not None
            assert b.embeddings.dtype == np.float16, "half the bytes"
        far.close()


def test_openpis_own_client_is_understood(tmp_path: Path) -> None:
    """Pictures by camera in a map, channels first, arrays as its msgpack writes them; a batch gives a batch."""
    bundle = tiny_bundle(tmp_path, encoder=True)
    images, position = moment()
    expected = LoadedVla(bundle).infer(images, position)
    with served(LoadedVla(bundle)) as uri, connect(uri, compression=None, max_size=None, proxy=None) as ws:
        assert unpack(ws.recv())["rlt"]["bundle"] == bundle.id
        pictures = {name: picture.transpose(2, 0, 1) for name, picture in zip(CAMERAS, images, strict=True)}
        ws.send(pack({"images": pictures, "state": position, "prompt": SENTENCES["plug"]}))
        reply = unpack(ws.recv())
        np.testing.assert_allclose(reply["actions"], expected.reference, rtol=1e-6)
        np.testing.assert_array_equal(reply["rlt/token"], expected.token)
        assert reply["policy_timing"]["infer_ms"] > 0
        batch = {name: np.stack([picture] * 4) for name, picture in zip(CAMERAS, images, strict=True)}
        ws.send(pack({"images": batch, "state": np.stack([position] * 4)}))
        assert unpack(ws.recv())["rlt/token"].shape == (4, TOKEN)

        for wrong, told in (
            ({"images": {"left": images[0]}, "state": position}, "'base' is missing in images, which has left"),
            ({"images": dict(zip(CAMERAS, images[:, :9], strict=True)), "state": position}, r"must be \(32, 32, 3\)"),
            ({"images": dict(zip(CAMERAS, images, strict=True)), "state": position[:2]}, "3 joint positions shoulder"),
            ({"images": dict(zip(CAMERAS, images, strict=True)), "state": position, "prompt": "fly"}, "tokenised"),
            ({"images": dict(zip(CAMERAS, images, strict=True)), "state": position * np.nan}, "not finite"),
        ):
            ws.send(pack(wrong))
            answer = ws.recv()
            assert isinstance(answer, str), "openpi's way to tell of a failure"
            assert re.search(told, answer), answer
        ws.send("text")
        assert "msgpack" in ws.recv()
        ws.send(pack({"images": pictures, "state": position}))
        assert "actions" in unpack(ws.recv()), "after all that it still serves"


def test_health_is_asked_by_http(tmp_path: Path) -> None:
    with (
        served(LoadedVla(tiny_bundle(tmp_path, encoder=True))) as uri,
        socket.create_connection(("127.0.0.1", int(uri.rsplit(":", 1)[1])), 5) as line,
    ):
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in line.recv(1000)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda _: "Traceback\n ...\nKeyError: 'state'", "the server failed: KeyError: 'state'"),
        (lambda _: b"\xc1", "not msgpack"),
        (lambda _: {}, "'actions' is NoneType"),
        (lambda _: {"actions": np.zeros((HORIZON, 2))}, r"shape \(12, 2\), the bundle needs \(12, 3\)"),
        (lambda _: {"actions": np.zeros((5, 3))}, r"shape \(5, 3\)"),
        (lambda _: {"actions": np.full((HORIZON, 3), np.nan)}, "not finite"),
        (lambda _: 0.6, "no answer"),
    ],
)
def test_a_bad_answer_is_told_and_the_next_good_one_counts(
    tmp_path: Path, answer: Callable[[dict[str, Any]], Any], told: str
) -> None:
    images, position = moment()
    with answering(good, answer, good) as uri:
        vla = client(tmp_path, uri, timeout=0.3)
        np.testing.assert_allclose(vla.infer(images, position).reference[0], position, rtol=1e-6)
        with pytest.raises(InferenceError, match=told):
            vla.infer(images, position)
        deadline = time.monotonic() + 5
        while True:
            try:
                again = vla.infer(images, position)
                break
            except InferenceError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        np.testing.assert_allclose(again.reference[0], position, rtol=1e-6, err_msg="the answer to another question")
        vla.close()


def test_a_server_that_dies_and_comes_back_on_its_port(tmp_path: Path) -> None:
    images, position = moment()
    bundle = tiny_bundle(tmp_path / "here", encoder=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    vla = None
    for _ in range(2):
        server = VlaServer(LoadedVla(bundle))
        with in_thread(lambda ready, s=server: s.run("127.0.0.1", port, ready)) as uri:
            if vla is None:
                vla = LoadedVla(import_openpi(uri, tmp_path / "there", "far", [], {}))
            deadline = time.monotonic() + 5
            while True:
                try:
                    vla.infer(images, position)
                    break
                except InferenceError:
                    assert time.monotonic() < deadline
        with pytest.raises(InferenceError, match="no answer"):
            vla.infer(images, position)
        with pytest.raises(InferenceError, match="no answer"):
            vla.infer(images, position)


def test_another_model_behind_the_same_address_is_refused(tmp_path: Path) -> None:
    with served(LoadedVla(tiny_bundle(tmp_path / "one", encoder=True))) as uri:
        bundle = import_openpi(uri, tmp_path / "there", "far", [], {})
    with served(LoadedVla(tiny_bundle(tmp_path / "two", seed=1, encoder=True))) as uri:
        vla = LoadedVla(Bundle(**{**vars(bundle), "settings": {"uri": uri}}))
        with pytest.raises(InferenceError, match="another one: vla is"):
            vla.infer(*moment())


def test_a_server_of_openpis_own_flies_the_base_and_says_what_rl_needs(tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    def note(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request)
        return {"actions": np.zeros((50, 32)), "state": np.zeros(32)}

    images, position = moment()
    keys = {"left": ["images", "cam_left"], "base": "observation/image"}
    with answering(note) as uri:
        vla = client(tmp_path / "a", uri, images=keys, state="observation/state", channels_first=True, relative=True)
        result = vla.infer(images, position)
        np.testing.assert_allclose(result.reference, np.tile(position, (HORIZON, 1)), rtol=1e-6)
        assert result.token.shape == (0,)
        assert asked[0]["images"]["cam_left"].shape == (3, SIZE, SIZE)
        np.testing.assert_array_equal(asked[0]["observation/image"], images[1].transpose(2, 0, 1))
        assert asked[0]["prompt"] == SENTENCES["plug"]
        wants = tiny_bundle(tmp_path / "b", backend="openpi", settings={"uri": uri}, sha256="0" * 64, token_dim=4)
        with pytest.raises(InferenceError, match=r"actions only.*docs/openpi.md"):
            LoadedVla(wants).infer(images, position)
        with pytest.raises(ConfigError, match="give a dataset of the robot"):
            import_openpi(uri, tmp_path / "c", "far", [], {})


def test_no_server_and_no_websocket_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no openpi server answers at ws://127.0.0.1:9"):
        import_openpi("ws://127.0.0.1:9", tmp_path, "far", [], {})
    with pytest.raises(ConfigError, match="correct the address"):
        import_openpi("127.0.0.1", tmp_path, "far", [], {})


def test_only_numbers_are_unpacked() -> None:
    there = {"a": np.arange(6, dtype=np.float16).reshape(2, 3), "b": np.float32(1.5), "c": ["d", 1]}
    back = unpack(pack(there))
    np.testing.assert_array_equal(back["a"], there["a"])
    assert back["b"] == 1.5
    assert back["c"] == ["d", 1]
    with pytest.raises(TypeError):
        pack({"a": np.array([object()])})
    for array in (
        {b"__ndarray__": True, b"data": b"1234", b"dtype": "|O", b"shape": (1,)},
        {b"__ndarray__": True, b"data": b"1234", b"dtype": "<f4", b"shape": (2,)},
        {b"__ndarray__": True, b"data": b"1234"},
    ):
        with pytest.raises(WireError):
            unpack(msgpack.packb({"a": array}))
    with pytest.raises(WireError, match="a map is expected"):
        unpack(msgpack.packb([1]))
