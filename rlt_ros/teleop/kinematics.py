"""Cartesian motion of arms: damped least squares on the robot's model, by mink."""

from __future__ import annotations

from pathlib import Path

import mink
import mujoco
import numpy as np

from rlt_ros.teleop.config import arm_slots
from rlt_ros.types import Array

_DAMPING = 1e-3
_ORIENTATION_COST = 0.3


class ModelError(ValueError):
    """The model does not hold what the parameters name. The message says what is missing."""


class Arms:
    """Moves a frame of each arm; every joint that is not named stays where it is."""

    def __init__(self, model: mujoco.MjModel, frames: tuple[str, ...], joints: tuple[str, ...]) -> None:
        """Use a model of the robot.

        Args:
            model: of the robot, standing in its base frame.
            frames: names of a site (or body) of each arm, in the order of the arms.
            joints: the model's name of every joint of the command, in its order; empty for a gripper.

        Raises:
            ModelError: the model lacks a frame or joint, or there is not a frame for each arm.
        """
        if len(frames) != (arms := len(arm_slots(joints))):
            raise ModelError(f"frames must name a site or body of each of {arms} arms, it has {len(frames)} names")
        self._configuration = mink.Configuration(model)
        self.arm_slots = np.array([slot for slot, name in enumerate(joints) if name])
        for name in filter(None, joints):
            if mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, name) < 0:
                known = [model.joint(index).name for index in range(model.njnt)]
                raise ModelError(f"the model has no joint '{name}'; it has {', '.join(known)}")
        found = [model.joint(name) for name in joints if name]
        self._qpos = np.array([joint.qposadr[0] for joint in found])
        dofs = {int(joint.dofadr[0]) for joint in found}
        self._low, self._high = np.full(model.nq, -np.inf), np.full(model.nq, np.inf)
        for index in np.flatnonzero(model.jnt_limited):
            self._low[model.jnt_qposadr[index]], self._high[model.jnt_qposadr[index]] = model.jnt_range[index]
        self._rest = self._configuration.q.copy()
        others = [dof for dof in range(model.nv) if dof not in dofs]
        self._frozen = [mink.DofFreezingTask(model, others)] if others else []
        self._limits = [mink.ConfigurationLimit(model)]
        self._tasks = [
            mink.FrameTask(
                frame, _kind(model, frame), position_cost=1.0, orientation_cost=_ORIENTATION_COST, lm_damping=_DAMPING
            )
            for frame in frames
        ]

    def poses(self, position: Array) -> list[mink.SE3]:
        """Poses of the frames in the base frame if the joints were at `position`, shape (J,)."""
        self._set(position)
        return [
            self._configuration.get_transform_frame_to_world(task.frame_name, task.frame_type) for task in self._tasks
        ]

    def towards(self, position: Array, targets: list[mink.SE3]) -> Array:
        """One differential step from `position` to where all frames are at their targets; shape (J,)."""
        self._set(position)
        for task, target in zip(self._tasks, targets, strict=True):
            task.set_target(target)
        out, before = np.array(position, dtype=np.float64), self._configuration.q[self._qpos].copy()
        try:
            velocity = mink.solve_ik(
                self._configuration,
                self._tasks,
                dt=1.0,
                solver="daqp",
                damping=1e-6,
                limits=self._limits,
                constraints=self._frozen,
            )
        except mink.MinkError:
            return out  # no way to move from here
        self._configuration.integrate_inplace(velocity, 1.0)
        out[self.arm_slots] += self._configuration.q[self._qpos] - before
        return out

    def _set(self, position: Array) -> None:
        qpos = self._rest.copy()
        qpos[self._qpos] = np.asarray(position)[self.arm_slots]
        # Outside the model's limits there is no way to move: a command may stand there, by a hair or by its own limits.
        self._configuration.update(np.clip(qpos, self._low, self._high))


def moved(pose: mink.SE3, velocity: Array, turn: Array) -> mink.SE3:
    """A pose after a step in the base frame.

    Args:
        pose: before.
        velocity: step of the position, m, shape (3,).
        turn: rotation vector, rad, shape (3,).
    """
    rotation = mink.SO3.exp(np.asarray(turn, dtype=np.float64)) @ pose.rotation()
    return mink.SE3.from_rotation_and_translation(rotation, pose.translation() + velocity)


def load_model(path: Path) -> mujoco.MjModel:
    """A MuJoCo model from MJCF or URDF.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return mujoco.MjModel.from_xml_path(str(path))
    except ValueError as error:
        raise ModelError(f"cannot read the robot's model {path}: {error}") from error


def _kind(model: mujoco.MjModel, frame: str) -> str:
    for kind, code in (("site", mujoco.mjtObj.mjOBJ_SITE), ("body", mujoco.mjtObj.mjOBJ_BODY)):
        if mujoco.mj_name2id(model, code, frame) >= 0:
            return kind
    raise ModelError(f"the model has no site or body '{frame}'")
