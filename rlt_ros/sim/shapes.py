"""The boxes that parts are made of, and what becomes of them in MuJoCo. Lengths in metres.

Tasks are known where no physics runs: neither this file nor a task's imports MuJoCo before it builds something.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

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
        turn: rotation vector of the box about its centre, rad.
    """

    centre: Vector
    half: Vector
    colour: Vector
    solid: bool = True
    turn: Vector = (0.0, 0.0, 0.0)


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

    angle, quaternion = math.hypot(*box.turn), np.array([1.0, 0.0, 0.0, 0.0])
    if angle:
        mujoco.mju_axisAngle2Quat(quaternion, np.array(box.turn) / angle, angle)
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=box.half,
        pos=box.centre,
        quat=quaternion,
        rgba=[*box.colour, 1.0],
        mass=mass,
        **touch,
    )


def holes(
    centres: list[float],
    half_y: float,
    half_z: float,
    depth: float,
    wall: float,
    colour: Vector,
    chamfer: float = 0.0,
) -> list[Box]:
    """A block with rectangular holes side by side, closed at the back, mouth at x = `depth`.

    Args:
        centres: y of each hole, ascending.
        half_y: half width of a hole.
        half_z: half height of a hole.
        depth: of the holes.
        wall: thickness of the outer walls.
        colour: of the walls; the ground of the holes is dark.
        chamfer: by how much the mouth is wider on each side, at 45 degrees.
    """
    edges = [centres[0] - half_y - wall, *(y + sign * half_y for y in centres for sign in (-1, 1))]
    edges.append(centres[-1] + half_y + wall)
    middle, width = (edges[0] + edges[-1]) / 2, (edges[-1] - edges[0]) / 2
    boxes = []
    for back, front, less in ((0.0, depth - chamfer, 0.0), (depth - chamfer, depth, chamfer)):
        if front == back:
            continue
        x, half_x = (back + front) / 2, (front - back) / 2
        boxes += [
            Box((x, middle, sign * (half_z + (wall + less) / 2)), (half_x, width, (wall - less) / 2), colour)
            for sign in (-1, 1)
        ]
        for place, (low, high) in enumerate(zip(edges[::2], edges[1::2], strict=True)):
            left = low + less * (place > 0)
            right = high - less * (place < len(centres))
            boxes.append(Box((x, (left + right) / 2, 0.0), (half_x, (right - left) / 2, half_z + less), colour))
    for y in centres if chamfer else ():
        boxes += _funnel(y, half_y, half_z, depth, chamfer, colour)
    boxes.append(Box((-wall / 2, middle, 0.0), (wall / 2, width, half_z + wall), (0.05, 0.05, 0.08)))
    return boxes


def _funnel(y: float, half_y: float, half_z: float, depth: float, chamfer: float, colour: Vector) -> list[Box]:
    """Four plates at 45 degrees around a mouth."""
    half = chamfer / math.sqrt(2)
    thick = chamfer / 4
    out = chamfer / 2 + thick / math.sqrt(2)
    x, turn = depth - out, math.pi / 4
    plates = []
    for sign in (-1, 1):
        up = (x, y, sign * (half_z + out))
        plates.append(Box(up, (half, half_y + chamfer, thick), colour, turn=(0.0, -sign * turn, 0.0)))
        side = (x, y + sign * (half_y + out), 0.0)
        plates.append(Box(side, (half, thick, half_z + chamfer), colour, turn=(0.0, 0.0, sign * turn)))
    return plates
