"""What a task of the cell is: two parts made of boxes, a start, a success test, a time limit, an instruction.

Lengths in metres, angles in radians, times in seconds, forces in newtons. The frame of a part lies where the
fingers hold it; x points out of the gripper, z up, y completes it. The right gripper holds the plug, the left
one the socket.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Vector = tuple[float, float, float]
SETTINGS = ("controlled", "full")


@dataclass(frozen=True)
class Box:
    """A rigid box of a part.

    Attributes:
        centre: of the box.
        half: half its lengths.
        colour: red, green, blue, 0 to 1.
        solid: touches the other part; otherwise it is only seen.
    """

    centre: Vector
    half: Vector
    colour: Vector
    solid: bool = True


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
class Latch:
    """A sprung plate in the hole: it yields under half of `force` and gives way under all of it.

    Attributes:
        force: needed at the task's success depth.
        travel: how far the plate has been pushed back there.
    """

    force: float
    travel: float = 0.004


@dataclass(frozen=True)
class Task:
    """A rigid plug that must be pushed into a socket.

    In the `controlled` setting an episode starts just before the critical phase, with the parts in the grippers.
    In the `full` setting the parts stand on the table: grasp, bring together, align, insert.

    Attributes:
        name: identifier on the command line.
        instruction: what the vision-language-action model is told.
        parts: the parts for a clearance.
        clearance: free play on each side of a centred plug.
        success_depth: insertion depth that counts as success.
        success_lateral: largest distance between tip and socket's axis at success.
        latch: what resists at the end of the way.
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
    success_depth: float = 0.015
    success_lateral: float = 0.005
    latch: Latch | None = None
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


def holes(centres: list[float], half_y: float, half_z: float, depth: float, wall: float, colour: Vector) -> list[Box]:
    """A block with rectangular holes side by side, closed at the back, mouth at x = `depth`.

    Args:
        centres: y of each hole, ascending.
        half_y: half width of a hole.
        half_z: half height of a hole.
        depth: of the holes.
        wall: thickness of the outer walls.
        colour: of the walls; the ground of the holes is dark.
    """
    edges = [centres[0] - half_y - wall, *(y + sign * half_y for y in centres for sign in (-1, 1))]
    edges.append(centres[-1] + half_y + wall)
    middle, width = (edges[0] + edges[-1]) / 2, (edges[-1] - edges[0]) / 2
    boxes = [
        Box((depth / 2, middle, sign * (half_z + wall / 2)), (depth / 2, width, wall / 2), colour) for sign in (-1, 1)
    ]
    for low, high in zip(edges[::2], edges[1::2], strict=True):
        boxes.append(Box((depth / 2, (low + high) / 2, 0.0), (depth / 2, (high - low) / 2, half_z), colour))
    boxes.append(Box((-wall / 2, middle, 0.0), (wall / 2, width, half_z + wall), (0.05, 0.05, 0.08)))
    return boxes
