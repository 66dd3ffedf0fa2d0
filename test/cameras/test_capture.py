"""Capture threads with a camera that misbehaves on command."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from rlt_ros.cameras.camera import CameraConfig, CameraError, Frame
from rlt_ros.cameras.capture import Capture
from rlt_ros.cameras.pattern import PatternCamera

pytestmark = pytest.mark.live


class Scripted(PatternCamera):
    """A test picture that can be lost, frozen or silent."""

    def __init__(self) -> None:
        super().__init__(CameraConfig("scripted", width=64, height=48, fps=100))
        self.skip = 0
        self.frozen = self.silent = self.gone = self.unplugged = self.broken = False
        self.opened = 0

    def open(self) -> None:
        if self.unplugged:
            raise CameraError("scripted: nothing is connected")
        self.opened += 1
        super().open()

    def next_frame(self, timeout: float) -> Frame | None:
        if self.gone or self.unplugged:
            self.gone = False
            raise CameraError("the cable was pulled")
        if self.silent:
            time.sleep(timeout)
            return None
        frame = super().next_frame(timeout)
        if frame is None:
            return None
        self._number += self.skip
        self.skip = 0
        if self.broken:
            self.broken = False
            raise OSError("a driver's own error")
        return (
            Frame(np.zeros((48, 64, 3), np.uint8), frame.captured, frame.arrived, frame.number)
            if self.frozen
            else frame
        )


def wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


@pytest.fixture
def rig():
    camera, got, said = Scripted(), [], []
    camera.open()
    capture = Capture(
        "scripted",
        camera,
        lambda _name, frame: got.append(frame),
        stall_time=0.3,
        reopened=lambda _name, text: said.append(text),
    )
    capture.start()
    wait(lambda: len(got) > 5, "frames")
    yield camera, capture, got, said
    capture.stop()
    assert threading.active_count() < 20


def test_every_dropped_frame_is_counted(rig) -> None:
    camera, capture, got, _ = rig
    before = capture.health().drops
    camera.skip = 3
    count = len(got)
    wait(lambda: len(got) > count + 5, "more frames")
    numbers = [frame.number for frame in got]
    missing = numbers[-1] - numbers[0] + 1 - len(numbers)
    assert capture.health().drops == missing
    assert missing >= before + 3


def test_a_frozen_picture_is_noticed(rig) -> None:
    camera, capture, _, _ = rig
    assert capture.health().frozen == 0
    camera.frozen = True
    wait(lambda: capture.health().frozen > 20, "the frozen picture")
    camera.frozen = False
    wait(lambda: capture.health().frozen == 0, "the moving picture")


@pytest.mark.parametrize("fault", ["silent", "gone", "broken"])
def test_a_camera_that_stops_is_opened_anew(rig, fault: str) -> None:
    camera, capture, got, said = rig
    setattr(camera, fault, True)
    wait(lambda: capture.health().reconnects == 1, "the reconnection")
    camera.silent = False
    count = len(got)
    wait(lambda: len(got) > count + 5, "frames again")
    assert camera.opened == 2
    assert "lost" in said[0]
    assert said[1] == "streams again"
    assert capture.health().streaming


def test_a_camera_that_is_gone_is_tried_less_and_less_often(rig) -> None:
    camera, capture, _, _ = rig
    camera.unplugged = True
    wait(lambda: "nothing is connected" in capture.health().fault, "the fault")
    time.sleep(1.2)
    health = capture.health()
    assert not health.streaming
    assert health.age > 1.0
    assert health.reconnects == 0
    camera.unplugged = False
    wait(lambda: capture.health().streaming, "the camera to be back")
