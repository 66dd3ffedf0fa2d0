"""The weight and the links of the robots of `drivers.py`: joints that must be pushed to their targets.

Lengths and masses are those that the makers publish, rounded: UR5e, Franka Research 3, ViperX 300, SO-101. Links are
rods. (MuJoCo Menagerie has these robots; its package fetches them from another host when they are first used.)
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

_STEP = 0.002
_X, _Y, _Z = (1, 0, 0), (0, 1, 0), (0, 0, 1)


@dataclass(frozen=True)
class Link:
    """What one joint moves.

    Attributes:
        axis: of the joint, in the frame of the link before.
        at: where the joint is there, m.
        end: how far the link goes from its joint, m.
        mass: kg.
    """

    axis: tuple[int, int, int]
    at: tuple[float, float, float]
    end: tuple[float, float, float]
    mass: float


@dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
        links: from the base on.
        stiffness: N m (N) for a radian (metre) of error at the strongest joint; the others have as much less as they
            bear less.
        holds_itself: its controller takes its weight away, as industrial ones do; hobby servos sag.
    """

    links: tuple[Link, ...]
    stiffness: float
    holds_itself: bool


UR5E = Arm(
    (
        Link(_Z, (0, 0, 0.163), (0, 0.138, 0), 3.8),
        Link(_Y, (0, 0.138, 0), (0, 0, 0.425), 8.1),
        Link(_Y, (0, -0.131, 0.425), (0, 0, 0.392), 2.8),
        Link(_Y, (0, 0, 0.392), (0, 0.127, 0), 1.4),
        Link(_Z, (0, 0.127, 0), (0, 0, 0.1), 1.3),
        Link(_Y, (0, 0, 0.1), (0, 0.1, 0), 0.4),
    ),
    stiffness=20_000.0,
    holds_itself=True,
)
FR3 = Arm(
    (
        Link(_Z, (0, 0, 0.333), (0, 0, 0.1), 3.0),
        Link(_Y, (0, 0, 0), (0, 0, 0.316), 3.0),
        Link(_Z, (0, 0, 0.316), (0.083, 0, 0), 3.0),
        Link((0, -1, 0), (0.083, 0, 0), (-0.083, 0, 0.384), 3.0),
        Link(_Z, (-0.083, 0, 0.384), (0, 0, -0.1), 2.5),
        Link((0, -1, 0), (0, 0, 0), (0.088, 0, 0), 1.5),
        Link((0, 0, -1), (0.088, 0, 0), (0, 0, -0.107), 0.7),
    ),
    stiffness=10_000.0,
    holds_itself=True,
)
VIPERX = Arm(
    (
        Link(_Z, (0, 0, 0.079), (0, 0, 0.048), 0.8),
        Link(_Y, (0, 0, 0.048), (0.06, 0, 0.3), 0.8),
        Link(_Y, (0.06, 0, 0.3), (0.2, 0, 0), 0.3),
        Link(_X, (0.2, 0, 0), (0.1, 0, 0), 0.3),
        Link(_Y, (0.1, 0, 0), (0.07, 0, 0), 0.3),
        Link(_X, (0.07, 0, 0), (0.043, 0, 0), 0.1),
        Link(_Y, (0.043, 0, 0), (0.02, 0, 0), 0.05),
    ),
    stiffness=600.0,
    holds_itself=False,
)
SO101 = Arm(
    (
        Link(_Z, (0, 0, 0.055), (0, 0, 0.06), 0.15),
        Link(_Y, (0.03, 0, 0.06), (0.113, 0, 0.028), 0.15),
        Link(_Y, (0.113, 0, 0.028), (0.135, 0, 0), 0.1),
        Link(_Y, (0.135, 0, 0), (0.061, 0, 0), 0.08),
        Link(_X, (0.061, 0, 0), (0.02, 0, 0), 0.08),
        Link(_Y, (0.02, 0, 0), (0.05, 0, 0), 0.03),
    ),
    stiffness=60.0,
    holds_itself=False,
)


class Moved:
    """Arms beside each other, driven by a stiff, damped servo in each joint."""

    def __init__(self, arms: tuple[Arm, ...], places: list[int], start: NDArray[np.float64], unit: float = 1.0) -> None:
        """Begin at rest.

        Args:
            arms: whose links follow each other in the order of the joints.
            places: of each of these joints among those that the driver tells of.
            start: positions of all of them, in the driver's unit.
            unit: radians of that.
        """
        self._places, self._unit = np.array(places), unit
        self._model = _model(arms)
        self._data = mujoco.MjData(self._model)
        self._data.qpos[:] = self._data.ctrl[:] = start[self._places] * unit
        self._ahead = 0.0

    def go(self, seconds: float, at: NDArray[np.float64], target: NDArray[np.float64]) -> None:
        """Let time pass: `at`, of all the driver's joints, becomes where they are then."""
        self._data.ctrl[:] = target[self._places] * self._unit
        self._ahead += min(seconds, 0.1)
        steps = int(self._ahead / _STEP)
        self._ahead -= steps * _STEP
        if steps:
            mujoco.mj_step(self._model, self._data, steps)
        at[self._places] = self._data.qpos / self._unit


def _model(arms: tuple[Arm, ...]) -> mujoco.MjModel:
    spec = mujoco.MjSpec()
    spec.option.timestep = _STEP
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    for number, arm in enumerate(arms):
        body = spec.worldbody
        beyond = [sum(link.mass for link in arm.links[place:]) for place in range(len(arm.links))]
        for place, link in enumerate(arm.links):
            at = np.array(link.at) + ((0, number, 0) if place == 0 else (0, 0, 0))
            body = body.add_body(name=f"link_{number}_{place}", pos=at, gravcomp=float(arm.holds_itself))
            name = f"joint_{number}_{place}"
            strong = arm.stiffness * beyond[place] / beyond[0]
            body.add_joint(name=name, axis=link.axis, armature=strong * 2e-4)
            body.add_geom(
                type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=[0, 0, 0, *link.end], size=[0.02, 0, 0], mass=link.mass,
                contype=0, conaffinity=0,
            )  # fmt: skip
            servo = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
            servo.set_to_position(kp=strong, kv=strong * 0.03)
    return spec.compile()
