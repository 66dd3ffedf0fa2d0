"""What a task of the cell is: two parts made of boxes, a start, a success test, a time limit, an instruction.

Lengths in metres, angles in radians, times in seconds, forces in newtons. The frame of a part lies where the
fingers hold it; x points out of the gripper, z up, y completes it. The right gripper holds the plug, the left
one the socket.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from rlt_ros.sim.shapes import Box

if TYPE_CHECKING:
    import mujoco

Array = NDArray[np.float64]
SETTINGS = ("controlled", "full")


@dataclass(frozen=True)
class Part:
    """What one gripper holds.

    Attributes:
        boxes: its shape.
        reach: distance from the fingers to the plug's tip or the socket's mouth, along x.
        mass: kilograms.
    """

    boxes: tuple[Box, ...]
    reach: float
    mass: float = 0.03


@dataclass(frozen=True)
class Parts:
    """Plug and socket that belong together."""

    plug: Part
    socket: Part


@dataclass(frozen=True)
class Insertion:
    """Where the plug is, seen from the socket, and what became of it.

    Attributes:
        depth: metres the plug's tip is inside the socket's mouth; negative while outside.
        lateral: metres between the plug's tip and the socket's axis.
        angle: radians between the two axes.
        success: the tip is at the task's depth, inside the hole, the mechanism is done, and nothing was lost.
        stopped: since the reset the force on the plug's grasp exceeded the task's `max_force`, or the mechanism broke.
        offset: the tip in the socket's frame in metres, shape (3,): x out of the socket, z up.
        tilt: y and z of the plug's axis in the socket's frame (small angles in radians), shape (2,).
        held: both parts are in their grippers.
        press: newtons with which the plug is pushed along its axis; negative while it is pulled.
    """

    depth: float
    lateral: float
    angle: float
    success: bool
    stopped: bool
    offset: Array
    tilt: Array
    held: bool
    press: float


class Mechanism:
    """What moves inside the parts of a task: a latch, a thread. One instance a cell; this one is two rigid parts.

    Attributes:
        grip: opening of the right gripper at which it holds the plug, 0 to 1.
        done: nothing is left to do beside the depth.
        lost: the parts are spoilt.
        loose: boxes of the plug that are drawn on the table only, because in the hand they move.
        resists_from: depth from which on a plug that is well in must be pushed harder than a free one, m.
    """

    grip = 0.0
    done = True
    lost = False
    loose: tuple[Box, ...] = ()
    resists_from = float("inf")

    def build(self, spec: mujoco.MjSpec, task: Task, parts: Parts) -> None:
        """Add to the bodies `plug` and `socket` of a cell."""

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """An episode begins; `rng` draws what is different in each."""

    def tip(self, data: mujoco.MjData) -> tuple[Array, Array] | None:
        """Where the plug's tip is in the world, and its axes, where it is not where a rigid plug has it."""

    def step(self, model: mujoco.MjModel, data: mujoco.MjData, grip: float, place: Insertion) -> None:
        """A control period begins.

        Args:
            model: of the cell.
            data: of the cell.
            grip: commanded opening of the right gripper, 0 to 1.
            place: where the plug is.
        """

    def resists(self, depth: float) -> bool:
        """Whether a plug that is well in at this depth must be pushed harder than a free one."""
        return depth > self.resists_from


class Hand(Protocol):
    """What a plan for the critical phase has to work with: see `rlt_ros.sim.expert.Expert`.

    Attributes:
        task: what is to be done.
        rng: draws whatever is drawn.
        config: how the person moves.
        offset: commanded pose of the plug's tip in the socket's mouth, as `RelativePose` has it, shape (3,).
        tilt: the same for its rotation vector, shape (3,).
        grip: commanded opening of the right gripper.
    """

    task: Task
    rng: np.random.Generator
    config: ExpertConfig
    offset: Array
    tilt: Array
    grip: float

    @property
    def place(self) -> Insertion:
        """Where the plug is now."""

    def aim(self) -> tuple[Array, Array]:
        """A place before the mouth and a tilt, with a new error."""

    def move(self, offset: Array, tilt: Array, speed: float) -> Generator[None]:
        """Move there in a straight line; yields once a tick. Whoever changes `offset` meanwhile changes the goal."""

    def wait(self) -> Generator[None]:
        """A pause."""


