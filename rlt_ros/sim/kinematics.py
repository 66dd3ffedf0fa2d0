"""Inverse kinematics of the two arms that hold plug and socket (mink, differential IK)."""

from __future__ import annotations

from dataclasses import dataclass

import mink
import mujoco
import numpy as np
from numpy.typing import NDArray

from rlt_ros.sim.names import ARM_JOINTS, ARMS, FINGER_RANGE, JOINT_NAMES

Array = NDArray[np.float64]
Tasks = dict[str, mink.FrameTask]

_FACING = mink.SO3.from_z_radians(np.pi)
_ITERATIONS = 60
_TOLERANCE = 2e-4
_TURN_TOLERANCE = 2e-3


@dataclass(frozen=True)
class RelativePose:
    """The plug's tip against the socket's mouth, in the world's axes.

    Attributes:
        offset: metres, shape (3,); x points from the left arm to the right one, about out of the socket.
        tilt: rotation vector in radians, shape (3,); zero when the axes are aligned.
    """

    offset: Array
    tilt: Array


@dataclass(frozen=True)
class GripperPose:
    """Where the middle between a gripper's fingers is to be.

    Attributes:
        position: in the world, metres, shape (3,).
        tilt: rotation vector in the world, radians, shape (3,); zero when the gripper is level and faces the other.
    """

    position: Array
    tilt: Array


class BimanualKinematics:
    """Joint targets that bring plug and socket into a relative pose, each arm doing half of it."""

    def __init__(self, model: mujoco.MjModel) -> None:
        """Use `model` of a cell; the parts' poses in their grippers are read from it at every call."""
        self._configuration = mink.Configuration(model)
        self._parts, self._grippers = (
            {
                site: mink.FrameTask(site, "site", position_cost=1.0, orientation_cost=0.3, lm_damping=1e-3)
                for site in sites
            }
            for sites in (("socket_mouth", "plug_tip"), ("left_grasp", "right_grasp"))
        )
        arms = [model.joint(f"vx300s_{arm}/{joint}") for arm in ARMS for joint in ARM_JOINTS]
        self._arm_qpos = np.array([joint.qposadr[0] for joint in arms])
        arm_dofs = {int(joint.dofadr[0]) for joint in arms}
        self._frozen = mink.DofFreezingTask(model, [dof for dof in range(model.nv) if dof not in arm_dofs])
        self._limits = [mink.ConfigurationLimit(model)]
        self._arm_slots = np.array([i for i, name in enumerate(JOINT_NAMES) if not name.endswith("gripper")])
        self._rest = np.zeros(model.nq)
        for arm in ARMS:
            self._rest[model.joint(f"vx300s_{arm}/left_finger").qposadr[0]] = FINGER_RANGE[0]
            self._rest[model.joint(f"vx300s_{arm}/right_finger").qposadr[0]] = -FINGER_RANGE[0]

    def solve(self, position: Array, pose: RelativePose, centre: Array) -> Array:
        """Iterate from joint positions `position` until the parts are in `pose`.

        Args:
            position: joint positions to start from, shape (14,).
            pose: wanted pose of the plug's tip in the socket's mouth.
            centre: world position of the middle between tip and mouth, shape (3,).

        Returns:
            Joint positions, shape (14,).

        Raises:
            RuntimeError: the arms cannot reach that pose.
        """
        self._aim_parts(pose, centre)
        return self._solve(position, self._parts, f"{pose} around {centre}")

    def solve_grippers(self, position: Array, left: GripperPose, right: GripperPose) -> Array:
        """The same with the pose of each gripper given.

        Raises:
            RuntimeError: the arms cannot reach these poses.
        """
        self._aim_grippers(left, right)
        return self._solve(position, self._grippers, f"{left} and {right}")

    def _solve(self, position: Array, tasks: Tasks, what: str) -> Array:
        out = position
        for _ in range(_ITERATIONS):
            out = self._iterate(out, tasks)
            errors = np.array([task.compute_error(self._configuration) for task in tasks.values()])
            away, turned = np.linalg.norm(errors[:, :3], axis=1).max(), np.linalg.norm(errors[:, 3:], axis=1).max()
            if away < _TOLERANCE and turned < _TURN_TOLERANCE:
                return out
        raise RuntimeError(f"the arms cannot reach {what}: {away * 1000:.1f} mm and {turned:.3f} rad left")

    def track(self, position: Array, pose: RelativePose, centre: Array) -> Array:
        """One differential step from `position` towards `pose`: for following a slow trajectory."""
        self._aim_parts(pose, centre)
        return self._iterate(position, self._parts)

    def track_grippers(self, position: Array, left: GripperPose, right: GripperPose) -> Array:
        """One differential step from `position` towards the given poses of the grippers."""
        self._aim_grippers(left, right)
        return self._iterate(position, self._grippers)

    def relative_pose(self, position: Array) -> tuple[RelativePose, Array]:
        """Pose of the tip in the mouth, and their middle, if the joints were exactly at `position`."""
        self._configuration.update(self._full(position))
        tip, mouth = (
            self._configuration.get_transform_frame_to_world(site, "site") for site in ("plug_tip", "socket_mouth")
        )
        offset = tip.translation() - mouth.translation()
        tilt = (tip.rotation() @ _FACING.inverse()).log() - mouth.rotation().log()
        return RelativePose(offset, tilt), (tip.translation() + mouth.translation()) / 2

    def _full(self, position: Array) -> Array:
        qpos = self._rest.copy()
        qpos[self._arm_qpos] = position[self._arm_slots]
        return qpos

    def gripper_poses(self, position: Array) -> tuple[GripperPose, GripperPose]:
        """Poses of the left and the right gripper if the joints were exactly at `position`."""
        self._configuration.update(self._full(position))
        left, right = (
            self._configuration.get_transform_frame_to_world(site, "site") for site in ("left_grasp", "right_grasp")
        )
        return (
            GripperPose(left.translation(), left.rotation().log()),
            GripperPose(right.translation(), (right.rotation() @ _FACING.inverse()).log()),
        )

    def _iterate(self, position: Array, tasks: Tasks) -> Array:
        self._configuration.update(self._full(position))
        velocity = mink.solve_ik(
            self._configuration,
            list(tasks.values()),
            dt=1.0,
            solver="daqp",
            damping=1e-6,
            limits=self._limits,
            constraints=[self._frozen],
        )
        self._configuration.integrate_inplace(velocity, 1.0)
        out = position.copy()
        out[self._arm_slots] = self._configuration.q[self._arm_qpos]
        return out

    def _aim_grippers(self, left: GripperPose, right: GripperPose) -> None:
        for site, pose, facing in (("left_grasp", left, mink.SO3.identity()), ("right_grasp", right, _FACING)):
            rotation = mink.SO3.exp(np.asarray(pose.tilt)) @ facing
            self._grippers[site].set_target(mink.SE3.from_rotation_and_translation(rotation, np.asarray(pose.position)))

    def _aim_parts(self, pose: RelativePose, centre: Array) -> None:
        # The socket's frame is the world's: x from the left arm to the right one.
        half = np.asarray(pose.offset) / 2
        tilt = np.asarray(pose.tilt) / 2
        self._parts["socket_mouth"].set_target(
            mink.SE3.from_rotation_and_translation(mink.SO3.exp(-tilt), centre - half)
        )
        self._parts["plug_tip"].set_target(
            mink.SE3.from_rotation_and_translation(mink.SO3.exp(tilt) @ _FACING, centre + half)
        )
