"""A network plug and a recessed port whose latch needs a firm push."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlt_ros.sim.shapes import Box, add_box, contact, holes
from rlt_ros.sim.tasks.base import Mechanism, Part, Parts, Task

if TYPE_CHECKING:
    import mujoco

_HALF = 0.008
_LENGTH = 0.040
_DEPTH = 0.030
_ORANGE, _DARK_ORANGE, _BLUE = (0.9, 0.35, 0.1), (0.55, 0.2, 0.05), (0.15, 0.45, 0.85)
_FORCE = 4.0
"""Newtons that the latch needs at the success depth; half of it before it yields at all."""
_TRAVEL = 0.004
"""How far it has been pushed back there, m."""


class Latch(Mechanism):
    """A plate on a spring inside the hole, pre-loaded with half its force."""

    def build(self, spec: mujoco.MjSpec, task: Task, parts: Parts) -> None:
        """See `Mechanism`."""
        import mujoco

        front, half = task.success_depth - _TRAVEL, 0.001
        self.resists_from = front - 0.001
        body = spec.body("socket").add_body(name="latch", pos=[parts.socket.reach - front - half, 0, 0])
        body.gravcomp = 1.0
        body.add_joint(
            name="latch",
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=[-1, 0, 0],
            stiffness=[_FORCE / (2 * _TRAVEL), 0.0, 0.0],
            springref=-_TRAVEL,
            damping=[2.0, 0.0, 0.0],
            armature=0.02,
            limited=True,
            range=[0.0, 2 * _TRAVEL],
        )
        plate = Box((0, 0, 0), (half, 0.005, 0.005), (0.75, 0.75, 0.2))
        add_box(body, "latch", plate, 0.005, contact(task.friction))


def _parts(clearance: float) -> Parts:
    plug = (
        Box((_LENGTH / 2, 0.0, 0.0), (_LENGTH / 2, _HALF, _HALF), _ORANGE),
        Box((0.010, 0.0, _HALF + 0.001), (0.010, 0.003, 0.001), _DARK_ORANGE, solid=False),
    )
    hole = _HALF + clearance
    return Parts(
        plug=Part(plug, reach=_LENGTH),
        socket=Part(tuple(holes([0.0], hole, hole, _DEPTH, 0.006, _BLUE)), reach=_DEPTH),
    )


TASK = Task(
    name="ethernet",
    instruction="insert the ethernet plug into the port",
    parts=_parts,
    clearance=0.0017,
    mechanism=Latch,
)
