"""The cell: real contact, grasps, an expert that works like a person, pictures that show what matters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import mujoco
import numpy as np
import pytest

from rlt_ros.sim.cell import CAMERA_NAMES, Cell
from rlt_ros.sim.demonstrate import demonstrate
from rlt_ros.sim.expert import CLUMSY, OPERATOR, Expert, Operator
from rlt_ros.sim.kinematics import RelativePose
from rlt_ros.sim.names import JOINT_NAMES
from rlt_ros.sim.tasks import TASKS, get_task

GRIPPERS = [i for i, name in enumerate(JOINT_NAMES) if name.endswith("gripper")]


@pytest.fixture(scope="module", params=sorted(TASKS))
def cell(request: pytest.FixtureRequest) -> Iterator[Cell]:
    made = Cell(get_task(request.param))
    yield made
    made.close()


@pytest.fixture(scope="module", params=sorted(TASKS))
def full(request: pytest.FixtureRequest) -> Iterator[Cell]:
    made = Cell(get_task(request.param, setting="full"))
    yield made
    made.close()


def test_the_operator_finishes_what_stands_still_and_watches_what_moves(cell: Cell) -> None:
    operator = Operator(1.0, np.random.default_rng(0))
    for seed in range(4):
        cell.reset(seed)
        fingers, taken = cell.command[GRIPPERS], 0
        for tick in range(500):
            target = operator(cell, tick)
            assert target is not None or not taken, "it does not let go before the end"
            taken = taken or (tick + 1 if target is not None else 0)
            cell.step(cell.command if target is None else target)
            if cell.insertion().success:
                break
        assert cell.insertion().success
        assert 1 <= taken <= 101, "it waits at most twice its patience"
        if cell.task.plan is None:
            assert np.array_equal(cell.command[GRIPPERS], fingers)
    cell.reset(0)
    operator = Operator(0.5, np.random.default_rng(3))
    brisk = Expert(cell, np.random.default_rng(1), OPERATOR)
    for tick in range(30):
        assert operator(cell, tick) is None, "nobody interrupts what comes nearer all the time"
        cell.step(brisk.act())


def fly(cell: Cell, seed: int) -> int:
    """Ticks until the expert's success, 0 if it failed."""
    cell.reset(seed)
    expert = Expert(cell, np.random.default_rng(seed))
    for tick in range(round(cell.task.limit * 50)):
        cell.step(expert.act())
        if cell.insertion().success:
            return tick + 1
    return 0


def push(cell: Cell, lateral: float, depth: float) -> None:
    """Slowly bring the tip to `depth`, `lateral` beside the socket's axis."""
    cell.reset(0)
    pose, centre = cell.kinematics.relative_pose(cell.command)
    offset = pose.offset.copy()
    for target in (0.005, -depth):
        for _ in range(150):
            offset += np.clip(np.array([target, lateral, 0.0]) - offset, -5e-4, 5e-4)
            cell.step(cell.kinematics.track(cell.command, RelativePose(offset, np.zeros(3)), centre))


def test_starts_are_random_but_repeatable_and_not_inserted(cell: Cell) -> None:
    cell.reset(3)
    first = cell.position
    cell.reset(4)
    assert not np.allclose(cell.position, first)
    cell.reset(3)
    assert np.array_equal(cell.position, first)
    task, place = cell.task, cell.insertion()
    assert -task.start_gap[1] - 1e-3 <= place.depth <= -task.start_gap[0] + 1e-3
    assert place.held
    assert not place.success


def test_joint_positions_alone_do_not_tell_the_offset(cell: Cell) -> None:
    """The grasp is random: what the grippers' poses predict misses the true offset by millimetres."""
    errors = []
    for seed in range(40):
        cell.reset(seed)
        left, right = cell.kinematics.gripper_poses(cell.command)
        errors.append((right.position - left.position)[1:] - cell.insertion().offset[1:])
    assert np.std(errors, axis=0).min() > 1.5e-3


def test_the_arms_follow_a_slow_command_within_a_milliradian_once_it_rests(cell: Cell) -> None:
    cell.reset(0)
    goal = cell.command
    goal[0] += 0.05
    for _ in range(60):
        cell.step(cell.command + np.clip(goal - cell.command, -0.002, 0.002))
    assert np.abs(cell.position - goal)[:6].max() < 3e-3


