"""Messages and domain types mean the same."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import JointState
from support import JOINTS, control_step, policy_input, session

from rlt_ros import msg, srv
from rlt_ros.ros.convert import policy_input_from_msg, session_from_msg, step_from_msg, step_to_msg
from rlt_ros.ros.fields import floats, from_stamp, octets, to_stamp
from rlt_ros.ros.joint_order import JointOrder
from rlt_ros.session.episodes import EventKind
from rlt_ros.types import Mode, Outcome, Phase, State


@pytest.mark.parametrize(
    ("enum", "message", "prefix"),
    [
        (State, msg.ControlStep, "STATE_"),
        (Phase, msg.SessionState, "PHASE_"),
        (Outcome, msg.SessionState, "OUTCOME_"),
        (EventKind, msg.EpisodeEvent, "KIND_"),
        (Mode, srv.SetMode.Request, "MODE_"),
    ],
)
def test_constants_of_messages_are_those_of_the_domain(enum, message, prefix) -> None:
    constants = {name.removeprefix(prefix): getattr(message, name) for name in dir(message) if name.startswith(prefix)}
    assert constants == {member.name: member.value for member in enum}


def test_label_outcomes_are_the_sessions() -> None:
    for name in ("SUCCESS", "FAILURE", "ABORT"):
        assert getattr(srv.Label.Request, f"OUTCOME_{name}") == Outcome[name]


def test_a_step_survives_the_wire() -> None:
    step = dataclasses.replace(
        control_step(7, 1_700_000_000.02), session=session(actor_enabled=False), input_age=0.04, row=3, limited=True
    )
    message = step_to_msg(step, 0.0, "/cell_3")
    again = step_from_msg(deserialize_message(serialize_message(message), msg.ControlStep))
    for field in dataclasses.fields(step):
        a, b = getattr(step, field.name), getattr(again, field.name)
        if field.name in ("chunk", "ahead"):
            continue
        assert np.allclose(a, b, atol=1e-6) if not isinstance(a, (str, type(step.session))) else a == b, field.name


def test_a_step_with_uneven_or_absurd_arrays_is_refused() -> None:
    message = step_to_msg(control_step(1, 1.0), 0.0, "/rlt")
    message.velocity = floats(np.zeros(JOINTS + 1))
    with pytest.raises(ValueError, match="different sizes"):
        step_from_msg(message)
    message.velocity = floats(np.full(JOINTS, np.nan))
    with pytest.raises(ValueError, match="not finite"):
        step_from_msg(message)


def test_a_policy_input_must_have_the_announced_shape() -> None:
    source = policy_input(5.0)
    message = msg.PolicyInput(horizon=50, joints=JOINTS, period=0.02, bundle_id="b", token=floats(source.token))
    message.reference, message.position = floats(source.reference), floats(source.position)
    message.header.stamp = to_stamp(5.0)
    read = policy_input_from_msg(message, clock_offset=1.0)
    assert read.captured == pytest.approx(6.0)
    assert np.allclose(read.reference, source.reference)
    message.horizon = 49
    with pytest.raises(ValueError, match="announced are 49 x 3"):
        policy_input_from_msg(message)


def test_an_unknown_phase_is_refused() -> None:
    with pytest.raises(ValueError, match="99"):
        session_from_msg(msg.SessionState(phase=99))


def test_joints_are_matched_by_name_not_by_order() -> None:
    """Joint order differs between drivers (lerobot PR#4122: violent motion)."""
    order = JointOrder(["a", "b", "c"])
    message = JointState(name=["c", "x", "a", "b"], position=[3.0, 9.0, 1.0, 2.0], velocity=[0.3, 0.9, 0.1, 0.2])
    position, velocity = order.read(message)
    assert position.tolist() == [1.0, 2.0, 3.0]
    assert velocity.tolist() == pytest.approx([0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="joints c are missing"):
        order.read(JointState(name=["a", "b"], position=[1.0, 2.0]))
    with pytest.raises(ValueError, match="3 names, 2 positions"):
        order.read(JointState(name=["a", "b", "c"], position=[1.0, 2.0]))


def test_stamps_keep_microseconds_and_bytes_stay_bytes() -> None:
    assert from_stamp(to_stamp(1_795_000_000.123456)) == pytest.approx(1_795_000_000.123456, abs=1e-6)
    assert bytes(octets(b"\x00\xff")) == b"\x00\xff"
