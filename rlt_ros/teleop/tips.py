"""Where the tips of arms are, and the joints that bring them on their way: for bundles that think in poses.

A tip's pose is nine numbers in the arm's base frame, by default the model's: its position (m), and the first two
columns of its orientation, which have no seam as angles have (Zhou et al., On the Continuity of Rotation
Representations, 2019). A gripper follows as it is, 0 to 1. Actions are steps from row to row: position (m), rotation
vector (rad) in the base frame, then the gripper's target.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from rlt_ros.teleop.config import ArmSlots, arm_slots
from rlt_ros.types import Array

_POSE, _STEP = 9, 6
_DAMPING = 1e-4
"""Square of what the joints' motion costs against the tip's error, 1/m or 1/rad: 1 % of a metre's or radian's."""
_ORIENTATION = 0.3
"""Weight of a radian against a metre, as for the sticks."""
_ANEW = 5
"""Rows after which the joints' share in the tips' motion is computed anew; the tips' error is, in each row."""
_NEXT, _NEXT_BUT_ONE = np.array([1, 2, 0]), np.array([2, 0, 1])


class TipsError(ValueError):
    """The model does not hold what is named. The message says what is missing."""


class _Tip:
    """One arm of a model: where its tip is, and its joints' share in its motion. Buffers are used again."""

    def __init__(
        self, model: mujoco.MjModel, data: mujoco.MjData, frame: str, base: str, arm: ArmSlots, dofs: list[int]
    ) -> None:
        self.slots, self.gripper = np.array(arm.joints, dtype=np.intp), arm.gripper
        self.dofs = np.array(dofs, dtype=np.intp)
        self._model, self._data = model, data
        self._site, self._body, self._position, self._matrix = _frame(model, data, frame)
        self._from_base: tuple[Array, Array] | None = None
        if base:
            _, body, origin, axes = _frame(model, data, base)
            if moved_by := _movers(model, body):
                raise TipsError(f"the base '{base}' is no base: {moved_by} moves it")
            self._from_base = axes.reshape(3, 3).T.copy(), origin.copy()
        self._jacobian: Array = np.zeros((6, model.nv), dtype=np.float64)

    @property
    def position(self) -> Array:
        """Of the tip in the base frame, shape (3,)."""
        if self._from_base is None:
            return self._position
        turn, origin = self._from_base
        return np.asarray(turn @ (self._position - origin))

    @property
    def matrix(self) -> Array:
        """Its axes there, row by row, shape (9,)."""
        if self._from_base is None:
            return self._matrix
        return np.asarray((self._from_base[0] @ self._matrix.reshape(3, 3)).reshape(9))

    @property
    def quaternion(self) -> Array:
        out = np.empty(4)
        mujoco.mju_mat2Quat(out, self.matrix)
        return out

    def inverse(self) -> Array:
        """Steps of the arm's joints for the tip's error in position and orientation, damped; shape (n, 6)."""
        jacobian = self.jacobian()
        jacobian[3:] *= _ORIENTATION
        square = jacobian @ jacobian.T
        square.flat[::7] += _DAMPING
        out = np.asarray(np.linalg.solve(square, jacobian).T, dtype=np.float64)
        out[:, 3:] *= _ORIENTATION
        return out

    def jacobian(self) -> Array:
        """Of position and orientation by the arm's joints, shape (6, n)."""
        linear, angular = self._jacobian[:3], self._jacobian[3:]
        if self._site >= 0:
            mujoco.mj_jacSite(self._model, self._data, linear, angular, self._site)
        else:
            mujoco.mj_jacBody(self._model, self._data, linear, angular, self._body)
        of_arm = self._jacobian[:, self.dofs]
        if self._from_base is None:
            return np.asarray(of_arm)
        return np.asarray(np.concatenate([self._from_base[0] @ of_arm[:3], self._from_base[0] @ of_arm[3:]]))


def _frame(model: mujoco.MjModel, data: mujoco.MjData, name: str) -> tuple[int, int, Array, Array]:
    """A site's or body's number, the body it belongs to, and where it is: position (3,) and axes (9,), by reference."""
    site = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, name)
    if site >= 0:
        return site, int(model.site_bodyid[site]), data.site_xpos[site], data.site_xmat[site]
    body = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name)
    if body < 0:
        raise TipsError(f"the model has no site or body '{name}'")
    return -1, body, data.xpos[body], data.xmat[body]


