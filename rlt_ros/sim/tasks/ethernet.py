"""A network plug and a recessed port whose latch needs a firm push."""

from rlt_ros.sim.shapes import Box, holes
from rlt_ros.sim.tasks.base import Part, Parts, Task
from rlt_ros.sim.tasks.latch import Latch

_HALF = 0.008
_LENGTH = 0.040
_DEPTH = 0.030
_CHAMFER = 0.0008
_ORANGE, _DARK_ORANGE, _BLUE = (0.9, 0.35, 0.1), (0.55, 0.2, 0.05), (0.15, 0.45, 0.85)


def _parts(clearance: float) -> Parts:
    plug = (
        Box((_LENGTH / 2, 0.0, 0.0), (_LENGTH / 2, _HALF, _HALF), _ORANGE),
        Box((0.010, 0.0, _HALF + 0.001), (0.010, 0.003, 0.001), _DARK_ORANGE, solid=False),
    )
    hole = _HALF + clearance
    return Parts(
        plug=Part(plug, reach=_LENGTH),
        socket=Part(tuple(holes([0.0], hole, hole, _DEPTH, 0.006, _BLUE, _CHAMFER)), reach=_DEPTH),
    )


TASK = Task(
    name="ethernet",
    instruction="insert the ethernet plug into the port",
    parts=_parts,
    clearance=0.0008,
    chamfer=_CHAMFER,
    start_gap=(0.005, 0.060),
    mechanism=lambda: Latch((0.0,), 0.005, 0.005),
)
