"""executor_node as a process, with a robot, a VLA and a learner played by the test."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from ros_support import Listener, listener
from running import node, ros_arguments
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray, String
from std_srvs.srv import Trigger
from support import weights as actor_weights

from rlt_ros import msg, srv
from rlt_ros.bringup.graph import Bringup
from rlt_ros.control.actor import ActorSpec, pack_actor
from rlt_ros.nodes.executor_node import ExecutorNode
from rlt_ros.ros.fields import floats, octets, to_stamp
from rlt_ros.ros.qos import COMMAND_QOS, LATCHED_QOS, RECORD_QOS
from rlt_ros.sim.names import JOINT_NAMES
from rlt_ros.vla.bundle import load_bundle

pytestmark = pytest.mark.live
BUNDLE = load_bundle(Bringup().bundle_path)
JOINTS = len(BUNDLE.joints)


class FakeCell:
    """Publishes what the executor needs, as often as it would come, while the test waits for something."""

    def __init__(self, ros: Listener) -> None:
        self.ros = ros
        node = ros.node
        self._joints = node.create_publisher(JointState, "joint_states", 10)
        self._inputs = node.create_publisher(msg.PolicyInput, "policy_input", RECORD_QOS)
        self._session = node.create_publisher(msg.SessionState, "session", LATCHED_QOS)
        self.weights = node.create_publisher(msg.PolicyWeights, "policy", LATCHED_QOS)
        self.estop = node.create_publisher(Bool, "estop", 10)
        self.description = node.create_publisher(String, "robot_description", LATCHED_QOS)
        self._human = node.create_publisher(msg.Intervention, "intervention", 10)
        self.steps = ros.listen(msg.ControlStep, "step")
        self.status = ros.listen(msg.ExecutorStatus, "executor_status")
        self.commands = ros.listen(Float64MultiArray, "forward_position_controller/commands", COMMAND_QOS)
        self.phase = msg.SessionState.PHASE_CRITICAL
        self.position = np.zeros(JOINTS)
        self.speak_joints = self.speak_vla = True
        self.human: list[float] | None = None
        self.clock_step = 0.0
        self.broken_joints = self.broken_vla = False
        self._sequence = self._broken = 0
        node.create_timer(0.02, self._speak)
        node.create_timer(0.04, self._speak_vla)

    def _speak(self) -> None:
        stamp = to_stamp(time.time() + self.clock_step)
        if self.human is not None:
            self._human.publish(msg.Intervention(active=True, joint_names=list(BUNDLE.joints), target=self.human))
        state = msg.SessionState(epoch=1, episode=1, phase=self.phase, actor_enabled=True)
        self._session.publish(state)
        if self.speak_joints:
            names = list(BUNDLE.joints)[::-1]
            position = list(self.position[::-1])
            message = JointState(name=names, position=position, velocity=[0.0] * JOINTS)
            if self.broken_joints:
                # One at a time: the executor's queue keeps only the newest.
                self._broken += 1
                message = [
                    JointState(name=names, position=[float("nan")] * JOINTS),
                    JointState(name=names[:3], position=position[:3]),
                    JointState(name=names, position=position[:5]),
                ][self._broken % 3]
            message.header.stamp = stamp
            self._joints.publish(message)

    def _speak_vla(self) -> None:
        if not self.speak_vla:
            return
        message = msg.PolicyInput(bundle_id=BUNDLE.id, sequence=self._sequence, horizon=50, joints=JOINTS, period=0.02)
        message.header.stamp = to_stamp(time.time() + self.clock_step)
        message.token = floats(np.ones(BUNDLE.token_dim))
        rows = np.arange(1, 51)[:, None] * np.full(JOINTS, 5e-4)
        message.reference = floats(rows)
        message.position = floats(np.zeros(JOINTS))
        if self.broken_vla:
            kind = self._sequence % 3
            if kind == 2:
                message.bundle_id = "another"
            else:
                message.reference = floats([np.full((50, JOINTS), np.nan), np.zeros(7)][kind])
        self._sequence += 1
        self._inputs.publish(message)

    def state_is(self, state: int, reason: str = "") -> None:
        """Wait until the executor is in a state."""
        self.ros.wait(
            lambda: bool(self.steps) and (self.steps[-1].state, self.steps[-1].reason) == (state, reason),
            10,
            f"state {state} '{reason}' (is {self.steps[-1].state if self.steps else None} "
            f"'{self.steps[-1].reason if self.steps else ''}')",
        )

    def release(self) -> None:
        """The human lets go."""
        self.human = None
        self._human.publish(msg.Intervention(active=False))

    def rests(self) -> None:
        """The command does not move."""
        self.steps.clear()
        self.ros.wait(lambda: len(self.steps) >= 10, 5, "ten more ticks")
        assert len({tuple(step.command) for step in self.steps[-5:]}) == 1

    def counters(self) -> dict[str, int]:
        """Of the newest status."""
        self.status.clear()
        self.ros.wait(lambda: bool(self.status), 5, "executor_status")
        return dict(zip(self.status[-1].counter_names, self.status[-1].counter_values, strict=True))


@pytest.fixture
def cell(domain: int, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[FakeCell]:
    parameters = {"bundle": str(BUNDLE.directory), "priority": "0"}
    extra = getattr(request, "param", None)
    if isinstance(extra, dict):
        parameters |= extra
    elif actor := extra:
        (tmp_path / "actor.safetensors").write_bytes(bytes(actor.data))
        parameters["actor"] = str(tmp_path / "actor.safetensors")
    with listener() as ros, node("executor_node", parameters, tmp_path / "log") as process:
        made = FakeCell(ros)
        made.process = process
        ros.wait(lambda: bool(made.steps), 20, "first step")
        yield made
        assert process.poll() is None or made.process_may_end, (tmp_path / "log").read_text()


FakeCell.process_may_end = False


def weights(version: int, bias: float = 0.0, **changes: object) -> msg.PolicyWeights:
    """An actor that adds `bias` to the reference."""
    spec = ActorSpec(str(changes.get("bundle_id", BUNDLE.id)), BUNDLE.token_dim, JOINTS, 10)
    data = pack_actor(spec, actor_weights(BUNDLE.token_dim, JOINTS, bias=bias), version)
    message = msg.PolicyWeights(epoch=int(changes.get("epoch", 1)), version=version, bundle_id=spec.bundle_id)
    message.sha256 = hashlib.sha256(data).hexdigest()
    message.data = octets(data)
    if changes.get("corrupt"):
        message.data[-1] ^= 1
    message.header.stamp = to_stamp(float(changes.get("made", time.time())))
    return message


@pytest.mark.parametrize("cell", [weights(7, 0.25)], indirect=True, ids=["actor"])
def test_an_actor_from_a_file_flies_without_a_learner(cell: FakeCell) -> None:
    cell.state_is(msg.ControlStep.STATE_ACTOR)
    assert cell.steps[-1].policy_version == 7


def test_bad_messages_are_refused_counted_and_end_in_hold(cell: FakeCell) -> None:
    cell.state_is(msg.ControlStep.STATE_REFERENCE)
    cell.broken_vla = True
    cell.state_is(msg.ControlStep.STATE_HOLD, "policy_input_stale")
    cell.broken_vla = False
    cell.state_is(msg.ControlStep.STATE_REFERENCE)
    cell.broken_joints = True
    cell.state_is(msg.ControlStep.STATE_HOLD, "joint_states_stale")
    cell.ros.spin(0.2)
    held = [tuple(step.command) for step in cell.steps[-3:]]
    assert len(set(held)) == 1
    cell.broken_joints = False
    cell.state_is(msg.ControlStep.STATE_REFERENCE)
    bent = weights(4)
    bent.version = 5
    wrong = (weights(1, corrupt=True), weights(2, bundle_id="other"), weights(3, bias=float("nan")))
    for message in (*wrong, bent, weights(6, epoch=0)):
        cell.weights.publish(message)
        cell.ros.spin(0.2)
    counters = cell.counters()
    for name in (
        "input_not_finite", "input_shape", "input_wrong_bundle", "joint_state_shape", "joint_state_not_finite",
        "weights_checksum", "weights_bundle", "weights_finite", "weights_version", "weights_other_session",
    ):  # fmt: skip
        assert counters.get(name, 0) > 0, f"{name} was not counted: {counters}"
    assert cell.steps[-1].state == msg.ControlStep.STATE_REFERENCE, "refused weights must not change what flies"


def test_good_weights_fly_from_the_next_boundary_and_joints_go_by_name(cell: FakeCell) -> None:
    cell.state_is(msg.ControlStep.STATE_REFERENCE)
    cell.weights.publish(weights(5, bias=1.0))
    cell.state_is(msg.ControlStep.STATE_ACTOR)
    first = len(cell.steps)
    cell.ros.wait(lambda: len(cell.steps) > first + 8, 5, "eight steps of the actor")
    assert cell.steps[-1].policy_version == 5
    cell.weights.publish(weights(4, bias=-1.0, made=time.time() - 60.0))
    cell.ros.wait(lambda: cell.counters().get("weights_old", 0) > 0, 10, "older weights to be refused")
    assert cell.steps[-1].policy_version == 5
    moves = np.array([np.array(step.command) - np.array(step.previous) for step in cell.steps[-20:]])
    wanted = 5e-4 + BUNDLE.normaliser.action_std
    # After a late tick the next one comes early, and may go less far.
    assert np.all(moves <= wanted + 2e-6)
    assert np.allclose(np.median(moves, axis=0), wanted, atol=2e-6)
    assert np.allclose(list(cell.commands[-1].data), list(cell.steps[-1].command), atol=0.02)


def test_emergency_stop_latches_until_it_is_cleared_and_released(cell: FakeCell) -> None:
    cell.state_is(msg.ControlStep.STATE_REFERENCE)
    assert cell.ros.call(Trigger, "executor_node/estop", Trigger.Request()).success
    cell.state_is(msg.ControlStep.STATE_ESTOP, "emergency stop by service")
    at = list(cell.steps[-1].command)
    cell.ros.call(srv.SetMode, "executor_node/set_mode", srv.SetMode.Request(mode=srv.SetMode.Request.MODE_AUTO))
    cell.ros.spin(0.3)
    assert cell.steps[-1].state == msg.ControlStep.STATE_ESTOP
    assert list(cell.steps[-1].command) == at
    assert cell.ros.call(Trigger, "executor_node/clear_estop", Trigger.Request()).success
    cell.state_is(msg.ControlStep.STATE_HOLD, "mode_hold")
    assert not cell.ros.call(Trigger, "executor_node/clear_estop", Trigger.Request()).success
    assert not cell.ros.call(srv.SetMode, "executor_node/set_mode", srv.SetMode.Request(mode=77)).success
    cell.ros.call(srv.SetMode, "executor_node/set_mode", srv.SetMode.Request(mode=srv.SetMode.Request.MODE_AUTO))
    cell.state_is(msg.ControlStep.STATE_REFERENCE)


def test_the_button_stops_every_state_and_is_cleared_only_after_its_release(cell: FakeCell) -> None:
    def reference() -> None:
        cell.state_is(msg.ControlStep.STATE_REFERENCE)

    def human() -> None:
        cell.human = [0.01] * JOINTS
        cell.state_is(msg.ControlStep.STATE_HUMAN)

    def actor() -> None:
        cell.release()
        cell.weights.publish(weights(1, bias=0.1))
        cell.state_is(msg.ControlStep.STATE_ACTOR)

    def hold() -> None:
        cell.phase = msg.SessionState.PHASE_IDLE
        cell.state_is(msg.ControlStep.STATE_HOLD, "phase_idle")

    for reach in (reference, human, actor, hold):
        reach()
        cell.estop.publish(Bool(data=True))
        cell.state_is(msg.ControlStep.STATE_ESTOP, "emergency stop by topic")
        cell.rests()
        answer = cell.ros.call(Trigger, "executor_node/clear_estop", Trigger.Request())
        assert (answer.success, "release it first" in answer.message) == (False, True)
        cell.estop.publish(Bool(data=False))
        cell.ros.spin(0.2)
        assert cell.steps[-1].state == msg.ControlStep.STATE_ESTOP
        assert cell.ros.call(Trigger, "executor_node/clear_estop", Trigger.Request()).success
        cell.state_is(msg.ControlStep.STATE_HOLD, "mode_hold")
        cell.ros.call(srv.SetMode, "executor_node/set_mode", srv.SetMode.Request(mode=srv.SetMode.Request.MODE_AUTO))


def test_who_falls_silent_or_lives_in_another_time_ends_in_hold(cell: FakeCell) -> None:
    def flies() -> None:
        cell.state_is(msg.ControlStep.STATE_REFERENCE)

    flies()
    cell.speak_joints = False
    cell.state_is(msg.ControlStep.STATE_HOLD, "joint_states_stale")
    cell.rests()
    cell.speak_joints = True
    flies()
    cell.speak_vla = False
    cell.state_is(msg.ControlStep.STATE_HOLD, "policy_input_stale")
    cell.rests()
    cell.speak_vla = True
    flies()
    cell.clock_step = 2.0
    cell.state_is(msg.ControlStep.STATE_HOLD, "policy_input_stale")
    assert cell.counters()["input_future"] > 0
    cell.clock_step = 0.0
    flies()
    cell.clock_step = -2.0
    cell.state_is(msg.ControlStep.STATE_HOLD, "joint_states_stale")
    cell.clock_step = 0.0
    flies()


def test_the_robot_description_narrows_the_limits_and_the_guard_is_seen_in_diagnostics(cell: FakeCell) -> None:
    told = cell.ros.listen(DiagnosticArray, "/diagnostics")
    cell.state_is(msg.ControlStep.STATE_REFERENCE)
    joint = BUNDLE.joints[0]
    cell.description.publish(
        String(
            data=f'<robot><joint name="{joint}" type="continuous"><limit velocity="0.01" effort="1"/></joint></robot>'
        )
    )
    cell.ros.wait(lambda: sum(step.limited for step in cell.steps) >= 20, 5, "the guard to act")
    moved = np.array([np.array(step.command) - np.array(step.previous) for step in cell.steps if step.limited])
    # After a late tick the next one comes early, and may go less far.
    assert moved[:, 0].max() <= 0.01 * 0.02 * 1.001
    assert np.median(moved[:, 0]) == pytest.approx(0.01 * 0.02, rel=1e-3)
    assert np.median(moved[:, 1]) == pytest.approx(5e-4, rel=1e-2)
    assert cell.counters()[f"limit_velocity/{joint}"] > 0
    told.clear()
    cell.ros.wait(lambda: bool(told), 5, "diagnostics")
    status = told[-1].status[0]
    values = {entry.key: entry.value for entry in status.values}
    assert status.message == "REFERENCE"
    assert int(values[f"limit_velocity/{joint}"]) > 0
    assert float(values["compute_p99_ms"]) > 0
    assert float(values["period_error_p99_ms"]) >= 0


@pytest.mark.parametrize("cell", [{"command_topics": "[left, right]"}], indirect=True, ids=["topics"])
def test_two_arms_may_have_a_controller_each(cell: FakeCell) -> None:
    arms = [cell.ros.listen(Float64MultiArray, topic, COMMAND_QOS) for topic in ("left", "right")]
    cell.state_is(msg.ControlStep.STATE_REFERENCE)
    cell.ros.wait(lambda: all(arms), 5, "commands of both arms")
    wire = JOINT_NAMES
    for arm, names in zip(arms, (wire[:7], wire[7:]), strict=True):
        by_name = dict(zip(BUNDLE.joints, cell.steps[-1].command, strict=True))
        assert np.allclose(list(arm[-1].data), [by_name[name] for name in names], atol=0.02)
    assert not cell.commands


def test_the_control_process_is_small(cell: FakeCell) -> None:
    cell.state_is(msg.ControlStep.STATE_REFERENCE)
    children = [cell.process.pid, *(child.pid for child in psutil.Process(cell.process.pid).children(recursive=True))]
    memory = max(psutil.Process(pid).memory_info().rss for pid in children) / 2**20
    assert memory <= 120, f"executor_node holds {memory:.0f} MB"


def test_the_last_command_after_sigterm_is_a_hold(cell: FakeCell) -> None:
    cell.process_may_end = True
    cell.state_is(msg.ControlStep.STATE_REFERENCE)
    cell.process.send_signal(signal.SIGTERM)
    cell.ros.wait(lambda: cell.process.poll() is not None, 10, "end of executor_node")
    cell.ros.spin(0.3)
    assert cell.process.returncode == 0
    assert cell.steps[-1].state == msg.ControlStep.STATE_HOLD
    assert list(cell.steps[-1].command) == list(cell.steps[-1].previous)
    assert np.allclose(list(cell.commands[-1].data), list(cell.steps[-1].command), atol=1e-6)


def test_after_an_exception_in_the_loop_the_last_word_is_a_hold(domain: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rclpy.init(args=ros_arguments("executor_node", {"bundle": BUNDLE.directory, "priority": 0}))
    try:
        node = ExecutorNode()
        node.autostart()
        sent: list[np.ndarray] = []
        monkeypatch.setattr(node._robot, "send", lambda command, ahead=None: sent.append(command.copy()))
        pose = np.linspace(-0.5, 0.5, JOINTS)
        state = JointState(name=list(BUNDLE.joints), position=list(pose), velocity=[0.0] * JOINTS)
        state.header.stamp = to_stamp(time.time())
        node._inputs._on_session(msg.SessionState(epoch=1, episode=1, phase=msg.SessionState.PHASE_CRITICAL))
        node._inputs._on_joint_state(state, {})
        deadline = time.monotonic() + 5
        while not sent and time.monotonic() < deadline:
            time.sleep(0.01)
        monkeypatch.setattr(node._executor, "tick", lambda _now: 1 / 0)
        while not node.failure and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "ZeroDivisionError" in node.failure
        count = len(sent)
        node.halt()
        assert len(sent) == count, "nothing is sent after the last word"
        assert np.array_equal(sent[-1], sent[-2])
        assert np.allclose(sent[-1], pose)
        node.destroy_node()
    finally:
        rclpy.try_shutdown()


def test_a_stop_and_limits_that_come_before_activation_count_after_it(domain: int) -> None:
    rclpy.init(args=ros_arguments("executor_node", {"bundle": BUNDLE.directory, "priority": 0}))
    try:
        node = ExecutorNode()
        node.trigger_configure()
        joint = BUNDLE.joints[0]
        limit = f'<robot><joint name="{joint}" type="continuous"><limit velocity="0.01" effort="1"/></joint></robot>'
        node._inputs._on_robot_description(String(data=limit))
        node._inputs._on_estop(Bool(data=True))
        node.trigger_activate()
        deadline = time.monotonic() + 5
        while node._last_step is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert node._last_step.state.name == "ESTOP"
        assert node._executor.limits.velocity[0] == 0.01
        node.halt()
        node.destroy_node()
    finally:
        rclpy.try_shutdown()
