"""From sticks to joint targets: who flies, where it starts, and how fast."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlt_ros.bringup.graph import Bringup
from rlt_ros.config import ConfigError, from_mapping
from rlt_ros.share import share_directory
from rlt_ros.sim.cell import home_position
from rlt_ros.sim.model import build_spec
from rlt_ros.sim.names import JOINT_NAMES
from rlt_ros.sim.tasks import TASKS
from rlt_ros.teleop.config import ArmSlots, TeleopConfig, TeleopParameters, arm_slots
from rlt_ros.teleop.kinematics import Arms, ModelError, moved
from rlt_ros.teleop.mapping import Function, Mapping, Source, load_mapping
from rlt_ros.teleop.teleop import Grip, Teleop, Wish

PERIOD = 0.02
PAD = load_mapping(share_directory() / "config" / "joystick" / "xbox.yaml")
TAKEOVER, SUCCESS, ESTOP, SWITCH, SINGLE = 10, 0, 4, 13, 11
GRIPPERS = np.array([6, 13])
SLOTS = (ArmSlots((0, 1, 2, 3, 4, 5), 6), ArmSlots((7, 8, 9, 10, 11, 12), 13))
MODEL = build_spec(next(iter(TASKS.values()))).compile()
OF_CELL = from_mapping(TeleopParameters, Bringup().of_robot("teleop_node"), "teleop_node")
ARMS = Arms(MODEL, ("left_grasp", "right_grasp"), OF_CELL.model_joint(JOINT_NAMES))


class Rig:
    """A human with a pad, before a robot that does what it is told."""

    def __init__(self, arms: Arms | None = ARMS, **config: object) -> None:
        self.teleop = Teleop(TeleopConfig(**config), PAD, arms, SLOTS)
        self.now = 5.0
        self.axes, self.held = [0.0] * 6, set()
        self.robot = home_position()
        self.executor_lives = self.pad_lives = True

    def tick(self, *pressed: int, released: tuple[int, ...] = ()) -> Wish | None:
        """One period: the pad speaks, then the executor, then the human's wish is asked for."""
        self.now += PERIOD
        self.held |= set(pressed)
        self.held -= set(released)
        self.pressed = []
        if self.pad_lives:
            self.pressed = self.teleop.joy(self.now, self.axes, [int(i in self.held) for i in range(21)])
        if self.executor_lives:
            self.teleop.command(self.now, self.robot.copy())
        wish = self.teleop.tick(self.now)
        if wish is not None and wish.target is not None:
            self.robot = wish.target.copy()
        return wish

    def takes_over(self) -> None:
        self.tick()
        assert self.tick(TAKEOVER).active


def test_nothing_is_said_until_somebody_takes_over() -> None:
    rig = Rig()
    assert [rig.tick() for _ in range(5)] == [None] * 5


def test_it_starts_from_the_last_command() -> None:
    rig = Rig()
    rig.tick()
    assert np.array_equal(rig.tick(TAKEOVER).target, home_position())


def test_a_button_that_was_held_before_the_first_message_is_no_takeover() -> None:
    rig = Rig()
    rig.held = {TAKEOVER}
    assert [rig.tick() for _ in range(3)] == [None] * 3
    rig.tick(released=(TAKEOVER,))
    assert rig.tick(TAKEOVER).active


def test_without_an_executor_there_is_nothing_to_take_over() -> None:
    rig = Rig()
    rig.executor_lives = False
    rig.tick()
    assert rig.tick(TAKEOVER) is None
    assert "is it running" in rig.teleop.intervene(rig.now, True)


@pytest.mark.parametrize(("axis", "direction"), [(1, [1, 0, 0]), (0, [0, 1, 0]), (3, [0, 0, 1])])
@pytest.mark.parametrize("arm", [0, 1])
def test_sticks_move_the_gripper_straight_and_at_the_set_speed(axis: int, direction: list[float], arm: int) -> None:
    rig = Rig(linear_speed=0.04)
    rig.takes_over()
    if arm:
        rig.tick(SWITCH)
        rig.tick(released=(SWITCH,))
    before = ARMS.poses(rig.robot)
    rig.axes[axis] = 0.5
    for _ in range(50):
        rig.tick()
    after = ARMS.poses(rig.robot)
    moved = after[arm].translation() - before[arm].translation()
    assert np.allclose(moved, 0.02 * np.array(direction), atol=1.5e-3)
    turned = (after[arm].rotation() @ before[arm].rotation().inverse()).log()
    assert np.abs(turned).max() < 5e-3
    assert np.allclose(after[1 - arm].translation(), before[1 - arm].translation(), atol=1e-5)


