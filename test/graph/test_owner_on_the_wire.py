"""executor_node beside drivers, stop boxes and clocks as they are: what stands on the wire."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rclpy
from ros_support import Listener, listener
from rosgraph_msgs.msg import Clock
from running import node, ros_arguments
from sensor_msgs.msg import Image, JointState, Joy
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import Trigger
from support import weights as actor_weights

from rlt_ros import msg, srv
from rlt_ros.bringup.graph import Bringup
from rlt_ros.control.actor import ActorSpec, pack_actor
from rlt_ros.nodes.executor_node import ExecutorNode
from rlt_ros.ros.fields import floats, from_stamp, octets, to_stamp
from rlt_ros.ros.qos import LATCHED_QOS, RECORD_QOS
from rlt_ros.sim.names import JOINT_NAMES
from rlt_ros.types import Mode
from rlt_ros.vla.bundle import load_bundle

pytestmark = pytest.mark.live
BUNDLE = load_bundle(Bringup().bundle_path)
JOINTS = len(BUNDLE.joints)
TO_WIRE = [BUNDLE.joints.index(name) for name in JOINT_NAMES]
PERIOD, ESTOP_BUTTON = 0.02, 4
FOLLOWING = 0.3


class Driver:
    """A robot that is where it was told to be, or where somebody puts it; session and VLA beside it."""

    def __init__(self, ros: Listener, rate: float = 1 / PERIOD) -> None:
        node = self.node = ros.node
        self.ros = ros
        self.joints = node.create_publisher(JointState, "joint_states", 10)
        self.session = node.create_publisher(msg.SessionState, "session", LATCHED_QOS)
        self.inputs = node.create_publisher(msg.PolicyInput, "policy_input", RECORD_QOS)
        self.steps = ros.listen(msg.ControlStep, "step")
        self.wire: list[tuple[float, np.ndarray, np.ndarray]] = []
        node.create_subscription(Float64MultiArray, "forward_position_controller/commands", self.on_wire, RECORD_QOS)
        self.pose = np.linspace(-0.3, 0.3, JOINTS)
        self.follows = self.speaks = True
        self.velocity = 0.0
        self.hand = 0.0
        self.slope = 5e-4
        self.phase = msg.SessionState.PHASE_IDLE
        self.now = time.time
        self.sequence = 0
        node.create_timer(1 / rate, self.speak)

    def on_wire(self, message: Float64MultiArray) -> None:
        command = np.empty(JOINTS)
        command[TO_WIRE] = message.data
        self.wire.append((time.monotonic(), command, self.pose.copy()))
        if self.follows:
            self.pose = command

    def speak(self) -> None:
        stamp = to_stamp(self.now())
        self.pose = self.pose + self.hand * PERIOD
        session = msg.SessionState(epoch=1, episode=1, phase=self.phase)
        state = JointState(name=list(BUNDLE.joints), position=list(self.pose), velocity=[self.velocity] * JOINTS)
        seen = msg.PolicyInput(bundle_id=BUNDLE.id, sequence=self.sequence, horizon=50, joints=JOINTS, period=PERIOD)
        seen.token = floats(np.ones(BUNDLE.token_dim))
        seen.reference = floats(self.pose + np.arange(1, 51)[:, None] * np.full(JOINTS, self.slope))
        seen.position = floats(self.pose)
        self.sequence += 1
        for publisher, message in ((self.session, session), (self.joints, state), (self.inputs, seen)):
            message.header.stamp = stamp
            if publisher is not self.joints or self.speaks:
                publisher.publish(message)

    def state_is(self, state: int, reason: str | None = None, seconds: float = 10.0) -> None:
        """Wait until the executor is in a state."""

        def reached() -> bool:
            return bool(self.steps) and self.steps[-1].state == state and reason in (None, self.steps[-1].reason)

        self.ros.wait(reached, seconds, f"state {state} {reason} (is {self.steps[-1:]})")


@pytest.fixture
def driver(domain: int, tmp_path: Path) -> Iterator[Driver]:
    parameters = {"bundle": str(BUNDLE.directory)}
    with listener() as ros, node("executor_node", parameters, tmp_path / "log") as process:
        made = Driver(ros)
        made.process = process  # type: ignore[attr-defined]
        ros.wait(lambda: bool(made.steps), 20, "first step")
        yield made


def test_S1_an_idle_graph_beside_a_driver_that_is_moved_by_hand(driver: Driver) -> None:
    driver.state_is(msg.ControlStep.STATE_HOLD, "phase_idle")
    start = driver.pose.copy()
    driver.wire.clear()
    driver.follows, driver.hand = False, 0.5
    driver.ros.wait(lambda: driver.pose[0] >= start[0] + 1.0, 10, "a radian by hand")
    driver.hand = 0.0
    driver.ros.spin(0.5)
    for _, command, pose in driver.wire:
        assert np.abs(command - pose).max() < 0.02, "neither nothing nor the measured pose"
    where = driver.pose.copy()
    driver.wire.clear()
    driver.follows = True
    driver.phase = msg.SessionState.PHASE_BASE
    driver.state_is(msg.ControlStep.STATE_REFERENCE)
    driver.ros.wait(lambda: len(driver.wire) > 50, 5, "motion")
    commands = np.array([where, *(command for _, command, _ in driver.wire)])
    assert np.abs(np.diff(commands, axis=0)).max() <= 1.0 * PERIOD + 1e-6, "a jump"
    assert (commands[-1] > where).all()


def test_S1_after_a_silent_driver_nothing_old_goes_out(driver: Driver) -> None:
    driver.phase = msg.SessionState.PHASE_BASE
    driver.state_is(msg.ControlStep.STATE_REFERENCE)
    driver.speaks = False
    driver.state_is(msg.ControlStep.STATE_HOLD, "joint_states_stale")
    driver.ros.spin(0.5)
    driver.wire.clear()
    driver.ros.spin(1.0)
    assert not driver.wire
    driver.pose = driver.pose - 0.1
    where = driver.pose.copy()
    driver.speaks = True
    driver.ros.wait(lambda: bool(driver.wire), 5, "it flies on")
    assert np.abs(driver.wire[0][1] - where).max() < 0.02


def test_S2_the_last_commands_after_sigterm_lose_speed_within_the_limit(driver: Driver) -> None:
    driver.slope = PERIOD  # the limit of 1 rad/s
    driver.phase = msg.SessionState.PHASE_BASE
    driver.state_is(msg.ControlStep.STATE_REFERENCE)
    driver.ros.wait(
        lambda: len(driver.wire) > 5 and np.abs(driver.wire[-1][1] - driver.wire[-2][1]).min() > 0.0199,
        10,
        "full speed",
    )
    driver.process.send_signal(signal.SIGTERM)  # type: ignore[attr-defined]
    driver.ros.wait(lambda: driver.process.poll() is not None, 10, "the end")  # type: ignore[attr-defined]
    driver.ros.spin(0.5)
    assert driver.process.returncode == 0  # type: ignore[attr-defined]
    flies = [step.state == msg.ControlStep.STATE_REFERENCE for step in driver.steps]
    commands = np.array([list(step.command) for step, flew in zip(driver.steps, flies, strict=True) if flew])
    after = np.array([list(step.command) for step in driver.steps[len(flies) - flies[::-1].index(True) :]])
    rests = 1 + int(np.flatnonzero(np.abs(np.diff(after, axis=0)).max(1) < 1e-6)[0])
    speeds = np.abs(np.diff([*commands, *after[:rests]], axis=0))
    losses = speeds[:-1] - speeds[1:]
    assert losses.max() <= 5.0 * PERIOD**2 + 1e-5
    assert 8 <= rests <= 12, "a fifth of a second from full speed"
    assert np.abs(driver.wire[-1][1] - after[rests]).max() < 1e-6, "the last word is where it rests"


def test_S6_a_second_publisher_of_joint_states_is_not_flown(driver: Driver) -> None:
    stray = driver.node.create_publisher(JointState, "joint_states", 10)

    def zeros() -> None:
        message = JointState(name=list(BUNDLE.joints), position=[0.0] * JOINTS)
        message.header.stamp = to_stamp(time.time())
        stray.publish(message)

    timer = driver.node.create_timer(PERIOD, zeros)
    driver.phase = msg.SessionState.PHASE_BASE
    driver.state_is(msg.ControlStep.STATE_HOLD, "joint_states_two_publishers")
    driver.wire.clear()
    driver.ros.spin(1.0)
    assert not driver.wire
    driver.node.destroy_timer(timer)
    driver.node.destroy_publisher(stray)
    driver.state_is(msg.ControlStep.STATE_REFERENCE)


def test_W2_hardware_without_velocities_flies(driver: Driver) -> None:
    driver.velocity = float("nan")
    driver.phase = msg.SessionState.PHASE_BASE
    driver.state_is(msg.ControlStep.STATE_REFERENCE)
    driver.ros.wait(lambda: len(driver.steps) > 100, 10, "some steps")
    assert np.isfinite(driver.steps[-1].velocity).all()
    assert np.median([np.median(step.velocity) for step in driver.steps[-20:]]) == pytest.approx(5e-4 / PERIOD, rel=0.5)


def test_S3_a_stop_that_was_latched_before_the_executor_started(domain: int, tmp_path: Path) -> None:
    with listener() as ros:
        driver = Driver(ros)
        box = ros.node.create_publisher(Bool, "estop", LATCHED_QOS)
        box.publish(Bool(data=True))
        driver.phase = msg.SessionState.PHASE_BASE
        with node("executor_node", {"bundle": str(BUNDLE.directory)}, tmp_path / "log"):
            driver.state_is(msg.ControlStep.STATE_ESTOP, "emergency stop by topic", 20)
            refused = ros.call(Trigger, "executor_node/clear_estop", Trigger.Request())
            assert not refused.success
            box.publish(Bool(data=False))
            ros.wait(lambda: ros.call(Trigger, "executor_node/clear_estop", Trigger.Request()).success, 5, "clear")


def test_S3_a_stop_box_that_dies_stops_the_robot(domain: int, tmp_path: Path) -> None:
    parameters = {"bundle": str(BUNDLE.directory), "stop_heartbeat": 0.3, "stop_topics": "[stop_box]"}
    with listener() as ros, node("executor_node", parameters, tmp_path / "log"):
        driver = Driver(ros)
        driver.phase = msg.SessionState.PHASE_BASE
        driver.state_is(msg.ControlStep.STATE_HOLD, "stop_source_silent", 20)
        box = ros.node.create_publisher(Bool, "stop_box", 1)
        timer = ros.node.create_timer(0.1, lambda: box.publish(Bool(data=False)))
        driver.state_is(msg.ControlStep.STATE_REFERENCE)
        ros.node.destroy_timer(timer)
        died = time.monotonic()
        driver.state_is(msg.ControlStep.STATE_ESTOP, "stop source stop_box is silent", 2)
        assert time.monotonic() - died < 1.0


def test_S3_the_pad_asks_until_a_step_confirms(domain: int, tmp_path: Path) -> None:
    parameters = {"bundle": str(BUNDLE.directory), "mapping": "gamepad", "model": '""'}
    with listener() as ros, node("teleop_node", parameters, tmp_path / "teleop.log"):
        driver = Driver(ros)
        pad = ros.node.create_publisher(Joy, "joy", 10)
        pressed = [0]

        def speak() -> None:
            message = Joy(axes=[0.0] * 6, buttons=[0] * 21)
            message.buttons[ESTOP_BUTTON] = pressed[0]
            pad.publish(message)

        ros.node.create_timer(PERIOD, speak)
        ros.wait(lambda: pad.get_subscription_count() > 0, 20, "teleop_node")
        ros.spin(0.3)
        pressed[0] = 1
        ros.spin(0.3)
        pressed[0] = 0
        log = tmp_path / "teleop.log"
        ros.wait(lambda: "USE THE ROBOT'S OWN STOP" in log.read_text(), 5, "a word that nobody confirms")
        with node("executor_node", {"bundle": str(BUNDLE.directory)}, tmp_path / "log"):
            driver.state_is(msg.ControlStep.STATE_ESTOP, "emergency stop by service", 20)
            ros.wait(lambda: "stopped: emergency stop by service" in log.read_text(), 5, "the confirmation")
            answer = ros.call(Trigger, "executor_node/clear_estop", Trigger.Request())
            assert answer.success, "the pad does not ask again once it is confirmed"
            ros.spin(0.5)
            driver.state_is(msg.ControlStep.STATE_HOLD, None)


def weights(version: int, epoch: int = 0, made: float = 0.0) -> msg.PolicyWeights:
    spec = ActorSpec(BUNDLE.id, BUNDLE.token_dim, JOINTS, 10)
    data = pack_actor(spec, actor_weights(BUNDLE.token_dim, JOINTS), version)
    message = msg.PolicyWeights(version=version, epoch=epoch, bundle_id=BUNDLE.id, data=octets(data))
    message.sha256 = hashlib.sha256(data).hexdigest()
    message.header.stamp = to_stamp(made)
    return message


def test_what_comes_while_the_node_is_inactive(domain: int) -> None:
    """S8: a mode holds once it is active. W11: weights fly. W1: their order is their version's, whatever the clock."""
    rclpy.init(args=ros_arguments("executor_node", {"bundle": BUNDLE.directory, "priority": 0}))
    try:
        node = ExecutorNode()
        node.trigger_configure()
        answer = node._set_mode(srv.SetMode.Request(mode=srv.SetMode.Request.MODE_HOLD), srv.SetMode.Response())
        assert answer.success
        assert "inactive" in answer.message
        refused = node._home(Trigger.Request(), Trigger.Response())
        assert not refused.success
        assert "inactive" in refused.message
        node._inputs._on_weights(weights(7, made=2e9))
        node.trigger_activate()
        deadline = time.monotonic() + 5
        while node._last_step is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert node._executor.mode is Mode.HOLD
        assert node._executor._player.has_actor
        node._inputs._on_weights(weights(8, made=1e9))
        assert node._executor.counters["weights_old"] == 0, "the learner's clock was set back"
        node._inputs._on_weights(weights(8, made=3e9))
        assert node._executor.counters["weights_old"] == 1
        node.trigger_deactivate()
        node.trigger_activate()
        assert node._executor.mode is Mode.HOLD, "activation forces nothing"
        node.halt()
        node.destroy_node()
    finally:
        rclpy.try_shutdown()


