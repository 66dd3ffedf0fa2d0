"""The boxes that parts are made of, and what becomes of them in MuJoCo. Lengths in metres.

Tasks are known where no physics runs: neither this file nor a task's imports MuJoCo before it builds something.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mujoco

Vector = tuple[float, float, float]

NO_CONTACT: dict[str, object] = {"contype": 0, "conaffinity": 0}


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


def contact(friction: float) -> dict[str, object]:
    """What two parts that touch do to each other: stiff, with sliding `friction`."""
    return {
        "contype": 1,
        "conaffinity": 1,
        "condim": 4,
        "friction": [friction, 0.005, 0.0001],
        "solref": [0.004, 1.0],
        "solimp": [0.95, 0.99, 0.001, 0.5, 2.0],
    }


def add_box(body: mujoco.MjsBody, name: str, box: Box, mass: float, touch: dict[str, object]) -> None:
    """Draw `box` on a body; `touch` is `NO_CONTACT` or a `contact`."""
    import mujoco

    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=box.half,
        pos=box.centre,
        rgba=[*box.colour, 1.0],
        mass=mass,
        **touch,
    )


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