def test_a_held_shoulder_turns_instead() -> None:
    rig = Rig(angular_speed=0.3)
    rig.takes_over()
    before = ARMS.poses(rig.robot)[0]
    rig.axes[1] = 1.0
    rig.held.add(9)
    for _ in range(25):
        rig.tick()
    after = ARMS.poses(rig.robot)[0]
    turned = (after.rotation() @ before.rotation().inverse()).log()
    assert np.allclose(turned, [0, 0.15, 0], atol=0.01)
    assert np.linalg.norm(after.translation() - before.translation()) < 3e-3


def test_triggers_open_and_close_the_gripper_within_its_way() -> None:
    rig = Rig(gripper_speed=2.0)
    rig.takes_over()
    rig.axes[4] = -1.0
    for _ in range(10):
        rig.tick()
    assert rig.robot[6] == pytest.approx(home_position()[6] + 0.4, abs=0.05)
    for _ in range(100):
        rig.tick()
    assert rig.robot[6] == 1.0
    assert rig.robot[13] == home_position()[13]


def test_single_joints_move_one_by_one() -> None:
    rig = Rig(joint_speed=0.5)
    rig.takes_over()
    rig.tick(SINGLE)
    rig.axes[1] = 1.0
    start = rig.robot.copy()
    for _ in range(20):
        rig.tick()
    assert np.flatnonzero(np.abs(rig.robot - start) > 1e-6).tolist() == [0]
    assert rig.robot[0] - start[0] == pytest.approx(0.2, abs=0.02)


def test_nobody_leaves_the_workspace_and_who_is_outside_comes_in() -> None:
    edge = ARMS.poses(home_position())[0].translation()
    rig = Rig(workspace_high=(edge[0] + 0.01, 10.0, edge[2] - 0.02))
    rig.takes_over()
    rig.axes[1], rig.axes[3] = 1.0, 1.0
    for _ in range(60):
        rig.tick()
    at = ARMS.poses(rig.robot)[0].translation()
    assert at[0] == pytest.approx(edge[0] + 0.01, abs=1e-3)
    assert at[2] == pytest.approx(edge[2], abs=1e-3), "outside from the start: no jump, and no further"
    rig.axes[3] = -1.0
    for _ in range(60):
        rig.tick()
    assert ARMS.poses(rig.robot)[0].translation()[2] < edge[2] - 0.02


def test_letting_go_is_a_rest_then_the_end_of_the_intervention() -> None:
    rig = Rig(release_time=0.1)
    rig.takes_over()
    wishes = [rig.tick(released=(TAKEOVER,)), *(rig.tick() for _ in range(40))]
    said = ["hold" if w and w.active else "over" if w else "-" for w in wishes]
    assert said[:5] == ["hold"] * 5
    assert said.count("over") >= 20, "messages may be lost"
    assert said[-1] == "-"
    assert all(w.target is None for w in wishes if w)


def test_a_press_during_the_rest_takes_over_again() -> None:
    rig = Rig()
    rig.takes_over()
    rig.tick(released=(TAKEOVER,))
    rig.axes[1] = 1.0
    assert rig.tick(TAKEOVER).target is not None


def test_a_silent_joystick_ends_in_silence_until_a_new_press() -> None:
    rig = Rig()
    rig.takes_over()
    rig.pad_lives = False
    wishes = [rig.tick() for _ in range(30)]
    assert wishes[-1] is None
    assert rig.teleop.grip is Grip.LOST
    rig.pad_lives = True
    assert rig.tick() is None, "back, with the button still held"
    assert rig.tick(released=(TAKEOVER,)) is None, "letting go now must not set the policy going"
    assert rig.tick(TAKEOVER).active