@dataclass(frozen=True)
class ExpertConfig:
    """How a scripted person moves.

    Attributes:
        speed: approach speed, m/s.
        insertion_speed: speed while the plug is at or in the mouth, m/s.
        turn_speed: rotation speed, rad/s.
        hover_gap: distance from the mouth at which it pauses before an attempt, m.
        pause: range of the pauses, s.
        aim_share: standard deviation of the lateral aim as a share of clearance and chamfer.
        gross_share: share of the attempts that are aimed badly, so that large misses and their repair are shown.
        gross_factor: how much wider these attempts spread.
        correction: seconds in which it sees and takes back two thirds of a bad aim while it inserts.
        aim_angle: standard deviation of the angular aim, rad.
        stuck_after: commanded minus true depth that makes it retreat, m.
        push: the same once the plug is in the hole and presses on what resists there, m.
        carry_speed: speed of the grippers on the way to the parts and with them to the meeting point, m/s.
        grasp_spread: standard deviation of the aim of a grasp, m.
        checks_grasp: it looks whether it holds the parts, and tries again; else it goes on and gives up before the end.
    """

    speed: float = 0.010
    insertion_speed: float = 0.025
    turn_speed: float = 0.15
    hover_gap: float = 0.010
    pause: tuple[float, float] = (0.1, 0.7)
    aim_share: float = 0.8
    gross_share: float = 0.25
    gross_factor: float = 3.0
    correction: float = 1.2
    aim_angle: float = 0.015
    stuck_after: float = 0.004
    push: float = 0.012
    carry_speed: float = 0.10
    grasp_spread: float = 0.0015
    checks_grasp: bool = True


@dataclass(frozen=True)
class Task:
    """A plug that belongs into a socket.

    In the `controlled` setting an episode starts just before the critical phase, with the parts in the grippers.
    In the `full` setting the parts stand on the table: grasp, bring together, align, insert.

    Attributes:
        name: identifier on the command line.
        instruction: what the vision-language-action model is told.
        parts: the parts for a clearance.
        clearance: free play on each side of a centred plug.
        chamfer: by how much further aside a plug still slides in.
        success_depth: insertion depth that counts as success.
        success_lateral: largest distance between tip and socket's axis at success.
        mechanism: makes what moves inside the parts.
        plan: how a person does the critical phase, where it is more than aiming and pushing.
        friction: sliding friction between plug and socket.
        max_force: force on the plug's grasp above which the robot stops to protect the parts: the episode is lost.
        start_gap: range of the distance between plug tip and socket mouth at the start.
        start_lateral: half range of the lateral offset at the start, along each axis.
        start_angle: half range of the misalignment at the start, about each axis.
        grasp_offset: half range of each part's position in its gripper, along each axis.
        grasp_angle: half range of each part's tilt in its gripper, about each axis.
        table_spread: half range of each part's place on the table, along x and y (full setting).
        time_limit: seconds after which an episode of the controlled setting is a failure.
        time_limit_full: the same for the full setting.
        setting: `controlled` or `full`.
    """

    name: str
    instruction: str
    parts: Callable[[float], Parts]
    clearance: float
    chamfer: float = 0.0
    success_depth: float = 0.015
    success_lateral: float = 0.005
    mechanism: Callable[[], Mechanism] = Mechanism
    plan: Callable[[Hand], Generator[None]] | None = None
    friction: float = 0.4
    max_force: float = 30.0
    start_gap: tuple[float, float] = (0.008, 0.060)
    start_lateral: float = 0.008
    start_angle: float = 0.07
    grasp_offset: float = 0.0025
    grasp_angle: float = 0.05
    table_spread: float = 0.015
    time_limit: float = 10.0
    time_limit_full: float = 30.0
    setting: str = "controlled"

    @property
    def limit(self) -> float:
        """Time limit of the setting, s."""
        return self.time_limit_full if self.setting == "full" else self.time_limit