class SimulatedTime:
    """`/clock`, at any speed."""

    def __init__(self, driver: Driver) -> None:
        self.at, self.speed = 5.0, 1.0
        self._last = time.monotonic()
        self._publisher = driver.node.create_publisher(Clock, "/clock", 10)
        driver.node.create_timer(0.005, self._tick)
        driver.now = lambda: self.at

    def _tick(self) -> None:
        now = time.monotonic()
        self.at += self.speed * (now - self._last)
        self._last = now
        self._publisher.publish(Clock(clock=to_stamp(self.at)))


def test_W5_the_loop_is_paced_by_the_simulators_clock(domain: int, tmp_path: Path) -> None:
    parameters = {"bundle": str(BUNDLE.directory), "use_sim_time": "true"}
    log = tmp_path / "log"
    with listener() as ros, node("executor_node", parameters, log):
        driver = Driver(ros, rate=100)
        driver.phase = msg.SessionState.PHASE_BASE
        ros.wait(lambda: "nobody publishes /clock" in log.read_text(), 20, "a word that there is no clock")
        clock = SimulatedTime(driver)
        driver.state_is(msg.ControlStep.STATE_REFERENCE, None, 20)
        for speed in (1.0, 0.5, 2.0):
            clock.speed = speed
            ros.spin(0.5)
            driver.steps.clear()
            began = time.monotonic()
            ros.spin(2.0)
            elapsed = time.monotonic() - began
            stamps = [from_stamp(step.header.stamp) for step in driver.steps]
            assert stamps[-1] - stamps[0] == pytest.approx(speed * elapsed, rel=0.25), "steps live in simulated time"
            # A busy machine misses ticks, above all of a fast clock; none are made up: at half the speed half as many.
            assert 0.4 * min(1.0, speed) < len(stamps) / elapsed * PERIOD < 1.15 * speed, f"at {speed} x"
            flying = sum(step.state == msg.ControlStep.STATE_REFERENCE for step in driver.steps)
            assert flying > 0.8 * len(stamps)
        clock.speed = 0.0
        ros.spin(0.3)
        driver.steps.clear()
        driver.wire.clear()
        ros.spin(1.0)
        assert len(driver.steps) <= 1, "the simulator stands still, and so does the loop"
        clock.speed = 1.0
        driver.state_is(msg.ControlStep.STATE_REFERENCE)
        clock.at = 0.5  # as when a simulator is reset
        ros.spin(0.5)
        driver.steps.clear()
        driver.state_is(msg.ControlStep.STATE_REFERENCE)
        ros.wait(lambda: len(driver.steps) > 50, 5, "it flies on")
        stamps = [from_stamp(step.header.stamp) for step in driver.steps]
        assert 0.5 < stamps[-1] < 10.0, "steps are stamped with the simulator's time"
        sequences = [step.sequence for step in driver.steps]
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))


