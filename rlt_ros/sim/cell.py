"""A MuJoCo bimanual ALOHA cell with one connector part in each gripper and three cameras."""

from __future__ import annotations

from collections.abc import Iterator

import mujoco
import numpy as np
from numpy.typing import NDArray

from rlt_ros.sim.kinematics import BimanualKinematics, GripperPose, RelativePose
from rlt_ros.sim.looks import FOR_PEOPLE
from rlt_ros.sim.model import ARM_OF, GRASP_POINT, GRASP_STIFFNESS, MEETING_POINT, PHYSICS_STEP, STAND, build_spec
from rlt_ros.sim.names import ARM_JOINTS, ARMS, CAMERA_NAMES, CONTROL_PERIOD, FINGER_RANGE, JOINT_NAMES
from rlt_ros.sim.tasks.base import Array, Insertion, Task

_HOME = (0.0, -0.96, 1.16, 0.0, -0.3, 0.0)
_LOW = (0.0, -0.58, 1.36, 0.0, -0.78, 0.0)
_GRIPPER_CLOSED = 0.0
_PLUG_GRIPPER = JOINT_NAMES.index(f"{ARM_OF['plug']}_gripper")
_START_FULL = np.array([0.150, 0.5, 0.21])
"""Where the right gripper's grasp point is at the start of the full setting; the left one's is opposite."""
_GRASP_REACH = np.array([0.012, 0.012, 0.008])
"""How far a part may be from the middle of the fingers to be grasped when they close."""
_GRASP_ANGLE = 0.35
_START_ATTEMPTS = 10
_GRASP_CLOSED, _GRASP_OPEN = 0.25, 0.5
_RANDOMISED = ("light_diffuse", "light_pos", "geom_rgba", "cam_pos", "body_pos")

IMAGE_SIZE = 96
"""Side of the square pictures, pixels."""


