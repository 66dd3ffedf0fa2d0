"""What resists at the end of a connector's way: a sprung plate that must be pushed back. Lengths in metres."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlt_ros.sim.shapes import Box, add_box, contact
from rlt_ros.sim.tasks.base import Mechanism, Parts, Task

if TYPE_CHECKING:
    import mujoco

_FORCE = 6.0
"""Newtons that the plate needs at the success depth; half of it before it yields at all."""
_TRAVEL = 0.004
"""How far it has been pushed back there, m."""
_HALF = 0.001
"""Half the plate's thickness, m."""
_BRASS = (0.75, 0.75, 0.2)


class Latch(Mechanism):
    """A plate on a spring inside the holes, pre-loaded with half its force."""

    def __init__(self, centres: tuple[float, ...], half_y: float, half_z: float) -> None:
        """A latch that has not been touched.

        Args:
            centres: y of each hole.
            half_y: half width of the plate in each hole.
            half_z: half height of it.
        """
        self._centres, self._half_y, self._half_z = centres, half_y, half_z

    def build(self, spec: mujoco.MjSpec, task: Task, parts: Parts) -> None:
        """See `Mechanism`."""
        import mujoco

        front = task.success_depth - _TRAVEL
        self.resists_from = front - 0.001
        body = spec.body("socket").add_body(name="latch", pos=[parts.socket.reach - front - _HALF, 0, 0])
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
        for number, y in enumerate(self._centres):
            plate = Box((0, y, 0), (_HALF, self._half_y, self._half_z), _BRASS)
            add_box(body, f"latch_{number}", plate, 0.005, contact(task.friction))