def test_the_socket_stops_a_plug_that_misses_the_hole(cell: Cell) -> None:
    """Contact is real: pushed 15 mm against the rim, the plug stays outside."""
    if cell.mechanism.tip(cell.data) is not None:
        pytest.skip("what is not rigid bends aside: its own tests say how")
    push(cell, lateral=0.012 if cell.task.name == "ethernet" else 0.006, depth=0.015)
    assert cell.insertion().depth < 0.002


@pytest.mark.parametrize("task", ["ethernet", "charger"])
def test_the_latch_needs_a_firm_push(task: str) -> None:
    """Commanded to the success depth a straight plug stops short at the latch; pushed further it goes in."""
    cell = Cell(get_task(task))
    push(cell, lateral=0.0, depth=0.015)
    assert 0.008 < cell.insertion().depth < 0.015
    assert not cell.insertion().success
    push(cell, lateral=0.0, depth=0.028)
    assert cell.insertion().success
    assert 5.0 < cell.insertion().press < 30.0, "newtons of a real connector"


@pytest.mark.parametrize("task", ["ethernet", "charger"])
def test_a_chamfer_guides_a_plug_that_is_a_little_beside(task: str) -> None:
    cell = Cell(get_task(task))
    aside = cell.task.clearance + 0.7 * cell.task.chamfer
    push(cell, lateral=aside, depth=0.010)
    assert cell.insertion().depth > 0.006
    push(cell, lateral=cell.task.clearance + 2.0 * cell.task.chamfer, depth=0.010)
    assert cell.insertion().depth < 0.002


def test_too_much_force_stops_the_robot_and_loses_the_episode() -> None:
    cell = Cell(get_task("ethernet"))
    push(cell, lateral=0.0, depth=0.028)
    assert cell.force < cell.task.max_force
    assert cell.insertion().success
    push(cell, lateral=0.012, depth=0.030)
    assert cell.force > cell.task.max_force
    assert cell.insertion().stopped
    cell.step(cell.command + np.where(np.arange(14) == 1, -0.2, 0.0))  # backing off does not bring it back
    assert cell.insertion().stopped
    cell.reset(0)
    assert not cell.insertion().stopped


def test_the_expert_stays_far_below_the_force_that_stops_the_robot(cell: Cell) -> None:
    peak = 0.0
    for seed in range(3):
        cell.reset(seed)
        expert = Expert(cell, np.random.default_rng(seed))
        for _ in range(round(cell.task.limit * 50)):
            cell.step(expert.act())
            peak = max(peak, cell.force)
    assert peak < cell.task.max_force / 3


def test_the_clearance_decides_what_goes_in() -> None:
    depth = {}
    for clearance in (0.0005, 0.003):
        cell = Cell(get_task("ethernet", clearance=clearance))
        push(cell, lateral=0.0025, depth=0.010)
        depth[clearance] = cell.insertion().depth
    assert depth[0.003] > 0.008
    assert depth[0.0005] < 0.002


def test_the_expert_mostly_succeeds_and_hesitates(cell: Cell) -> None:
    ticks = [fly(cell, seed) for seed in range(20)]
    done = [n for n in ticks if n]
    assert len(done) >= 14
    assert max(done) > 1.5 * min(done)


def test_the_expert_never_moves_a_joint_faster_than_the_executor_allows(cell: Cell, full: Cell) -> None:
    for place in (cell, full):
        place.reset(1)
        expert = Expert(place, np.random.default_rng(1))
        for _ in range(300):
            before = place.command
            place.step(expert.act())
            speed = np.abs(place.command - before) / 0.02
            assert speed.max() < 2.0


def test_in_the_full_setting_parts_are_grasped_from_the_table_and_inserted(full: Cell) -> None:
    full.reset(2)
    assert not full.insertion().held
    assert full.position[GRIPPERS].min() > 0.9
    wins = [fly(full, seed) for seed in range(4)]
    assert sum(n > 0 for n in wins) >= 3
    assert min(n for n in wins if n) > 250


def test_fingers_that_close_beside_the_part_grasp_nothing_and_opening_gives_it_back(full: Cell) -> None:
    full.reset(0)
    closed = full.command
    for opening in np.linspace(1, 0, 30):
        closed[GRIPPERS] = opening
        full.step(closed)
    for _ in range(20):
        full.step(closed)
    assert not full.held("plug")
    assert not full.held("socket")
    full.reset(2)
    expert = Expert(full, np.random.default_rng(2))
    while not (full.held("plug") and full.held("socket")):
        full.step(expert.act())
    command = full.command
    for opening in np.linspace(0, 1, 40):
        command[GRIPPERS] = opening
        full.step(command)
    for _ in range(20):
        full.step(command)
    assert not full.held("plug")