class Cell:
    """The simulated robot: `reset`, then `step` at 50 Hz, `render` when pictures are wanted.

    Commands and positions are arrays of 14 in the order of `JOINT_NAMES`: radians, grippers 0 (closed)
    to 1 (open).
    """

    def __init__(
        self,
        task: Task,
        *,
        image_size: int = IMAGE_SIZE,
        seed: int = 0,
        randomisation: float = 0.0,
        dressed: bool = False,
    ) -> None:
        """Build the model.

        Args:
            task: parts and start spread.
            image_size: side of the square camera images in pixels.
            seed: seed of the start positions, until `reset` is given another.
            randomisation: how much light, colours and camera poses change at every reset; 0: not at all,
                1: light by half, colours by 0.15, cameras by 4 mm and their aim by 4 mm.
            dressed: whether people look at it, see `rlt_ros.sim.looks`; the policy's cameras see no difference.

        Raises:
            ValueError: `randomisation` is not within [0, 1].
        """
        if not 0.0 <= randomisation <= 1.0:
            raise ValueError(f"randomisation is {randomisation}, it must be within [0, 1]")
        self.task = task
        self.image_size = image_size
        self.randomisation = randomisation
        self._parts = task.parts(task.clearance)
        self.mechanism = task.mechanism()
        self.model = build_spec(task, self.mechanism, dressed=dressed).compile()
        self.data = mujoco.MjData(self.model)
        self._rng = self._later = np.random.default_rng(seed)
        self._renderer: mujoco.Renderer | None = None
        self._arm_qpos = np.array(
            [self.model.joint(f"vx300s_{arm}/{joint}").qposadr[0] for arm in ARMS for joint in ARM_JOINTS]
        )
        self._arm_dof = np.array(
            [self.model.joint(f"vx300s_{arm}/{joint}").dofadr[0] for arm in ARMS for joint in ARM_JOINTS]
        )
        self._arm_slots = np.array([i for i, name in enumerate(JOINT_NAMES) if not name.endswith("gripper")])
        self._gripper_slots = np.array([i for i, name in enumerate(JOINT_NAMES) if name.endswith("gripper")])
        self._finger_qpos = np.array([self.model.joint(f"vx300s_{arm}/left_finger").qposadr[0] for arm in ARMS])
        self._finger_dof = np.array([self.model.joint(f"vx300s_{arm}/left_finger").dofadr[0] for arm in ARMS])
        self._grasp_qpos = np.array([self.model.joint(f"plug_slide_{axis}").qposadr[0] for axis in "xyz"])
        self._stopped = False
        self._in_hand = {name: self.model.body(name).id for name in ARM_OF}
        self._on_table = {name: self.model.body(f"{name}_on_table").id for name in ARM_OF}
        self._held = dict.fromkeys(ARM_OF, True)
        self._fingers_open = dict.fromkeys(ARM_OF, False)
        self._nominal = {name: getattr(self.model, name).copy() for name in _RANDOMISED}
        self._solid = self.model.geom_contype.copy()
        self.kinematics = BimanualKinematics(self.model)
        self.reset()

    # -- state ---------------------------------------------------------------------------------------------

    @property
    def position(self) -> Array:
        """Measured joint positions, shape (14,)."""
        out = np.empty(len(JOINT_NAMES))
        out[self._arm_slots] = self.data.qpos[self._arm_qpos]
        low, high = FINGER_RANGE
        out[self._gripper_slots] = (self.data.qpos[self._finger_qpos] - low) / (high - low)
        return out

    @property
    def velocity(self) -> Array:
        """Measured joint velocities, shape (14,), rad/s and 1/s."""
        out = np.empty(len(JOINT_NAMES))
        out[self._arm_slots] = self.data.qvel[self._arm_dof]
        out[self._gripper_slots] = self.data.qvel[self._finger_dof] / (FINGER_RANGE[1] - FINGER_RANGE[0])
        return out

    @property
    def command(self) -> Array:
        """The joint targets of the last step, shape (14,)."""
        return self._command.copy()

    def insertion(self) -> Insertion:
        """Where the plug is, seen from the socket."""
        (tip, plug_axes), (mouth, axes) = (self._front(name) for name in ("plug", "socket"))
        offset = axes.T @ (tip - mouth)
        plug_axis = axes.T @ -plug_axes[:, 0]
        depth = float(-offset[0])
        lateral = float(np.hypot(offset[1], offset[2]))
        held = all(self._held.values())
        return Insertion(
            depth=depth,
            lateral=lateral,
            angle=float(np.arccos(np.clip(plug_axis[0], -1.0, 1.0))),
            success=held
            and not self._stopped
            and self.mechanism.done
            and lateral <= self.task.success_lateral
            and depth >= self.task.success_depth,
            stopped=self._stopped,
            offset=offset,
            tilt=plug_axis[1:],
            held=held,
            press=-GRASP_STIFFNESS * float(self.data.qpos[self._grasp_qpos[0]]),
        )

    @property
    def force(self) -> float:
        """Force on the plug's grasp in newtons, as a sensor in the gripper would measure it."""
        return GRASP_STIFFNESS * float(np.linalg.norm(self.data.qpos[self._grasp_qpos]))

    def part_pose(self, name: str) -> tuple[Array, Array]:
        """Position (3,) and axes (3, 3) of `plug` or `socket` in the world, in the gripper or on the table."""
        body = self._in_hand[name] if self._held[name] else self._on_table[name]
        return self.data.xpos[body].copy(), self.data.xmat[body].reshape(3, 3).copy()

    @property
    def closed(self) -> Array:
        """Openings at which the grippers hold their parts, shape (2,)."""
        return np.array([self.mechanism.grip if arm == ARM_OF["plug"] else _GRIPPER_CLOSED for arm in ARMS])

    def held(self, name: str) -> bool:
        """Whether the gripper holds `plug` or `socket`."""
        return self._held[name]

    def _front(self, name: str) -> tuple[Array, Array]:
        """Tip of the plug or mouth of the socket, and the axes there."""
        bent = self.mechanism.tip(self.data) if name == "plug" and self._held[name] else None
        if bent is not None:
            return bent
        position, axes = self.part_pose(name)
        return position + axes[:, 0] * getattr(self._parts, name).reach, axes

    # -- motion --------------------------------------------------------------------------------------------

    def reset(self, seed: int | None = None) -> None:
        """Set the scene at random: parts before each other in the grippers, or on the table (full setting).

        Args:
            seed: makes the start reproducible; without it the cell's own generator goes on.
        """
        rng = self._rng if seed is None else np.random.default_rng(seed)
        mujoco.mj_resetData(self.model, self.data)
        self._stopped = False
        # A generator of its own: the same seed is the same start, however the scene looks.
        looks, self._later = rng.spawn(2)
        self._randomise_looks(looks)
        start = self._start_full if self.task.setting == "full" else self._start_controlled
        for attempt in range(_START_ATTEMPTS):
            try:
                start(rng)
                break
            except RuntimeError:  # out of the arms' reach: draw another
                if attempt == _START_ATTEMPTS - 1:
                    raise
        self.mechanism.reset(self.model, self.data, rng)
        mujoco.mj_forward(self.model, self.data)

    def _start_controlled(self, rng: np.random.Generator) -> None:
        task = self.task
        for name, body in self._in_hand.items():
            self._show(name, held=True)
            self.model.body_pos[body] = GRASP_POINT + rng.uniform(-1, 1, 3) * task.grasp_offset
            tilt = rng.uniform(-1, 1, 3) * task.grasp_angle
            mujoco.mju_euler2Quat(self.model.body_quat[body], tilt, "xyz")
        offset = np.array([rng.uniform(*task.start_gap), *(rng.uniform(-1, 1, 2) * task.start_lateral)])
        tilt = rng.uniform(-1, 1, 3) * task.start_angle
        centre = MEETING_POINT + rng.uniform(-0.02, 0.02, 3)
        position = self.kinematics.solve(home_position(), RelativePose(offset, tilt), centre)
        position[_PLUG_GRIPPER] = self.mechanism.grip
        self._place(position)

    def _start_full(self, rng: np.random.Generator) -> None:
        task = self.task
        for name, side in (("plug", 1.0), ("socket", -1.0)):
            self._show(name, held=False)
            self.model.body_pos[self._in_hand[name]] = GRASP_POINT
            self.model.body_quat[self._in_hand[name]] = (1.0, 0.0, 0.0, 0.0)
            body = self._on_table[name]
            spread = np.array([task.table_spread, task.table_spread, 0.0])
            self.model.body_pos[body] = STAND * (side, 1.0, 1.0) + rng.uniform(-1, 1, 3) * spread
            yaw = rng.uniform(-1, 1) * task.start_angle + (np.pi if name == "plug" else 0.0)
            self.model.body_quat[body] = (np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2))
        right = GripperPose(_START_FULL + rng.uniform(-0.01, 0.01, 3), np.zeros(3))
        left = GripperPose(_START_FULL * (-1.0, 1.0, 1.0) + rng.uniform(-0.01, 0.01, 3), np.zeros(3))
        position = self.kinematics.solve_grippers(np.array([*_LOW, _GRIPPER_CLOSED] * 2), left, right)
        position[self._gripper_slots] = 1.0
        self._place(position)

    def _show(self, name: str, *, held: bool) -> None:
        """Have the part in the gripper, or on its stand; the other copy is neither seen nor touched."""
        self._held[name] = held
        self._fingers_open[name] = not held
        for body, present in ((self._in_hand[name], held), (self._on_table[name], not held)):
            bodies = [b for b in range(self.model.nbody) if body in self._above(b)]
            for geom in np.flatnonzero(np.isin(self.model.geom_bodyid, bodies)):
                if self.model.geom(geom).name.endswith("stand"):
                    continue
                self.model.geom_rgba[geom, 3] = float(present)
                contact = int(present) * self._solid[geom]
                self.model.geom_contype[geom] = self.model.geom_conaffinity[geom] = contact

    def _above(self, body: int) -> Iterator[int]:
        """A body and all that it hangs on."""
        while body:
            yield body
            body = int(self.model.body_parentid[body])

    def _update_grasps(self) -> None:
        """Closing fingers take the part between them; opening fingers give it back to its stand."""
        fingers = self.position[self._gripper_slots]
        for name, arm in ARM_OF.items():
            opening, holding = fingers[ARMS.index(arm)], self.closed[ARMS.index(arm)]
            if self._held[name]:
                if opening > _GRASP_OPEN:
                    self._show(name, held=False)
                    self.mechanism.reset(self.model, self.data, self._later)  # what was caught is let go
                    mujoco.mj_kinematics(self.model, self.data)
                continue
            if opening < max(_GRASP_CLOSED, holding + _GRASP_CLOSED / 2) and self._fingers_open[name]:
                self._fingers_open[name] = False
                self._grasp(name, arm)
                mujoco.mj_kinematics(self.model, self.data)
            elif opening > _GRASP_OPEN:
                self._fingers_open[name] = True

    def _grasp(self, name: str, arm: str) -> None:
        gripper = self.data.body(f"vx300s_{arm}/gripper_link")
        axes = gripper.xmat.reshape(3, 3)
        position, part_axes = self.part_pose(name)
        offset = axes.T @ (position - gripper.xpos) - GRASP_POINT
        rotation = axes.T @ part_axes
        angle = np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))
        if (np.abs(offset) > _GRASP_REACH).any() or angle > _GRASP_ANGLE:
            return
        # Parallel fingers centre the part between them and square it about the upright axis.
        quaternion = np.empty(4)
        mujoco.mju_mat2Quat(quaternion, rotation.ravel())
        quaternion[3] = 0.0
        body = self._in_hand[name]
        self.model.body_pos[body] = GRASP_POINT + offset * (1.0, 0.0, 1.0)
        self.model.body_quat[body] = quaternion / np.linalg.norm(quaternion)
        self._show(name, held=True)

    def _randomise_looks(self, rng: np.random.Generator) -> None:
        if not self.randomisation:
            return
        model, much = self.model, self.randomisation
        for name, nominal in self._nominal.items():
            getattr(model, name)[:] = nominal
        brightness = 1 + 0.5 * much * rng.uniform(-1, 1)
        model.light_diffuse *= brightness
        model.light_pos += 0.3 * much * rng.uniform(-1, 1, model.light_pos.shape)
        model.vis.headlight.diffuse[:] = np.array([0.4] * 3) * (1 + 0.5 * much * rng.uniform(-1, 1))
        seen = np.flatnonzero(model.geom_group != FOR_PEOPLE)
        colours = model.geom_rgba[seen, :3] + 0.15 * much * rng.uniform(-1, 1, (len(seen), 3))
        model.geom_rgba[seen, :3] = np.clip(colours, 0, 1)
        model.cam_pos += 0.004 * much * rng.uniform(-1, 1, model.cam_pos.shape)
        focus = [model.body(f"vx300s_{arm}/camera_focus").id for arm in ARMS]
        model.body_pos[focus] = self._nominal["body_pos"][focus] + 0.004 * much * rng.uniform(-1, 1, (2, 3))

    def _place(self, position: Array) -> None:
        """Set joint positions and targets at once, at rest."""
        self._command = np.array(position, dtype=np.float64)
        self.data.qpos[self._arm_qpos] = position[self._arm_slots]
        low, high = FINGER_RANGE
        fingers = low + np.clip(position[self._gripper_slots], 0, 1) * (high - low)
        for arm, finger in zip(ARMS, fingers, strict=True):
            self.data.joint(f"vx300s_{arm}/left_finger").qpos[0] = finger
            self.data.joint(f"vx300s_{arm}/right_finger").qpos[0] = -finger
        self._set_controls(self._command)

    def step(self, command: Array) -> None:
        """Advance by one control period under joint targets `command`, shape (14,).

        Raises:
            ValueError: the command has another shape or is not finite.
        """
        command = np.asarray(command, dtype=np.float64)
        if command.shape != (len(JOINT_NAMES),):
            raise ValueError(f"command has shape {command.shape}, expected ({len(JOINT_NAMES)},)")
        if not np.isfinite(command).all():
            raise ValueError("command is not finite")
        self._command = command.copy()
        self._set_controls(command)
        self.mechanism.step(self.model, self.data, float(command[_PLUG_GRIPPER]), self.insertion())
        mujoco.mj_step(self.model, self.data, nstep=round(CONTROL_PERIOD / PHYSICS_STEP))
        self._stopped |= self.force > self.task.max_force or self.mechanism.lost
        if self.task.setting == "full":
            self._update_grasps()

    def _set_controls(self, command: Array) -> None:
        low, high = FINGER_RANGE
        controls = self.data.ctrl[: 8 * len(ARMS)].reshape(len(ARMS), 8)
        controls[:, :6] = command[self._arm_slots].reshape(2, 6)
        fingers = low + np.clip(command[self._gripper_slots], 0, 1) * (high - low)
        controls[:, 6] = fingers
        controls[:, 7] = -fingers

    # -- cameras -------------------------------------------------------------------------------------------

    def render(self) -> dict[str, NDArray[np.uint8]]:
        """Pictures of the three cameras now, each (image_size, image_size, 3) RGB."""
        if self._renderer is None:
            self._renderer = mujoco.Renderer(self.model, self.image_size, self.image_size)
            self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
        images = {}
        for name in CAMERA_NAMES:
            self._renderer.update_scene(self.data, camera=name)
            images[name] = self._renderer.render().copy()
        return images

    def close(self) -> None:
        """Free the rendering context."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def home_position() -> Array:
    """Joint positions between episodes, shape (14,)."""
    return np.array([*_HOME, _GRIPPER_CLOSED] * 2)