def test_a_pad_that_releases_its_buttons_because_it_was_pulled_out_hands_nothing_back() -> None:
    """So says joy's node when its device goes."""
    rig = Rig()
    rig.takes_over()
    rig.tick(released=(TAKEOVER,))
    rig.pad_lives = False
    wishes = [rig.tick() for _ in range(40)]
    assert rig.teleop.grip is Grip.LOST
    assert not any(w and not w.active for w in wishes)


def test_an_operator_ends_a_lost_intervention_by_service() -> None:
    rig = Rig(release_time=0.0)
    rig.takes_over()
    rig.pad_lives = False
    for _ in range(30):
        rig.tick()
    assert rig.teleop.intervene(rig.now, False) == ""
    assert rig.tick() == Wish(False)


def test_by_service_the_robot_holds_still_without_any_joystick() -> None:
    rig = Rig()
    rig.pad_lives = False
    rig.tick()
    assert rig.teleop.intervene(rig.now, True) == ""
    wishes = [rig.tick() for _ in range(60)]
    assert all(w == Wish(True) for w in wishes)


def test_the_button_makes_a_service_intervention_the_humans() -> None:
    """By service nothing moves, whatever is pushed; with the button held it does, and letting go ends it."""
    rig = Rig()
    rig.tick()
    rig.teleop.intervene(rig.now, True)
    rig.axes[1] = 1.0
    assert rig.tick() == Wish(True)
    assert rig.tick(TAKEOVER).target is not None
    assert rig.tick(released=(TAKEOVER,)) == Wish(True)
    assert [rig.tick() for _ in range(20)][-1] == Wish(False)


def test_the_end_of_an_intervention_is_said_on_request_even_after_a_restart() -> None:
    rig = Rig()
    rig.tick()
    assert rig.teleop.intervene(rig.now, False) == ""
    assert rig.tick() == Wish(False)


def test_joints_outside_the_models_limits_stay_where_they_are() -> None:
    position = home_position()
    position[8] = 1.4  # beyond the right shoulder's limit
    before = ARMS.poses(position)
    out = ARMS.towards(position, [moved(before[0], np.array([1e-3, 0, 0]), np.zeros(3)), before[1]])
    assert abs(out[8] - 1.4) < 2e-3
    assert np.abs(out - position).max() < 0.02


def test_a_model_without_other_joints_is_fine() -> None:
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody>"
        + "".join(
            f"<body name='{n}'><joint name='{n}' axis='0 0 1'/><geom size='.1'/>"
            f"<body pos='.3 0 0'><joint name='{n}2' axis='0 1 0'/><geom size='.1'/>"
            f"<site name='{n}s' pos='.3 0 0'/></body></body>"
            for n in "ab"
        )
        + "</worldbody></mujoco>"
    )
    arms = Arms(model, ("as", "bs"), ("a", "a2", "", "b", "b2", ""))
    assert np.isfinite(arms.towards(np.zeros(6), arms.poses(np.zeros(6)))).all()


def test_arms_end_with_their_gripper_or_with_the_list() -> None:
    assert arm_slots(OF_CELL.model_joint(JOINT_NAMES)) == SLOTS
    assert arm_slots(("a", "b")) == (ArmSlots((0, 1)),)
    assert arm_slots(("a", "b", "", "c", "", "d")) == (ArmSlots((0, 1), 2), ArmSlots((3,), 4), ArmSlots((5,)))