def _movers(model: mujoco.MjModel, body: int) -> str:
    """Name of a joint that moves a body; empty: it stands still."""
    while body > 0:
        if model.body_jntnum[body]:
            return str(model.joint(int(model.body_jntadr[body])).name)
        body = int(model.body_parentid[body])
    return ""


class Tips:
    """Kinematics of a robot's arms; use it in one thread."""

    def __init__(
        self, model: mujoco.MjModel, frames: Sequence[str], joints: Sequence[str], bases: Sequence[str] = ()
    ) -> None:
        """Use a model of the robot.

        Args:
            model: of the robot.
            frames: names of a site (or body) of each arm, in the order of the arms.
            joints: the model's name of every joint of the command, in its order; empty for a gripper.
            bases: names of the sites or bodies that the arms' poses are told in, empty for the model's root; none: all
                are told in that.

        Raises:
            TipsError: the model lacks a frame or joint, a base moves, or there is not a frame for each arm.
        """
        arms = arm_slots(joints)
        if len(frames) != len(arms):
            raise TipsError(f"frames must name a site or body of each of {len(arms)} arms, it has {len(frames)} names")
        for name in filter(None, joints):
            if mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, name) < 0:
                known = [model.joint(index).name for index in range(model.njnt)]
                raise TipsError(f"the model has no joint '{name}'; it has {', '.join(known)}")
        if len(bases) not in (0, len(arms)):
            raise TipsError(f"bases must name a site or body for each of {len(arms)} arms, it has {len(bases)} names")
        self._model, self._data = model, mujoco.MjData(model)
        mujoco.mj_kinematics(self._model, self._data)
        found = {slot: model.joint(name) for slot, name in enumerate(joints) if name}
        self._slots = np.array(list(found), dtype=np.intp)
        self._qpos = np.array([joint.qposadr[0] for joint in found.values()], dtype=np.intp)
        limits = [joint.range if model.jnt_limited[joint.id] else (-np.inf, np.inf) for joint in found.values()]
        self._low, self._high = np.full(len(joints), -np.inf), np.full(len(joints), np.inf)
        self._low[self._slots], self._high[self._slots] = np.array(limits).T
        self._tips = [
            _Tip(model, self._data, frame, base, arm, [int(found[slot].dofadr[0]) for slot in arm.joints])
            for frame, base, arm in zip(frames, bases or [""] * len(arms), arms, strict=True)
        ]
        grippers = sum(tip.gripper >= 0 for tip in self._tips)
        self.joints = len(joints)
        self.size = len(self._tips) * _POSE + grippers
        """Numbers of a pose (P)."""
        self.action_size = len(self._tips) * _STEP + grippers
        """Numbers of an action (A)."""

    def numbers(self, position: NDArray[np.floating]) -> Array:
        """Poses of the tips, shape (..., P), of joint positions, shape (..., J)."""
        rows = np.asarray(position, dtype=np.float64).reshape(-1, self.joints)
        out = np.empty((len(rows), self.size))
        for row, joints in zip(out, rows, strict=True):
            self._place(joints)
            at = 0
            for tip in self._tips:
                row[at : at + 3], row[at + 3 : at + 6], row[at + 6 : at + 9] = tip.position, *_columns(tip.matrix)
                at += _POSE
                if tip.gripper >= 0:
                    row[at] = joints[tip.gripper]
                    at += 1
        return out.reshape(*np.shape(position)[:-1], self.size)

    def rates(self, position: NDArray[np.floating], velocity: NDArray[np.floating]) -> Array:
        """How fast these numbers change, shape (..., P), at joint positions and velocities, each (..., J)."""
        rows = np.asarray(position, dtype=np.float64).reshape(-1, self.joints)
        speeds = np.asarray(velocity, dtype=np.float64).reshape(-1, self.joints)
        out = np.empty((len(rows), self.size))
        for row, joints, speed in zip(out, rows, speeds, strict=True):
            self._place(joints, motion=True)
            at = 0
            for tip in self._tips:
                twist = tip.jacobian() @ speed[tip.slots]
                turned = [_cross(twist[3:], column) for column in _columns(tip.matrix)]
                row[at : at + 3], row[at + 3 : at + 6], row[at + 6 : at + 9] = twist[:3], *turned
                at += _POSE
                if tip.gripper >= 0:
                    row[at] = speed[tip.gripper]
                    at += 1
        return out.reshape(*np.shape(position)[:-1], self.size)

    def rows(self, position: NDArray[np.floating], actions: NDArray[np.floating]) -> Array:
        """Joint targets of a chunk, shape (H, J): a step of damped least squares a row, to where the tips should be.

        What a row leaves (a singularity, a limit, an arm of five joints) is made up for in the next ones.

        Args:
            position: joint positions that the steps count from, shape (J,).
            actions: steps, shape (H, A).
        """
        joints = np.array(position, dtype=np.float64)
        out = np.empty((len(actions), self.joints))
        self._place(joints, motion=True)
        inverses = [tip.inverse() for tip in self._tips]
        goals = [(tip.position.copy(), tip.quaternion) for tip in self._tips]
        turn, error = np.empty(4), np.empty(6)
        for count, action in enumerate(np.asarray(actions, dtype=np.float64), start=1):
            at = 0
            for number, tip in enumerate(self._tips):
                place, towards = goals[number]
                place += action[at : at + 3]
                towards = _turned(towards, action[at + 3 : at + 6])
                goals[number] = place, towards
                error[:3] = place - tip.position
                here = tip.quaternion
                here[1:] *= -1
                mujoco.mju_mulQuat(turn, towards, here)
                mujoco.mju_quat2Vel(error[3:], turn, 1.0)
                joints[tip.slots] += inverses[number] @ error
                at += _STEP
                if tip.gripper >= 0:
                    joints[tip.gripper] = action[at]
                    at += 1
            np.clip(joints, self._low, self._high, out=joints)
            out[count - 1] = joints
            anew = count % _ANEW == 0
            self._place(joints, motion=anew)
            if anew:
                inverses = [tip.inverse() for tip in self._tips]
        return out

    def _place(self, joints: Array, *, motion: bool = False) -> None:
        self._data.qpos[self._qpos] = joints[self._slots]
        mujoco.mj_kinematics(self._model, self._data)
        if motion:
            mujoco.mj_comPos(self._model, self._data)