@pytest.mark.parametrize("task", ["screw", "zip_tie"])
def test_whoever_lets_go_in_the_middle_is_no_longer_held_by_the_mechanism(task: str) -> None:
    cell = Cell(get_task(task, setting="full"), image_size=32)
    cell.reset(0)
    expert, caught = Expert(cell, np.random.default_rng(0)), cell.model.equality("caught").id
    for _ in range(1500):
        cell.step(expert.act())
        if cell.data.eq_active[caught]:
            break
    assert cell.data.eq_active[caught]
    command = cell.command
    for opening in np.linspace(0, 1, 40):
        command[GRIPPERS] = opening
        cell.step(command)
    assert not cell.held("plug")
    assert not cell.data.eq_active[caught]
    assert not cell.insertion().success
    cell.close()


@pytest.mark.parametrize("command", [np.zeros(13), np.full(14, np.nan)])
def test_an_absurd_command_is_refused(cell: Cell, command: np.ndarray) -> None:
    with pytest.raises(ValueError, match="command"):
        cell.step(command)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "usb"}, f"choose one of {', '.join(sorted(TASKS))}"),
        ({"name": "charger", "setting": "half"}, "choose one of controlled, full"),
        ({"name": "charger", "clearance": 0.01}, "10 mm a side, it must be within 0.3 and 4 mm"),
    ],
)
def test_an_unknown_task_names_the_known_ones(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_task(**arguments)  # type: ignore[arg-type]


def test_who_does_not_look_goes_on_without_the_parts_and_gives_up() -> None:
    cell = Cell(get_task("ethernet", setting="full"), image_size=32)
    clumsy = dataclasses.replace(CLUMSY, grasp_spread=0.1)
    episode = demonstrate(cell, seed=1, stride=50, expert=clumsy)
    cell.close()
    assert not episode.ticks
    assert not episode.critical.any()
    assert 300 < len(episode.command) < 1000, "neither at once nor only when the time is over"


def test_a_pixel_of_the_wrist_cameras_is_a_millimetre_at_most_at_the_plug(cell: Cell) -> None:
    for seed in range(5):
        cell.reset(seed)
        tip = cell.data.site("plug_tip").xpos
        for name in ("left_wrist", "right_wrist"):
            camera = cell.model.camera(name)
            distance = np.linalg.norm(cell.data.cam_xpos[camera.id] - tip)
            width = 2 * distance * np.tan(np.radians(float(camera.fovy[0])) / 2)
            assert width / cell.image_size <= 1.0e-3


def test_the_wrist_cameras_see_a_millimetre(cell: Cell) -> None:
    """The same start with the plug moved in the hand changes the pictures where the plug is."""
    cell.reset(0)
    before = cell.render()
    body = cell.model.body("plug").id
    cell.model.body_pos[body, 1] += 0.0015
    mujoco.mj_forward(cell.model, cell.data)
    after = cell.render()
    for name in ("left_wrist", "right_wrist"):
        changed = np.abs(after[name].astype(int) - before[name]).max(2) > 40
        assert changed.sum() > 10, f"{name} does not see it"


def test_the_looks_do_not_change_the_start() -> None:
    starts = []
    for randomisation in (0.0, 1.0):
        cell = Cell(get_task("charger"), randomisation=randomisation)
        cell.reset(8)
        starts.append(cell.position)
    assert np.array_equal(*starts)


def test_all_cameras_see_something_and_looks_change_only_when_asked() -> None:
    plain, mixed = Cell(get_task("ethernet")), Cell(get_task("ethernet"), randomisation=1.0)
    for cell, same in ((plain, True), (mixed, False)):
        cell.reset(5)
        first = cell.render()
        assert tuple(first) == CAMERA_NAMES
        assert all(image.std() > 10 for image in first.values())
        for seed in (6, 5):
            cell.reset(seed)
        again = cell.render()
        assert all(np.array_equal(first[name], again[name]) for name in CAMERA_NAMES), "a seed gives the same looks"
        table = [image[-1, 0] for image in (plain.render()["base"], again["base"])]
        assert np.array_equal(*table) is same
        cell.close()
    with pytest.raises(ValueError, match="within"):
        Cell(get_task("ethernet"), randomisation=2.0)
