"""A human with a pad at a running robot: SDL's virtual pad -> joystick_node -> teleop_node -> executor_node -> cell."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ros_support import NAMESPACE, Listener, listener
from running import node
from sensor_msgs.msg import Joy
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger
from virtual_pad import VirtualPad

from rlt_ros import msg, srv
from rlt_ros.bringup.graph import Bringup
from rlt_ros.config import ConfigError, from_mapping
from rlt_ros.nodes.joystick_node import JoystickNode
from rlt_ros.rl.ingest import Ingest
from rlt_ros.rl.replay import Replay, ReplaySpec
from rlt_ros.rl.samples import EpisodeBuilder, SampleConfig
from rlt_ros.ros.convert import policy_input_from_msg, step_from_msg
from rlt_ros.ros.fields import from_stamp
from rlt_ros.ros.qos import EVENT_QOS, LATCHED_QOS, RECORD_QOS
from rlt_ros.sim.model import build_spec
from rlt_ros.sim.names import JOINT_NAMES
from rlt_ros.sim.tasks import get_task
from rlt_ros.teleop.config import TeleopParameters
from rlt_ros.teleop.kinematics import Arms
from rlt_ros.types import Outcome, State
from rlt_ros.vla.bundle import load_bundle

pytestmark = [pytest.mark.live, pytest.mark.whole]
BUNDLE = load_bundle(Bringup().bundle_path)
TAKEOVER, SUCCESS, UNDO, BEGIN, ESTOP, READY = 10, 0, 2, 3, 4, 6
LEFT_X, LEFT_Y, RIGHT_Y = 0, 1, 3
LIMITS = Bringup().parameters("executor_node")


class Rig:
    """The pad, its node inside this process, and what the other nodes say."""

    def __init__(self, ros: Listener) -> None:
        self.ros = ros
        self.node = JoystickNode(context=ros.node.context, namespace=NAMESPACE)
        ros._executor.add_node(self.node)
        self.pad = VirtualPad()
        self.taken_again = 0
        self.joy = ros.listen(Joy, "joy", EVENT_QOS)
        self.steps = ros.listen(msg.ControlStep, "step", RECORD_QOS)
        self.wire = ros.listen(Float64MultiArray, "forward_position_controller/commands", RECORD_QOS)
        self.inputs = ros.listen(msg.PolicyInput, "policy_input", RECORD_QOS)
        self.session = ros.listen(msg.SessionState, "session", LATCHED_QOS)
        self.events = ros.listen(msg.EpisodeEvent, "episode", RECORD_QOS)
        self.arms = Arms(
            build_spec(get_task("ethernet")).compile(),
            ("left_grasp", "right_grasp"),
            from_mapping(TeleopParameters, Bringup().of_robot("teleop_node"), "teleop_node").model_joint(BUNDLE.joints),
        )

    def close(self) -> None:
        self.pad.unplug()
        self.node.close()
        self.node.destroy_node()

    def state_is(self, state: int, reason: str = "", seconds: float = 10) -> None:
        self.ros.wait(
            lambda: bool(self.steps) and (self.steps[-1].state, self.steps[-1].reason) == (state, reason),
            seconds,
            f"state {state} '{reason}', is {self.steps[-1:]}",
        )

    def take_over(self) -> None:
        """Press; again where a busy machine held the robot just then."""
        self.pad.press(TAKEOVER)
        again = time.monotonic() + 3.0

        def human_flies() -> bool:
            nonlocal again
            if time.monotonic() > again:
                self.pad.press(TAKEOVER, False)
                self.ros.spin(0.3)
                self._take_again()
                again = time.monotonic() + 3.0
            return (self.steps[-1].state, self.steps[-1].reason) == (msg.ControlStep.STATE_HUMAN, "")

        self.ros.wait(human_flies, 20, "the human flies")

    def keep(self) -> None:
        """Fly on; where a busy machine took the pad for lost meanwhile, let go and take over once more."""
        if self.steps[-1].reason == "intervention_lost":
            self.pad.press(TAKEOVER, False)
            self.ros.spin(0.3)
            self._take_again()
            self.ros.spin(0.3)

    def hand_back(self) -> None:
        """Let go; where a busy machine took the pad for lost meanwhile, take over and let go once more."""
        self.pad.press(TAKEOVER, False)

        def policy_flies() -> bool:
            if self.steps[-1].reason == "intervention_lost":
                self._take_again()
                self.ros.spin(0.3)
                self.pad.press(TAKEOVER, False)
                self.ros.spin(0.5)
            return (self.steps[-1].state, self.steps[-1].reason) == (msg.ControlStep.STATE_REFERENCE, "")

        self.ros.wait(policy_flies, 15, "the policy flies on")

    def _take_again(self) -> None:
        self.pad.press(TAKEOVER)
        self.taken_again += 1

    def phase_is(self, phase: int) -> None:
        self.ros.wait(lambda: bool(self.session) and self.session[-1].phase == phase, 10, f"phase {phase}")

    def click(self, button: int) -> None:
        """Press and release before anybody can look."""
        self.pad.press(button)
        self.pad.press(button, False)
        self.ros.spin(0.05)

    def gripper(self) -> np.ndarray:
        """Measured position of the left gripper."""
        return self.arms.poses(np.array(self.steps[-1].position))[0].translation()


@contextlib.contextmanager
def running(tmp_path: Path, session: dict[str, object]) -> Iterator[Rig]:
    parameters = {name: dict(Bringup().parameters(name)) for name in ("executor_node", "session_node", "sim_node")}
    parameters["executor_node"] |= {"bundle": BUNDLE.directory, "priority": 0}
    parameters["sim_node"] |= {"priority": 0, "seed": 3}
    parameters["session_node"] |= {"learner_wait": 0.0, "time_limit": 600.0, "success_topic": "''", **session}
    parameters["vla_node"] = parameters["teleop_node"] = {"bundle": BUNDLE.directory}
    with contextlib.ExitStack() as stack:
        ros = stack.enter_context(listener())
        for name, values in parameters.items():
            stack.enter_context(node(name, values, tmp_path / f"{name}.log"))
        rig = Rig(ros)
        stack.callback(rig.close)
        ros.wait(lambda: len(rig.steps) > 10 and bool(rig.joy), 30, "the robot and the pad")
        teleop_hears = lambda: rig.node.count_subscribers("joy") >= 2  # noqa: E731
        ros.wait(teleop_hears, 30, "teleop_node")
        ros.spin(0.5)
        yield rig


def test_takeover_drive_and_hand_back_then_a_lost_pad(domain: int, tmp_path: Path) -> None:
    with running(tmp_path, {}) as rig:
        ros, pad = rig.ros, rig.pad
        # In the middle of a chunk of the reference.
        rig.state_is(msg.ControlStep.STATE_REFERENCE, seconds=20)
        ros.wait(lambda: rig.steps[-1].row in range(5, 15), 5, "mid-chunk")
        first = rig.steps[-1].episode
        rig.take_over()

        # To a target, as somebody does who looks at it.
        target = rig.gripper() + np.array([-0.03, 0.02, 0.025])

        def drive() -> bool:
            rig.keep()
            away = target - rig.gripper()
            for axis, value in ((LEFT_Y, away[0]), (LEFT_X, away[1]), (RIGHT_Y, away[2])):
                pad.push(axis, float(np.clip(-40 * value, -1, 1)))  # SDL: up and left are negative
            return bool(np.linalg.norm(away) < 0.003)

        ros.wait(drive, 40, f"the gripper at {target}, it is at {rig.gripper()}")
        for axis in (LEFT_X, LEFT_Y, RIGHT_Y):
            pad.push(axis, 0.0)

        def human_rests() -> bool:
            rig.keep()
            last = rig.steps[-10:]
            human = all(step.state == msg.ControlStep.STATE_HUMAN for step in last)
            return human and bool(np.ptp([list(step.command) for step in last], axis=0).max() < 1e-3)

        ros.wait(human_rests, 10, "rest, before it goes back")
        rig.hand_back()
        assert rig.steps[-1].episode == first

        # What was commanded never jumped, and that was what was sent.
        limit = dict(zip(JOINT_NAMES, LIMITS["joint_velocity"], strict=True))
        largest = np.array([limit[name] for name in BUNDLE.joints]) * 0.02
        begun = next(i for i, step in enumerate(rig.steps) if step.state == msg.ControlStep.STATE_REFERENCE)
        goes_on(rig.steps[begun:], largest)
        wire_is_the_steps(rig)

        # The cable is pulled while the human flies: HOLD, until the human acts.
        rig.take_over()
        pad.push(LEFT_Y, -1.0)
        ros.spin(0.2)
        pad.unplug()
        rig.state_is(msg.ControlStep.STATE_HOLD, "intervention_lost")
        pad.plug()
        rig.joy.clear()
        ros.wait(lambda: len(rig.joy) > 20, 10, "the pad to be found again")
        ros.spin(0.5)
        ros.wait(lambda: rests(rig.steps[-20:]), 10, "rest")
        assert {step.reason for step in rig.steps[-20:]} == {"intervention_lost"}
        pad.press(TAKEOVER)
        rig.state_is(msg.ControlStep.STATE_HUMAN)
        rig.hand_back()

        # Without any pad, by service.
        call = "teleop_node/set_intervention"
        assert ros.call(srv.SetIntervention, call, srv.SetIntervention.Request(active=True)).success
        rig.state_is(msg.ControlStep.STATE_HUMAN)
        assert ros.call(srv.SetIntervention, call, srv.SetIntervention.Request(active=False)).success
        rig.state_is(msg.ControlStep.STATE_REFERENCE)


def test_an_episode_by_buttons_alone_and_what_is_stored_of_it(domain: int, tmp_path: Path) -> None:
    with running(tmp_path, {"controlled": False, "autostart": False, "reset_service": "''"}) as rig:
        ros, pad = rig.ros, rig.pad
        # Press-release-press within a tick: every edge is a message, in order.
        rig.joy.clear()
        for down in (True, False, True, False):
            pad.press(11, down)
        ros.spin(0.3)
        held = [message.buttons[11] for message in rig.joy]
        assert "".join(map(str, held)).strip("0") == "101"

        rig.click(READY)
        rig.phase_is(msg.SessionState.PHASE_RESET)
        rig.click(READY)
        rig.phase_is(msg.SessionState.PHASE_BASE)
        rig.state_is(msg.ControlStep.STATE_REFERENCE)
        rig.click(BEGIN)
        rig.phase_is(msg.SessionState.PHASE_CRITICAL)
        ros.spin(0.5)
        rig.take_over()
        pad.push(LEFT_Y, 0.8)
        ros.spin(0.7)
        pad.push(LEFT_Y, 0.0)
        rig.hand_back()
        ros.spin(0.4)
        rig.click(SUCCESS)
        ros.wait(lambda: any(e.kind == msg.EpisodeEvent.KIND_END for e in rig.events), 5, "the end")
        rig.click(UNDO)
        ros.wait(lambda: any(e.kind == msg.EpisodeEvent.KIND_UNDO for e in rig.events), 5, "the undo")
        rig.click(SUCCESS)
        ros.wait(lambda: any(e.kind == msg.EpisodeEvent.KIND_LABEL for e in rig.events), 5, "the label")
        ros.wait(lambda: rig.session[-1].successes == 1, 5, "the success to count")
        end = next(e for e in rig.events if e.kind == msg.EpisodeEvent.KIND_END)
        assert 1 <= end.interventions <= 1 + rig.taken_again
        assert 0 < end.human_ticks < end.ticks
        check_samples(rig, end)

        # The stop needs nothing but itself.
        rig.click(ESTOP)
        rig.state_is(msg.ControlStep.STATE_ESTOP, "emergency stop by service")
        pad.press(TAKEOVER)
        ros.spin(0.3)
        assert rig.steps[-1].state == msg.ControlStep.STATE_ESTOP, "nobody flies against a stop"
        assert ros.call(Trigger, "executor_node/clear_estop", Trigger.Request()).success


def rests(steps: list[msg.ControlStep]) -> bool:
    """One command; where nothing is sent any more, told is where the robot is found."""
    return len({tuple(step.command) for step in steps if list(step.command) != list(step.position)}) <= 1


def goes_on(steps: list[msg.ControlStep], largest: np.ndarray) -> None:
    """No command is further from the one before than the limit allows; only a hold may end where the robot is."""
    for before, step in itertools.pairwise(steps):
        command, previous = np.array(step.command), np.array(step.previous)
        held = step.state == msg.ControlStep.STATE_HOLD
        assert (np.abs(command - previous) <= largest + 1e-6).all() or (held and step.command == step.position)
        if msg.ControlStep.STATE_HOLD not in (before.state, step.state):
            assert np.array_equal(previous, np.array(before.command))


def wire_is_the_steps(rig: Rig) -> None:
    """Everything that was read from the wire is the command of a step, in order; a busy reader misses some of it."""
    to_wire = [BUNDLE.joints.index(name) for name in JOINT_NAMES]
    commands = np.array([list(step.command) for step in rig.steps])[:, to_wire]
    at = 0
    for message in list(rig.wire)[1:-3]:  # the steps may have begun later, or not have come yet
        same = np.flatnonzero(np.abs(commands[at:] - np.array(message.data)).max(1) < 1e-6)
        assert len(same), f"{message.data} was sent, but no step after {at} says so"
        at += int(same[0])
    assert len(rig.wire) > 0.3 * len(rig.steps)


def check_samples(rig: Rig, end: msg.EpisodeEvent) -> None:
    """What the learner would store, row by row against the wire."""
    spec = ReplaySpec(10_000, BUNDLE.token_dim, len(BUNDLE.joints))
    replay = Replay(spec)
    config = SampleConfig()
    ingest = Ingest(EpisodeBuilder(config, BUNDLE.normaliser, BUNDLE.id, BUNDLE.token_dim), replay)
    ingest.session(end.epoch)
    for message in rig.inputs:
        ingest.policy_input(policy_input_from_msg(message))
    ingest.end(end.epoch, end.episode, from_stamp(end.header.stamp), Outcome.SUCCESS)
    for message in rig.steps:
        ingest.step(step_from_msg(message))
    ingest.flush()

    flown = [
        message
        for message in rig.steps
        if message.phase == msg.SessionState.PHASE_CRITICAL
        and message.episode == end.episode
        and from_stamp(message.header.stamp) <= from_stamp(end.header.stamp)
    ]
    first = next(index for index, message in enumerate(flown) if message.input_valid)
    # Where nothing is known that a policy could act upon the robot is held: always in the tick or two after the human
    # let go, and on a busy machine where an answer of the VLA is late. Samples never reach across.
    held = np.array([message.state == msg.ControlStep.STATE_HOLD for message in flown[first:]])
    stretch = np.cumsum(held)[~held]
    flown = [message for message in flown[first:] if message.state != msg.ControlStep.STATE_HOLD]
    ends = {number: 1 + int(np.flatnonzero(stretch == number)[-1]) for number in np.unique(stretch).tolist()}
    tick_of_state = [
        tick
        for number, until in ends.items()
        for tick in range(int(np.flatnonzero(stretch == number)[0]), until, config.stride)
    ]
    human = np.array([message.state == msg.ControlStep.STATE_HUMAN for message in flown])
    assert human.any()
    assert stretch[human].max() < stretch[-1], "the robot was held between the human and the policy"
    commands = np.array([list(message.command) for message in flown])
    wire_is_the_steps(rig)

    previous = np.array([list(message.previous) for message in flown])
    actions = (commands - previous) / BUNDLE.normaliser.action_std
    clipped = np.where(human[:, None], np.clip(actions, -config.human_clip, config.human_clip), actions)
    serials = replay.usable_since(0)
    starts = [tick_of_state[serial] for serial in serials]
    whole = [
        tick for tick in tick_of_state if stretch[tick] == stretch[-1] or tick + config.chunk < ends[int(stretch[tick])]
    ]
    assert starts == whole, "a sample at every stride that has its next state, or the episode's end"
    batch = replay.gather(serials)
    mixed = 0
    for sample, tick in enumerate(starts):
        rows = slice(tick, min(tick + config.chunk, ends[int(stretch[tick])]))
        count = rows.stop - rows.start
        assert batch.executed[sample].sum() == count
        assert np.allclose(batch.actions[sample, :count], clipped[rows], rtol=2e-3, atol=2e-3)
        by_human = human[rows]
        held_to, shown = batch.anchor[sample, :count].numpy(), batch.reference[sample, :count].numpy()
        assert np.allclose(held_to[by_human], clipped[rows][by_human], rtol=2e-3, atol=2e-3), "the human's own"
        assert np.array_equal(held_to[~by_human], shown[~by_human]), "the VLA's"
        if by_human.any() and not by_human.all():
            mixed += 1
            assert not np.allclose(shown[~by_human], clipped[rows][~by_human], atol=1e-4), "not what was flown"
    assert mixed > 0, "chunks hold rows of both"
    assert replay.samples_by_source[State.HUMAN] == human.sum()
    assert float(batch.rewards[-1]) > 0
    assert (batch.rewards[: -config.chunk] == 0).all()


def test_without_its_library_the_joystick_node_says_what_to_install(
    domain: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sdl2", None)
    monkeypatch.delitem(sys.modules, "rlt_ros.teleop.device", raising=False)
    with listener() as ros, pytest.raises(ConfigError, match="pip install 'rlt_ros"):
        JoystickNode(context=ros.node.context, namespace=NAMESPACE)


def test_two_sources_of_joy_do_not_fight(domain: int) -> None:
    with listener() as ros:
        node = JoystickNode(context=ros.node.context, namespace=NAMESPACE)
        ros._executor.add_node(node)
        try:
            ros.wait(lambda: node._publisher is not None, 5, "our joystick")
            other = ros.node.create_publisher(Joy, "joy", EVENT_QOS)
            ros.wait(lambda: node._publisher is None, 10, "our node to stay off")
            ros.node.destroy_publisher(other)
            ros.wait(lambda: node._publisher is not None, 10, "our node to come back")
        finally:
            node.close()
            node.destroy_node()


def test_a_device_without_a_mapping_is_named(domain: int, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with listener() as ros, node("teleop_node", {"bundle": str(BUNDLE.directory)}, log) as process:
        joy = ros.node.create_publisher(Joy, "joy", EVENT_QOS)
        strange = Joy(axes=[0.0] * 3, buttons=[0] * 2)
        strange.header.frame_id = "Abacus 3000"

        def said() -> bool:
            joy.publish(strange)
            return "no mapping for 'Abacus 3000' (3 axes, 2 buttons)" in log.read_text()

        ros.wait(said, 20, "the message")
        assert process.poll() is None