def _columns(matrix: Array) -> tuple[Array, Array]:
    """The first two columns of a matrix (9,), row by row."""
    return matrix[0:9:3], matrix[1:9:3]


def _cross(a: Array, b: Array) -> Array:
    """The product of two vectors; NumPy's takes ten times as long."""
    return np.asarray(a[_NEXT] * b[_NEXT_BUT_ONE] - a[_NEXT_BUT_ONE] * b[_NEXT])


def _turned(quaternion: Array, by: Array) -> Array:
    """An orientation after a rotation vector in the base frame."""
    angle = float(np.sqrt(by @ by))
    if not angle:
        return quaternion
    step, out = np.empty(4), np.empty(4)
    mujoco.mju_axisAngle2Quat(step, by / angle, angle)
    mujoco.mju_mulQuat(out, step, quaternion)
    return out


def load_tips(path: Path, frames: Sequence[str], joints: Sequence[str], bases: Sequence[str] = ()) -> Tips:
    """Kinematics from an MJCF file; see `Tips`.

    Raises:
        TipsError: it cannot be read, or lacks something.
    """
    try:
        model = mujoco.MjModel.from_xml_path(str(path))
    except ValueError as error:
        raise TipsError(f"cannot read the robot's model {path}: {error}") from error
    return Tips(model, frames, joints, bases)


def skeleton(spec: mujoco.MjSpec) -> str:
    """A model's kinematics alone, as MJCF: nothing to be seen, touched or weighed, no other file.

    Args:
        spec: of the robot; it is used up.

    Raises:
        TipsError: the model cannot be compiled.
    """
    spec.compiler.fusestatic = False  # a tip is often a link that is fixed to another
    spec.compiler.inertiafromgeom = mujoco.mjtInertiaFromGeom.mjINERTIAFROMGEOM_FALSE
    kept = {"bodies", "joints", "sites", "frames", "default"}
    for kind in _THINGS:
        for thing in list(getattr(spec, kind, ())) if kind not in kept else ():
            spec.delete(thing)
    for body in spec.bodies[1:]:
        body.mass, body.inertia, body.explicitinertial = 1.0, [1.0, 1.0, 1.0], True
        body.ipos, body.iquat, body.fullinertia = [0.0] * 3, [1.0, 0.0, 0.0, 0.0], [np.nan, 0, 0, 0, 0, 0]
    try:
        spec.compile()
        return str(spec.to_xml())
    except ValueError as error:
        raise TipsError(f"the robot's model cannot be read: {error}") from error


_THINGS = (
    *("sensors", "actuators", "equalities", "excludes", "pairs", "tendons", "keys", "numerics", "texts", "tuples"),
    *("skins", "flexes", "geoms", "cameras", "lights", "meshes", "hfields", "textures", "materials", "plugins"),
)