def test_W5_sessions_and_policy_inputs_live_by_the_simulators_clock_too(domain: int, tmp_path: Path) -> None:
    session = {"use_sim_time": "true", "time_limit": 2.0, "settle_time": 0.0, "pause_time": 0.0}
    vla = {"use_sim_time": "true", "bundle": str(BUNDLE.directory)}
    with (
        listener() as ros,
        node("session_node", session, tmp_path / "session.log"),
        node("vla_node", vla, tmp_path / "vla.log"),
    ):
        clock_of = Driver(ros)
        clock = SimulatedTime(clock_of)
        clock.speed = 2.0
        seen = ros.listen(msg.PolicyInput, "seen")
        views = ros.listen(msg.SessionState, "session", LATCHED_QOS)
        pictures = [ros.node.create_publisher(Image, f"{name}/color/image_raw", 2) for name in BUNDLE.cameras]
        size = BUNDLE.image_size
        shown = Image(height=size, width=size, encoding="rgb8", step=3 * size, data=octets(bytes(3 * size * size)))

        def look() -> None:
            shown.header.stamp = to_stamp(clock.at)
            shown.data = octets(np.random.default_rng(int(1e6 * clock.at)).bytes(3 * size * size))
            for publisher in pictures:
                publisher.publish(shown)

        ros.node.create_timer(0.04, look)
        own = ros.node.create_subscription(msg.PolicyInput, "policy_input", seen.append, RECORD_QOS)
        ros.wait(lambda: any(message.robot for message in seen), 30, "a pass of the VLA")
        ros.spin(0.5)
        newest = [message for message in seen if message.robot][-1]
        assert clock.at - 1.0 < newest.header.stamp.sec + 1e-9 * newest.header.stamp.nanosec <= clock.at
        ros.node.destroy_subscription(own)
        ros.call(Trigger, "session_node/start", Trigger.Request())
        ros.call(Trigger, "session_node/reset_done", Trigger.Request())
        ros.wait(lambda: views[-1].phase == msg.SessionState.PHASE_CRITICAL, 5, "an episode")
        began = time.monotonic()
        ros.wait(lambda: views[-1].outcome == msg.SessionState.OUTCOME_TIMEOUT, 5, "its time-out")
        assert time.monotonic() - began == pytest.approx(1.0, abs=0.4), "two seconds of the simulator are one here"
