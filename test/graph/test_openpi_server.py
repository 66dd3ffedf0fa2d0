"""A VLA in another process, `rlt serve`: vla_node is its client while it is frozen, killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ros_support import free_port, listener
from running import node, process
from test_vla_node import BUNDLE, FakeCameras

from rlt_ros import srv
from rlt_ros.ros.fields import from_stamp

pytestmark = pytest.mark.live
WORDS = BUNDLE.instruction()


@contextmanager
def rlt_serve(port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    arguments = [sys.executable, "-m", "rlt_ros.cli", "serve", "--bundle", str(BUNDLE.directory), "--port", str(port)]
    with process([*arguments, "--provider", "CPUExecutionProvider"], log) as running:
        deadline = time.monotonic() + 60
        while "serving" not in log.read_text():
            assert running.poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"the server is ready: {log.read_text()}"
            time.sleep(0.05)
        yield running


def flows(cameras: FakeCameras, seconds: float, what: str) -> None:
    """Pictures are sent, and answers to them come: not to those that were sent before."""
    since = time.time()
    deadline = time.monotonic() + seconds
    while not any(from_stamp(message.header.stamp) >= since for message in cameras.inputs):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        cameras.send()
        cameras.ros.spin(0.04)


def silent(cameras: FakeCameras, log: Path, told: str) -> None:
    """Nothing is answered, the log says why, and the node still listens."""
    cameras.ros.spin(1.0)  # what was on its way
    cameras.inputs.clear()
    deadline = time.monotonic() + 20
    while told not in log.read_text():
        assert time.monotonic() < deadline, f"the log says '{told}': {log.read_text()}"
        cameras.send()
        cameras.ros.spin(0.04)
    assert not cameras.inputs
    asked = time.monotonic()
    request = srv.SetInstruction.Request(instruction=WORDS)
    assert cameras.ros.call(srv.SetInstruction, "vla_node/set_instruction", request).success
    assert time.monotonic() - asked < 2.0, "a frozen VLA keeps its node from listening"


def test_the_server_is_frozen_killed_and_restarted(domain: int, tmp_path: Path) -> None:
    port, bundle, log = free_port(), tmp_path / "far", tmp_path / "log"
    with rlt_serve(port, tmp_path / "first") as server:
        uri = f"ws://127.0.0.1:{port}"
        made = [sys.executable, "-m", "rlt_ros.cli", "adapt", "import", "openpi", uri, "--out", str(bundle)]
        subprocess.run(made, check=True, timeout=60, stdout=subprocess.DEVNULL)
        with listener() as ros, node("vla_node", {"bundle": str(bundle)}, log):
            cameras = FakeCameras(ros)
            flows(cameras, 30, "the first answers")
            assert len(cameras.inputs[-1].token) == BUNDLE.token_dim
            assert cameras.inputs[-1].bundle_id.startswith("openpi-")
            os.kill(server.pid, signal.SIGSTOP)
            silent(cameras, log, f"no answer from {uri}")
            os.kill(server.pid, signal.SIGCONT)
            flows(cameras, 20, "answers after the server was frozen")
            os.kill(server.pid, signal.SIGKILL)
            server.wait()
            silent(cameras, log, "ConnectionRefusedError")
            with rlt_serve(port, tmp_path / "second"):
                flows(cameras, 20, "answers of a server that was started again")
    assert "Traceback" not in log.read_text()
