"""The cell as a MuJoCo model: arms, parts, cameras.

The robot is gym-aloha's pair of ViperX arms, mended for position control: the asset's joint friction
(30-60 Nm) and soft wrists (kp 10) are replaced by figures under which the arms follow a 50 Hz command.
"""

from __future__ import annotations

import importlib.resources

import mujoco
import numpy as np

from rlt_ros.sim.looks import FOR_PEOPLE, dress, dress_arms
from rlt_ros.sim.names import ARM_JOINTS, ARMS, CAMERA_NAMES
from rlt_ros.sim.shapes import NO_CONTACT, Box, add_box, contact
from rlt_ros.sim.tasks.base import Mechanism, Part, Task

PHYSICS_STEP = 0.002
"""Seconds of a physics step."""
_ARM_KP = (400.0, 800.0, 400.0, 100.0, 100.0, 60.0)
_FINGER = (0.036, 0.004, 0.007)
"""Half lengths of a finger as the policy's cameras see it, m."""
MEETING_POINT = np.array([0.0, 0.5, 0.30])
"""Where plug and socket are brought together."""
GRASP_POINT = np.array([0.150, 0.0, 0.0])
"""Where a part sits, in the frame of gripper_link: x points out of the gripper."""
STAND = np.array([0.095, 0.5, 0.18])
"""Where the plug stands on the table in the full setting; the socket stands opposite."""
ARM_OF = {"plug": "right", "socket": "left"}
"""The arm that holds each part."""
GRASP_STIFFNESS = 3000.0
"""How a held part gives way along each axis, N/m."""


def build_spec(task: Task, mechanism: Mechanism | None = None, *, dressed: bool = False) -> mujoco.MjSpec:
    """The whole cell for a task, with what moves inside its parts, ready to compile; `dressed` for people to see."""
    assets = importlib.resources.files("gym_aloha") / "assets"
    spec = mujoco.MjSpec.from_file(str(assets / "bimanual_viperx_transfer_cube.xml"))
    spec.delete(spec.body("box"))
    for key in list(spec.keys):
        spec.delete(key)
    spec.compiler.inertiagrouprange = [0, 5]
    spec.option.timestep = PHYSICS_STEP
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.visual.global_.offwidth = spec.visual.global_.offheight = 640
    spec.visual.quality.shadowsize = 0
    spec.visual.quality.offsamples = 0
    if dressed:
        dress_arms(spec)
    _mend_arms(spec)
    parts = task.parts(task.clearance)
    mechanism = mechanism or task.mechanism()
    for name, arm in ARM_OF.items():
        part: Part = getattr(parts, name)
        body = _add_compliant_body(spec, arm, name)
        _add_boxes(body, part, task.friction)
        front = "plug_tip" if name == "plug" else "socket_mouth"
        body.add_site(name=front, pos=[part.reach, 0, 0], size=[0.001] * 3, rgba=[0, 0, 0, 0])
        gripper = spec.body(f"vx300s_{arm}/gripper_link")
        gripper.add_site(name=f"{arm}_grasp", pos=GRASP_POINT, size=[0.001] * 3, rgba=[0, 0, 0, 0])
        loose = mechanism.loose if name == "plug" else ()
        _add_stand(spec, name, (*part.boxes, *loose), seen=task.setting == "full")
    mechanism.build(spec, task, parts)
    _place_cameras(spec)
    _paint_room(spec)
    if dressed:
        dress(spec)
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
    for geom in list(spec.geoms):
        # Arms are drawn as fitted boxes (5 x faster on a CPU) and touch nothing: contact is between the parts.
        geom.contype = geom.conaffinity = 0
        if geom.group != FOR_PEOPLE and geom.meshname and geom.meshname != "tabletop":
            geom.type = mujoco.mjtGeom.mjGEOM_BOX
            geom.rgba = [0.25, 0.25, 0.28, 1.0]
            if geom.parent.name.endswith("finger_link"):
                # A box around the mesh would hide from the wrist camera what the fingers hold.
                side = -1.0 if "left_finger" in geom.parent.name else 1.0
                geom.meshname, geom.size = "", _FINGER
                geom.pos, geom.quat = [_FINGER[0], 0.012 * side, 0.0], [1.0, 0.0, 0.0, 0.0]


def _add_compliant_body(spec: mujoco.MjSpec, arm: str, name: str) -> mujoco.MjsBody:
    """A body in the gripper on three stiff slides and three stiff hinges: a firm grasp that gives a little."""
    body = spec.body(f"vx300s_{arm}/gripper_link").add_body(name=name, pos=GRASP_POINT)
    body.gravcomp = 1.0
    axes = np.eye(3)
    for kind, stiffness, damping, armature in (
        (mujoco.mjtJoint.mjJNT_SLIDE, GRASP_STIFFNESS, 20.0, 0.01),
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


def _add_boxes(body: mujoco.MjsBody, part: Part, friction: float) -> None:
    for index, box in enumerate(part.boxes):
        touch = contact(friction) if box.solid else NO_CONTACT
        add_box(body, f"{body.name}_{index}", box, part.mass / len(part.boxes), touch)


def _add_stand(spec: mujoco.MjSpec, name: str, boxes: tuple[Box, ...], *, seen: bool) -> None:
    """The part's copy on the table, and the post under it."""
    body = spec.worldbody.add_body(name=f"{name}_on_table", pos=STAND * (1 if name == "plug" else -1, 1, 1))
    if not seen:
        return
    for index, box in enumerate(boxes):
        add_box(body, f"{name}_on_table_{index}", box, 0.0, NO_CONTACT)
    low = min(box.centre[2] - box.half[2] for box in boxes)
    height = (STAND[2] + low) / 2
    post = Box((0.012, 0.0, low - height), (0.006, 0.006, height), (0.3, 0.3, 0.3))
    add_box(body, f"{name}_stand", post, 0.0, NO_CONTACT)


def _place_cameras(spec: mujoco.MjSpec) -> None:
    for camera in list(spec.cameras):
        if camera.name not in CAMERA_NAMES:
            spec.delete(camera)
    for arm in ARMS:
        # Aimed between the parts; 10.5 degrees over 0.37 m is 0.7 mm a pixel at the plug with 96 pixels.
        spec.body(f"vx300s_{arm}/camera_focus").pos = [0.205, 0.0, 0.0]
        spec.camera(f"{arm}_wrist").fovy = 10.5
    spec.body("midair").pos = MEETING_POINT - (0.0, 0.0, 0.05)
    spec.worldbody.add_camera(
        name="base",
        pos=[0.0, 0.10, 0.62],
        fovy=42.0,
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