def jogged(slots: tuple[ArmSlots, ...], joints: int, *presses: int) -> np.ndarray:
    """How far each joint moves in a second with all axes of a pad at their ends, after some presses."""
    rig = Rig(None)
    rig.teleop = Teleop(TeleopConfig(), PAD, None, slots)
    rig.robot = np.full(joints, 0.5)
    rig.takes_over()
    for button in presses:
        rig.tick(button)
        rig.tick(released=(button,))
    rig.axes = [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    before = rig.robot.copy()
    for _ in range(50):
        rig.tick()
    return np.abs(rig.robot - before) > 0.1


def test_U7_one_arm_needs_no_second_one_and_no_gripper() -> None:
    moved_joints = jogged((ArmSlots((0, 1, 2, 3, 4, 5)),), 6)
    assert moved_joints.tolist() == [True, True, True, False, False, True]
    assert jogged((ArmSlots((0, 1, 2, 3, 4, 5)),), 6, SWITCH).tolist() == moved_joints.tolist()


def test_U7_the_seventh_joint_is_on_the_next_page_and_the_third_arm_behind_the_second() -> None:
    seven = ArmSlots((0, 1, 2, 3, 4, 5, 6), 7)
    assert jogged((seven,), 8).tolist() == [True, True, True, False, False, True, False, False]
    assert jogged((seven,), 8, SINGLE).tolist() == [False] * 6 + [True, False]
    assert jogged((seven,), 8, SINGLE, SINGLE).tolist() == jogged((seven,), 8).tolist()
    three = (ArmSlots((0,), 1), ArmSlots((2,), 3), ArmSlots((4,)))
    assert jogged(three, 5, SWITCH, SWITCH).tolist() == [False] * 4 + [True]
    assert jogged(three, 5, SWITCH, SWITCH, SWITCH).tolist() == [True] + [False] * 4


def test_U7_one_arm_moves_its_gripper_s_frame() -> None:
    links = [f"<body pos='.3 0 0'><joint name='{name}' axis='0 0 1'/><geom size='.1'/>" for name in "abc"]
    tip = "<site name='tip' pos='.1 0 0'/>"
    text = f"<mujoco><worldbody>{''.join(links)}{tip}{'</body>' * 3}</worldbody></mujoco>"
    kinematics = Arms(mujoco.MjModel.from_xml_string(text), ("tip",), ("a", "b", "c", ""))
    rig = Rig(None)
    rig.teleop = Teleop(TeleopConfig(), PAD, kinematics, (ArmSlots((0, 1, 2), 3),))
    rig.robot = np.array([0.5, -1.2, 0.7, 0.5])
    before = kinematics.poses(rig.robot)[0]
    rig.takes_over()
    rig.axes[1] = 1.0
    for _ in range(50):
        rig.tick()
    after = kinematics.poses(rig.robot)[0]
    assert after.translation() - before.translation() == pytest.approx([0.05, 0.0, 0.0], abs=2e-3)
    assert rig.robot[3] == 0.5


def test_a_toggle_stays_on_without_being_held() -> None:
    rig = Rig(toggle=True)
    rig.takes_over()
    rig.tick(released=(TAKEOVER,))
    assert all(rig.tick().target is not None for _ in range(10))
    assert rig.tick(TAKEOVER).target is None


def test_every_press_is_one_event_and_only_while_the_device_speaks() -> None:
    rig = Rig()
    rig.tick()
    rig.tick(SUCCESS)
    assert rig.pressed == [Function.SUCCESS]
    rig.tick()
    assert rig.pressed == []
    rig.tick(released=(SUCCESS,))
    rig.pad_lives = False
    for _ in range(20):
        rig.tick()
    rig.pad_lives = True
    rig.tick(SUCCESS, ESTOP)
    assert rig.pressed == [Function.ESTOP], "after a silence only a stop counts"


def test_malformed_messages_count_and_are_silence() -> None:
    rig = Rig()
    rig.tick()
    assert rig.teleop.joy(rig.now, [0.0] * 3, [0] * 21) == []
    assert rig.teleop.malformed == 1


def test_a_leader_arm_is_followed_at_limited_speed() -> None:
    rig = Rig(arms=None, source="leader", joint_speed=0.5, leash=0.5)
    rig.takes_over()
    goal = home_position() + 0.1
    goal[GRIPPERS] = 1.0
    for _ in range(60):
        rig.teleop.leader(rig.now, goal)
        before = rig.robot.copy()
        rig.tick()
        assert np.abs(np.delete(rig.robot - before, GRIPPERS)).max() <= 0.5 * PERIOD + 1e-9
    assert np.allclose(rig.robot, goal)


def test_a_leader_arm_that_falls_silent_moves_nothing() -> None:
    rig = Rig(arms=None, source="leader")
    rig.takes_over()
    rig.teleop.leader(rig.now, home_position() + 1.0)
    for _ in range(10):
        rig.tick()
    before = rig.robot.copy()
    for _ in range(20):
        rig.tick()
    assert np.array_equal(before, rig.robot)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1, 1)] * 6, st.booleans()), min_size=5, max_size=40), st.integers(0, 3))
