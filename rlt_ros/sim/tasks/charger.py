"""A charger with two prongs: both must find their holes, from a wider spread and with less play; contacts grip them."""

from rlt_ros.sim.shapes import Box, holes
from rlt_ros.sim.tasks.base import Part, Parts, Task
from rlt_ros.sim.tasks.latch import Latch

_PITCH = 0.016
_HALF_Y, _HALF_Z = 0.003, 0.0045
_BODY, _PRONG = 0.022, 0.020
_DEPTH = 0.024
_CHAMFER = 0.0006
_WHITE, _BRASS, _GREEN = (0.85, 0.85, 0.80), (0.85, 0.55, 0.10), (0.10, 0.55, 0.35)


def _parts(clearance: float) -> Parts:
    prongs = [
        Box((_BODY + _PRONG / 2, y, 0.0), (_PRONG / 2, _HALF_Y, _HALF_Z), _BRASS) for y in (-_PITCH / 2, _PITCH / 2)
    ]
    body = Box((_BODY / 2, 0.0, 0.0), (_BODY / 2, 0.014, 0.009), _WHITE)
    socket = holes([-_PITCH / 2, _PITCH / 2], _HALF_Y + clearance, _HALF_Z + clearance, _DEPTH, 0.006, _GREEN, _CHAMFER)
    return Parts(
        plug=Part((body, *prongs), reach=_BODY + _PRONG),
        socket=Part(tuple(socket), reach=_DEPTH),
    )


TASK = Task(
    name="charger",
    instruction="push the charger into the power outlet",
    parts=_parts,
    clearance=0.0006,
    chamfer=_CHAMFER,
    mechanism=lambda: Latch((-_PITCH / 2, _PITCH / 2), 0.002, 0.003),
    success_lateral=0.004,
    start_gap=(0.006, 0.065),
    start_lateral=0.011,
    start_angle=0.09,
)
