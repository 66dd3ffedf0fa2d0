"""Pictures and joint states as drivers really give them: W1, W3, W4."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import Image, JointState

from rlt_ros.cameras.sets import FrameSet
from rlt_ros.refusals import Refusals
from rlt_ros.robot.wire import one_source
from rlt_ros.ros.fields import to_stamp
from rlt_ros.ros.vla_inputs import VlaInputs

CAMERAS, JOINTS, SIZE = ("left", "right", "base"), ("a", "b"), 8
HOUR = 3600.0


class Clock:
    """As `LoopClock`, moved by the test; `wall` may be set, `at` goes on."""

    def __init__(self) -> None:
        self.at, self.wall = 100.0, 1_790_000_000.0

    def pass_by(self, seconds: float) -> None:
        self.at += seconds
        self.wall += seconds

    def now(self) -> float:
        return self.at

    def ros(self) -> float:
        return self.wall

    def stamp(self, at: float) -> float:
        return at + self.wall - self.at


class Rig:
    """Three cameras and a driver."""

    def __init__(self) -> None:
        self.clock, self.refusals = Clock(), Refusals()
        self.inputs = VlaInputs(CAMERAS, JOINTS, one_source(JOINTS), SIZE, 0.005, self.clock, self.refusals)  # type: ignore[arg-type]

    def state(self, age: float = 0.0, x: float = 0.0) -> None:
        message = JointState(name=list(JOINTS), position=[x, -x])
        message.header.stamp = to_stamp(self.clock.wall - age)
        self.inputs.joint_state(message)

    def picture(self, camera: str, age: float = 0.0, **changes: Any) -> FrameSet | None:
        message = Image(height=SIZE, width=SIZE, encoding="rgb8", step=3 * SIZE)
        message.data = array("B", bytes(3 * SIZE * SIZE))
        message.header.stamp = to_stamp(self.clock.wall - age)
        for name, value in changes.items():
            setattr(message, name, value)
        return self.inputs.image(camera, message)

    def pictures(self, ages: tuple[float, ...] = (0.0, 0.0, 0.0)) -> FrameSet | None:
        made = [self.picture(camera, age) for camera, age in zip(CAMERAS, ages, strict=True)]
        return made[-1]


@pytest.mark.parametrize("skew", [0.0005, 0.004])
def test_W4_drivers_that_stamp_one_by_one_make_sets(skew: float) -> None:
    rig = Rig()
    for _ in range(30):
        rig.clock.pass_by(0.033)
        made = rig.pictures((skew, skew / 2, 0.0))
        assert made is not None
        assert made.spread == pytest.approx(skew, abs=1e-5)
        assert rig.inputs.stamp(made) == pytest.approx(rig.clock.wall - skew, abs=1e-5)
    assert not rig.refusals.counts


def test_W4_pictures_that_make_no_set_are_told() -> None:
    rig = Rig()
    for _ in range(60):
        rig.clock.pass_by(0.033)
        assert rig.pictures((0.012, 0.0, 0.0)) is None
    assert rig.refusals.counts["image_no_set"] == 1
    assert "12.0 ms apart" in rig.refusals.detail("image_no_set")
    for _ in range(60):
        rig.clock.pass_by(0.033)
        rig.picture("left")
        rig.picture("right")
    assert "base silent" in rig.refusals.detail("image_no_set")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"encoding": "32FC1"}, "image_encoding"),
        ({"height": 6}, "image_malformed"),
        ({"step": 3 * SIZE + 8}, "image_malformed"),
        ({"data": array("B", b"123")}, "image_malformed"),
    ],
)
def test_W4_a_picture_that_cannot_be_used_is_told(change: dict[str, Any], kind: str) -> None:
    rig = Rig()
    assert rig.picture("left", **change) is None
    assert rig.refusals.counts[kind] == 1
    assert "left" in rig.refusals.detail(kind)


def test_W4_pictures_of_any_size_and_encoding_are_the_model_s() -> None:
    rig = Rig()
    for camera in CAMERAS:
        wide = np.zeros((60, 80), np.uint8)
        wide[:, 10:70] = 200  # the largest square in the middle
        made = rig.picture(camera, height=60, width=80, encoding="mono8", step=80, data=array("B", wide.tobytes()))
    assert made is not None
    assert all((frame.image == 200).all() and frame.image.shape == (SIZE, SIZE, 3) for frame in made.frames.values())
    assert not rig.refusals.counts


def test_W3_a_1_kHz_driver_and_pictures_that_are_120_ms_old() -> None:
    rig = Rig()
    for tick in range(1000):
        rig.clock.pass_by(0.001)
        rig.state(x=tick * 1e-3)
    made = rig.pictures((0.12, 0.12, 0.12))
    assert made is not None
    position = rig.inputs.position(made.captured, 0.05)
    assert position is not None
    assert position == pytest.approx([0.999 - 0.12, -0.999 + 0.12], abs=2e-3)


def test_pictures_without_joint_states_of_their_time_are_told() -> None:
    rig = Rig()
    made = rig.pictures()
    assert made is not None
    assert rig.inputs.position(made.captured, 0.05) is None
    for _ in range(20):
        rig.clock.pass_by(0.02)
        rig.state()
    rig.clock.pass_by(0.2)
    made = rig.pictures()
    assert made is not None
    assert rig.inputs.position(made.captured, 0.05) is None
    assert rig.refusals.counts["image_without_joints"] == 2


@pytest.mark.parametrize("step", [-600.0, 600.0, -HOUR, HOUR])
def test_W1_the_clock_is_set(step: float) -> None:
    rig = Rig()
    inferred = 0
    for tick in range(100):
        rig.clock.pass_by(0.02)
        if tick == 50:
            rig.clock.wall += step
        rig.state(x=tick * 1e-3)
        made = rig.pictures()
        inferred += made is not None and rig.inputs.position(made.captured, 0.05) is not None
    assert inferred >= 98


def test_W1_one_set_that_is_stamped_an_hour_ahead() -> None:
    rig = Rig()
    inferred = 0
    for tick in range(50):
        rig.clock.pass_by(0.02)
        rig.state()
        ahead = -HOUR if tick == 10 else 0.0
        made = rig.pictures((ahead, ahead, ahead))
        if made is not None:
            inferred += 1
            assert rig.inputs.stamp(made) <= rig.clock.wall + 1e-6, "no stamp of the future goes on"
    assert inferred >= 48


def test_cameras_on_a_computer_with_another_clock_are_used_on_ours() -> None:
    rig = Rig()
    used = 0
    for _ in range(100):
        rig.clock.pass_by(0.02)
        rig.state()
        made = rig.pictures((HOUR, HOUR, HOUR))
        if made is not None:
            used += 1
            assert rig.inputs.stamp(made) == pytest.approx(rig.clock.wall, abs=1e-3)
    assert used >= 45, "after a second of proof"
    assert rig.refusals.counts["image_clock"] > 0


def test_a_joint_state_without_a_joint_or_with_nan_is_told() -> None:
    rig = Rig()
    rig.inputs.joint_state(JointState(name=["a"], position=[0.0]))
    rig.inputs.joint_state(JointState(name=["a", "b"], position=[0.0, np.nan]))
    assert rig.refusals.counts == {"joint_state_shape": 1, "joint_state_not_finite": 1}