def test_whatever_is_pushed_the_target_stays_on_its_leash(pushes: list[tuple[float, ...]], lag: int) -> None:
    rig = Rig(leash=0.05, linear_speed=0.3, angular_speed=3.0)
    rig.takes_over()
    robot = rig.robot.copy()
    for *axes, turn in pushes:
        rig.axes, rig.held = list(axes), {TAKEOVER, 9} if turn else {TAKEOVER}
        rig.robot = robot.copy()
        wish = rig.tick()
        assert np.isfinite(wish.target).all()
        assert np.abs(wish.target - robot).max() <= 0.05 + 1e-12
        robot += np.clip(wish.target - robot, -0.01, 0.01) * (lag == 0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"source": "mind"}, "sticks or leader"),
        ({"workspace_low": (1.0, 0.0, 0.0), "workspace_high": (0.0, 1.0, 1.0)}, "two corners"),
        ({"workspace_low": (1.0, 0.0)}, "two corners"),
    ],
)
def test_wrong_parameters_are_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TeleopConfig(**config).check()


def test_a_model_that_does_not_fit_says_what_is_missing() -> None:
    names = OF_CELL.model_joint(JOINT_NAMES)
    with pytest.raises(ModelError, match="no site or body 'hand'"):
        Arms(MODEL, ("hand", "right_grasp"), names)
    with pytest.raises(ModelError, match="no joint 'hip'"):
        Arms(MODEL, ("left_grasp", "right_grasp"), ("hip", *names[1:]))
    with pytest.raises(ModelError, match="of each of 2 arms, it has 1"):
        Arms(MODEL, ("left_grasp",), names)
    with pytest.raises(ConfigError, match="13 entries for 14 joints"):
        TeleopParameters(model_joints=names[:-1], joints=JOINT_NAMES).model_joint(JOINT_NAMES)
    assert TeleopParameters().model_joint(("a", "left_gripper", "b", "right_gripper")) == ("a", "", "b", "")


def test_S7_an_axis_counts_only_after_it_was_seen_at_its_rest() -> None:
    """A trigger that rests at 1 and reads 0 until it is touched, with a mapping of one's own: half pulled, it seems."""
    motions = {
        ("", "x"): Source(axis=0),
        ("", "close"): Source(axis=1, rest=1.0, full=-1.0),
        ("", "open"): Source(button=1),
    }
    mapping = Mapping("own", "raw", (), motions, {0: Function.TAKEOVER})
    teleop = Teleop(TeleopConfig(), mapping, ARMS, SLOTS)
    robot, now = home_position(), 5.0
    robot[GRIPPERS] = 0.8

    def tick(axes: list[float], buttons: list[int], times: int = 20) -> float:
        nonlocal robot, now
        for _ in range(times):
            now += PERIOD
            teleop.joy(now, axes, buttons)
            teleop.command(now, robot.copy())
            wish = teleop.tick(now)
            if wish is not None and wish.target is not None:
                robot = wish.target.copy()
        return float(robot[GRIPPERS[0]])

    tick([0.0, 0.0], [0, 1], times=1)
    assert teleop.asleep == ["close", "open"]
    assert tick([0.0, 0.0], [1, 1]) == pytest.approx(0.8), "neither the trigger nor a button that hangs moves anything"
    assert tick([0.0, 1.0], [1, 0]) == pytest.approx(0.8)
    assert teleop.asleep == []
    assert tick([0.0, 0.0], [1, 0]) < 0.75, "now it is half pulled"
    now += 1.0  # pulled out, and in again
    assert tick([0.0, 0.0], [0, 0], times=1) < 0.75
    assert teleop.asleep == ["close"]
