"""A MuJoCo bimanual ALOHA cell with one connector part in each gripper and three cameras.

The robot is gym-aloha's pair of ViperX arms, mended for position control: the asset's joint friction
(30-60 Nm) and soft wrists (kp 10) are replaced by figures under which the arms follow a 50 Hz command.
"""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from rlt_ros.sim.kinematics import BimanualKinematics, RelativePose
from rlt_ros.sim.names import ARM_JOINTS, ARMS, CAMERA_NAMES, FINGER_RANGE, JOINT_NAMES
from rlt_ros.sim.tasks import InsertionTask

CONTROL_PERIOD = 0.02
"""Seconds of simulated time per command."""

_PHYSICS_STEP = 0.002
_ARM_KP = (400.0, 800.0, 400.0, 100.0, 100.0, 60.0)
_HOME = (0.0, -0.96, 1.16, 0.0, -0.3, 0.0)
_GRIPPER_CLOSED = 0.0
_MEETING_POINT = np.array([0.0, 0.5, 0.30])
_GRASP_POINT = np.array([0.150, 0.0, 0.0])
"""Where a part sits, in the frame of gripper_link: x points out of the gripper."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Insertion:
    """Geometry of plug against socket.

    Attributes:
        depth: metres the plug's tip is inside the socket's mouth; negative while outside.
        lateral: metres between the plug's tip and the socket's axis.
        angle: radians between the two axes.
        success: the tip is at the task's depth, inside the hole.
    """

    depth: float
    lateral: float
    angle: float
    success: bool


class Cell:
    """The simulated robot: `reset`, then `step` at 50 Hz, `render` when pictures are wanted.

    Commands and positions are arrays of 14 in the order of `JOINT_NAMES`: radians, grippers 0 (closed)
    to 1 (open).
    """

    def __init__(self, task: InsertionTask, *, image_size: int = 96, seed: int = 0) -> None:
        """Build the model.

        Args:
            task: parts and start spread.
            image_size: side of the square camera images in pixels.
            seed: seed of the start positions, until `reset` is given another.
        """
        self.task = task
        self.image_size = image_size
        self.model = _build_spec(task).compile()
        self.data = mujoco.MjData(self.model)
        self._rng = np.random.default_rng(seed)
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
        self._part_bodies = [self.model.body(name).id for name in ("plug", "socket")]
        self._tip = self.model.site("plug_tip").id
        self._mouth = self.model.site("socket_mouth").id
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
        mouth = self.data.site_xpos[self._mouth]
        axes = self.data.site_xmat[self._mouth].reshape(3, 3)
        offset = axes.T @ (self.data.site_xpos[self._tip] - mouth)
        plug_axis = self.data.site_xmat[self._tip].reshape(3, 3)[:, 0]
        angle = float(np.arccos(np.clip(-plug_axis @ axes[:, 0], -1.0, 1.0)))
        depth = float(-offset[0])
        lateral = float(np.hypot(offset[1], offset[2]))
        inside = bool(np.all(np.abs(offset[1:]) < self.task.plug_width / 2))
        return Insertion(depth, lateral, angle, inside and depth >= self.task.success_depth)

    # -- motion --------------------------------------------------------------------------------------------

    def reset(self, seed: int | None = None) -> None:
        """Put the parts into the grippers and the grippers before each other, all at random.

        Args:
            seed: makes the start reproducible; without it the cell's own generator goes on.
        """
        rng = self._rng if seed is None else np.random.default_rng(seed)
        task = self.task
        mujoco.mj_resetData(self.model, self.data)
        for body in self._part_bodies:
            self.model.body_pos[body] = _GRASP_POINT + rng.uniform(-1, 1, 3) * task.grasp_offset
            tilt = rng.uniform(-1, 1, 3) * task.grasp_angle
            mujoco.mju_euler2Quat(self.model.body_quat[body], tilt, "xyz")
        offset = np.array([rng.uniform(*task.start_gap), *(rng.uniform(-1, 1, 2) * task.start_lateral)])
        tilt = rng.uniform(-1, 1, 3) * task.start_angle
        centre = _MEETING_POINT + rng.uniform(-0.02, 0.02, 3)
        self._place(self.kinematics.solve(home_position(), RelativePose(offset, tilt), centre))
        mujoco.mj_forward(self.model, self.data)

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
        mujoco.mj_step(self.model, self.data, nstep=round(CONTROL_PERIOD / _PHYSICS_STEP))

    def _set_controls(self, command: Array) -> None:
        low, high = FINGER_RANGE
        controls = self.data.ctrl.reshape(2, 8)
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


# -- model ---------------------------------------------------------------------------------------------------


def _build_spec(task: InsertionTask) -> mujoco.MjSpec:
    assets = importlib.resources.files("gym_aloha") / "assets"
    spec = mujoco.MjSpec.from_file(str(assets / "bimanual_viperx_transfer_cube.xml"))
    spec.delete(spec.body("box"))
    for key in list(spec.keys):
        spec.delete(key)
    spec.compiler.inertiagrouprange = [0, 5]
    spec.option.timestep = _PHYSICS_STEP
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.visual.global_.offwidth = spec.visual.global_.offheight = 640
    spec.visual.quality.shadowsize = 0
    spec.visual.quality.offsamples = 0
    _mend_arms(spec)
    for arm, build in (("right", _add_plug), ("left", _add_socket)):
        build(_add_compliant_body(spec, arm, "plug" if arm == "right" else "socket"), task)
    _place_cameras(spec)
    _paint_room(spec)
    return spec


def _mend_arms(spec: mujoco.MjSpec) -> None:
    """Position control that follows: low friction, stiff gains, gravity compensated as real drivers do."""
    gains = {f"vx300s_{arm}/{joint}": kp for arm in ARMS for joint, kp in zip(ARM_JOINTS, _ARM_KP, strict=True)}
    for joint in spec.joints:
        joint.frictionloss = 0.2
        joint.armature = 0.05
        if joint.name.endswith("finger"):
            joint.damping = [20.0, 0.0, 0.0]
    for actuator in spec.actuators:
        kp = gains.get(actuator.target, 200.0)
        actuator.gainprm[0] = kp
        actuator.biasprm[:3] = [0.0, -kp, 0.0]
        actuator.set_to_position(kp=kp, dampratio=1.0)
    for body in spec.bodies:
        body.gravcomp = 1.0
    for geom in spec.geoms:
        # Arms are drawn as fitted boxes (5 x faster on a CPU) and touch nothing: contact is between the parts.
        geom.contype = geom.conaffinity = 0
        if geom.meshname and geom.meshname != "tabletop":
            geom.type = mujoco.mjtGeom.mjGEOM_BOX
            geom.rgba = [0.25, 0.25, 0.28, 1.0]


def _add_compliant_body(spec: mujoco.MjSpec, arm: str, name: str) -> mujoco.MjsBody:
    """A body in the gripper on three stiff slides and three stiff hinges: a firm grasp that gives a little."""
    body = spec.body(f"vx300s_{arm}/gripper_link").add_body(name=name, pos=_GRASP_POINT)
    body.gravcomp = 1.0
    axes = np.eye(3)
    for kind, stiffness, damping, armature in (
        (mujoco.mjtJoint.mjJNT_SLIDE, 3000.0, 20.0, 0.01),
        (mujoco.mjtJoint.mjJNT_HINGE, 4.0, 0.03, 2e-5),
    ):
        for axis, letter in zip(axes, "xyz", strict=True):
            label = "slide" if kind == mujoco.mjtJoint.mjJNT_SLIDE else "hinge"
            body.add_joint(
                name=f"{name}_{label}_{letter}",
                type=kind,
                axis=axis,
                stiffness=[stiffness, 0.0, 0.0],
                damping=[damping, 0.0, 0.0],
                armature=armature,
            )
    return body


def _contact(friction: float) -> dict[str, object]:
    return {
        "contype": 1,
        "conaffinity": 1,
        "condim": 4,
        "friction": [friction, 0.005, 0.0001],
        "solref": [0.004, 1.0],
        "solimp": [0.95, 0.99, 0.001, 0.5, 2.0],
    }


def _add_plug(body: mujoco.MjsBody, task: InsertionTask) -> None:
    half = task.plug_width / 2
    length = task.plug_length
    body.add_geom(
        name="plug",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[length / 2, half, half],
        pos=[length / 2, 0, 0],
        rgba=[0.9, 0.35, 0.1, 1],
        mass=0.03,
        **_contact(task.friction),
    )
    body.add_site(name="plug_tip", pos=[length, 0, 0], size=[0.001] * 3, rgba=[0, 0, 0, 0])


def _add_socket(body: mujoco.MjsBody, task: InsertionTask) -> None:
    hole = task.plug_width / 2 + task.clearance
    wall = task.wall / 2
    depth = task.socket_depth / 2
    colour = [0.15, 0.45, 0.85, 1]
    outer = hole + 2 * wall
    walls = {
        "top": ([depth, outer, wall], [depth, 0, hole + wall]),
        "bottom": ([depth, outer, wall], [depth, 0, -hole - wall]),
        "left": ([depth, wall, hole], [depth, hole + wall, 0]),
        "right": ([depth, wall, hole], [depth, -hole - wall, 0]),
        "back": ([wall, outer, outer], [-wall, 0, 0]),
    }
    for name, (size, pos) in walls.items():
        body.add_geom(
            name=f"socket_{name}",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=size,
            pos=pos,
            rgba=colour if name != "back" else [0.05, 0.05, 0.08, 1],
            mass=0.006,
            **_contact(task.friction),
        )
    body.add_site(name="socket_mouth", pos=[2 * depth, 0, 0], size=[0.001] * 3, rgba=[0, 0, 0, 0])


def _place_cameras(spec: mujoco.MjSpec) -> None:
    for camera in list(spec.cameras):
        if camera.name not in CAMERA_NAMES:
            spec.delete(camera)
    for arm in ARMS:
        # Aimed between the parts; 18 degrees over 0.3 m is about 1 mm a pixel at the plug with 96 pixels.
        spec.body(f"vx300s_{arm}/camera_focus").pos = [0.19, 0.0, 0.0]
        spec.camera(f"{arm}_wrist").fovy = 18.0
    spec.body("midair").pos = _MEETING_POINT
    spec.worldbody.add_camera(
        name="base",
        pos=[0.0, 0.15, 0.62],
        fovy=24.0,
        mode=mujoco.mjtCamLight.mjCAMLIGHT_TARGETBODY,
        targetbody="midair",
    )


def _paint_room(spec: mujoco.MjSpec) -> None:
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.78, 0.82, 0.86],
        rgb2=[0.55, 0.58, 0.62],
        width=64,
        height=64,
    )
    spec.geom("table").rgba = [0.42, 0.38, 0.34, 1.0]
