"""An M3 screw on the bit of an electric screwdriver, and a threaded hole.

The right gripper holds the screwdriver and squeezes its trigger: held at an opening of 0.3, full speed at 0.
The thread takes hold only where the screw stands in the hole, straight, pressed within a window, and turns. Then its
depth follows its angle, and the hand must follow the screw. Turned without that, the bit slips and the screw wears.
Lengths in metres.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np

from rlt_ros.sim.names import CONTROL_PERIOD
from rlt_ros.sim.shapes import NO_CONTACT, Box, add_box, contact, holes
from rlt_ros.sim.tasks.base import Hand, Insertion, Mechanism, Part, Parts, Task

if TYPE_CHECKING:
    import mujoco

_RADIUS = 0.0015
_CHAMFER = 0.0004
_PITCH = 0.0005
_RECESS = 0.002
"""Depth at which the thread begins, m."""
_IN_THE_HOLE = _RECESS - 0.0005
"""Depth from which on the screw stands in the hole, m."""
_THREAD = 0.0040
"""Length of the thread, m; then the head sits on the part."""
_GRIP = 0.3
_SPEED = 2 * np.pi * 6
"""At full squeeze, rad/s."""
_TORQUE = 0.08
"""Where the clutch of the screwdriver lets go, N m."""
_FRICTION = 0.004
"""Of the thread, N m."""
_BITE = np.pi / 2
"""Turn under good conditions after which the thread has taken hold, rad."""
_STRAIGHT = 0.06
"""Tilt beyond which it takes no hold, rad."""
_PRESS = (1.0, 20.0)
"""Newtons between which the bit stays in the screw's head without camming out."""
_TORN = 10.0
"""Newtons of pull that tear a screw that has taken hold off the bit."""
_WORN = 2 * np.pi * 8
"""Turn of a slipping bit that spoils the screw, rad."""
_FIRM = 4.0
"""Newtons with which a person presses."""
_LIGHT = 2.5
"""The same while feeling for the hole."""
_SLIDE = 0.003
"""Metres a second that the screw slides over the part at most."""
_PATIENCE = 2.5
"""Seconds of feeling after which a person aims anew."""
_YIELD = 0.002
"""Metres a second that a hand moves for each newton that is missing."""
_GIVE_UP = 0.8
"""Seconds of turning without progress after which a person aims anew."""
_SETTLE = 0.3
"""Seconds in which a person presses firmly before the trigger is squeezed: who pushes and turns at once pushes on."""
_GENTLE = 0.2
"""Opening of the gripper at which a person squeezes least."""
_SQUEEZE = 1.0
"""Seconds in which a person would squeeze an open gripper shut."""
_BODY, _SHANK, _HEAD, _SCREW = 0.024, 0.042, 0.045, 0.053
_DEPTH = 0.024
_YELLOW, _STEEL, _DARK, _GREY = (0.95, 0.75, 0.1), (0.75, 0.76, 0.78), (0.2, 0.2, 0.22), (0.35, 0.4, 0.5)


class Thread(Mechanism):
    """A nut that slides in the hole with the screw's angle, once it has been caught; a motor; a bit that slips.

    Attributes:
        engaged: the thread has taken hold.
        slipped: how far the bit has slipped, rad.
    """

    grip = _GRIP

    def __init__(self) -> None:
        """A screw that is new."""
        self.engaged = False
        self.slipped = 0.0
        self._turned = 0.0

    def build(self, spec: mujoco.MjSpec, task: Task, parts: Parts) -> None:  # noqa: ARG002
        """See `Mechanism`."""
        import mujoco

        axis = [1, 0, 0]
        screw = spec.body("plug").add_body(name="screw")
        screw.gravcomp = 1.0
        hinge = mujoco.mjtJoint.mjJNT_HINGE
        screw.add_joint(
            name="screw", type=hinge, axis=axis, damping=[1e-5, 0, 0], armature=1e-4, frictionloss=_FRICTION
        )
        for kind, name, radius, end in (
            (mujoco.mjtGeom.mjGEOM_CYLINDER, "thread", _RADIUS, _SCREW - _CHAMFER),
            (mujoco.mjtGeom.mjGEOM_CAPSULE, "end", _RADIUS - _CHAMFER, _SCREW - _RADIUS + _CHAMFER),
        ):
            screw.add_geom(
                name=f"screw_{name}",
                type=kind,
                fromto=[_HEAD, 0, 0, end, 0, 0],
                size=[radius, 0, 0],
                rgba=[*_STEEL, 1.0],
                mass=0.001,
                **contact(0.2),
            )
        slot = Box(((_SHANK + _HEAD) / 2, 0.0021, 0.0), ((_HEAD - _SHANK) / 2, 0.0008, 0.0008), _DARK)
        add_box(screw, "screw_slot", slot, 0.001, NO_CONTACT)
        screw.add_site(name="screw_tip", pos=[_SCREW, 0, 0], size=[0.001] * 3, rgba=[0, 0, 0, 0])
        nut = spec.body("socket").add_body(name="nut", pos=[parts.socket.reach - _RECESS, 0, 0])
        nut.gravcomp = 1.0
        slide = mujoco.mjtJoint.mjJNT_SLIDE
        way = {"limited": True, "range": [0, _THREAD]}
        nut.add_joint(name="nut", type=slide, axis=[-1, 0, 0], armature=0.01, damping=[1, 0, 0], **way)
        add_box(nut, "nut", Box((-0.001, 0, 0), (0.001, 0.003, 0.003), _DARK), 0.002, contact(0.2))
        nut.add_site(name="nut", pos=[0, 0, 0], size=[0.001] * 3, rgba=[0, 0, 0, 0])
        caught = spec.add_equality(
            name="caught",
            type=mujoco.mjtEq.mjEQ_CONNECT,
            objtype=mujoco.mjtObj.mjOBJ_SITE,
            name1="screw_tip",
            name2="nut",
            active=False,
        )
        caught.solref = [0.006, 1.0]
        pitch = spec.add_equality(
            name="pitch",
            type=mujoco.mjtEq.mjEQ_JOINT,
            objtype=mujoco.mjtObj.mjOBJ_JOINT,
            name1="nut",
            name2="screw",
        )
        pitch.data[:5] = 0.0
        # MuJoCo softens a joint constraint by the inertia of both joints: the light screw would make it yield.
        pitch.solref, pitch.solimp = [0.004, 1.0], [0.999, 0.9999, 0.001, 0.5, 2.0]
        motor = spec.add_actuator(name="screwdriver", target="screw", trntype=mujoco.mjtTrn.mjTRN_JOINT)
        motor.set_to_velocity(kv=0.02)
        motor.forcelimited, motor.forcerange = True, [-_TORQUE, _TORQUE]

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:  # noqa: ARG002
        """See `Mechanism`."""
        self.engaged, self.done, self.lost = False, False, False
        self.slipped = self._turned = 0.0
        model.eq_data[model.equality("pitch").id, :2] = 0.0
        data.eq_active[model.equality("caught").id] = 0
        model.joint("screw").frictionloss = _FRICTION

    def step(self, model: mujoco.MjModel, data: mujoco.MjData, grip: float, place: Insertion) -> None:
        """See `Mechanism`."""
        speed = _SPEED * float(np.clip(1 - grip / _GRIP, 0, 1))
        turn = speed * CONTROL_PERIOD
        pressed = _PRESS[0] <= place.press <= _PRESS[1]
        straight = place.angle <= _STRAIGHT
        motor = model.actuator("screwdriver").id
        data.ctrl[motor] = speed
        holds = True
        if self.engaged:
            self.lost |= place.press < -_TORN
            holds = pressed and straight
            seated = float(data.joint("nut").qpos[0]) > _THREAD - 0.0002
            if seated:
                model.joint("screw").frictionloss = 2 * _TORQUE
            self.done |= seated and float(data.actuator_force[motor]) > 0.9 * _TORQUE
        elif place.press > _PRESS[0]:
            holds = pressed and straight and place.depth > _IN_THE_HOLE
            self._turned = self._turned + turn if holds else 0.0
            if self._turned > _BITE:
                self._catch(model, data)
        model.actuator_forcerange[motor] = np.array([-1, 1]) * (_TORQUE if holds else 0.0)
        if not holds:
            self.slipped += turn
        self.lost |= self.slipped > _WORN

    def _catch(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self.engaged = True
        rate = _PITCH / (2 * np.pi)
        model.eq_data[model.equality("pitch").id, :2] = -rate * float(data.joint("screw").qpos[0]), rate
        data.eq_active[model.equality("caught").id] = 1


def drive(hand: Hand) -> Generator[None]:
    """Aim, touch, feel for the hole, press, turn, follow; what takes no hold is left, and aimed at anew."""
    config, task = hand.config, hand.task
    while True:
        if hand.place.depth < _RECESS / 2:
            hand.grip = _GRIP
            aim, tilt = hand.aim()
            yield from hand.move(aim, tilt, config.speed)
            yield from hand.wait()
            aim[0] = -task.success_depth
            for _ in hand.move(aim, tilt, config.insertion_speed):
                yield
                aim[1:] *= np.exp(-CONTROL_PERIOD / config.correction)
                if hand.place.press > _LIGHT:
                    break
            yield from _feel(hand)
            yield from hand.wait()
        if hand.place.depth > _IN_THE_HOLE:
            for _ in range(round(_SETTLE / CONTROL_PERIOD)):
                yield from _follow(hand, _FIRM)
        since, depth, squeezed = 0.0, hand.place.depth, hand.rng.uniform(0.0, _GENTLE)
        while since < _GIVE_UP and hand.place.depth > _IN_THE_HOLE:
            hand.grip = max(squeezed, hand.grip - CONTROL_PERIOD / _SQUEEZE)
            yield from _follow(hand, _FIRM)
            since += CONTROL_PERIOD
            if hand.place.depth > depth + _PITCH / 2:
                since, depth = 0.0, hand.place.depth
        if hand.place.depth > _RECESS + 2 * _PITCH:
            continue  # it has taken hold: going back would tear it off
        while hand.grip < _GRIP:
            hand.grip = min(_GRIP, hand.grip + CONTROL_PERIOD / _SQUEEZE)
            yield
        yield from hand.wait()
        back = hand.offset.copy()
        back[0] = config.hover_gap
        yield from hand.move(back, hand.tilt, config.speed)


def _feel(hand: Hand) -> Generator[None]:
    """Slide over the part to the hole, pressing lightly, until the screw drops into it or patience ends."""
    felt = 0.0
    while hand.place.depth < _IN_THE_HOLE and felt < _PATIENCE:
        yield from _follow(hand, _LIGHT)
        felt += CONTROL_PERIOD
        miss = hand.place.offset[1:]
        way = np.linalg.norm(miss)
        step = min(_SLIDE * CONTROL_PERIOD, way * CONTROL_PERIOD / hand.config.correction * 3)
        hand.offset = hand.offset - np.array([0.0, *(step / max(way, 1e-9) * miss)])


def _follow(hand: Hand, force: float) -> Generator[None]:
    """A tick of pressing with so many newtons, wherever the screw goes."""
    speed = np.clip((force - hand.place.press) * _YIELD, -hand.config.insertion_speed, hand.config.insertion_speed)
    hand.offset = hand.offset - np.array([CONTROL_PERIOD * speed, 0.0, 0.0])
    yield


def _parts(clearance: float) -> Parts:
    hole = _RADIUS + clearance
    driver = (
        Box((_BODY / 2, 0.0, 0.0), (_BODY / 2, 0.008, 0.006), _YELLOW),
        Box(((_BODY + _SHANK) / 2, 0.0, 0.0), ((_SHANK - _BODY) / 2, 0.0025, 0.0025), _DARK),
        Box(((_SHANK + _HEAD) / 2, 0.0, 0.0), ((_HEAD - _SHANK) / 2, 0.0027, 0.0027), _STEEL),
        Box(((_HEAD + _SCREW) / 2, 0.0, 0.0), ((_SCREW - _HEAD) / 2, 0.0010, 0.0010), _STEEL, solid=False),
    )
    return Parts(
        plug=Part(driver, reach=_SCREW, mass=0.05),
        socket=Part(tuple(holes([0.0], hole, hole, _DEPTH, 0.008, _GREY)), reach=_DEPTH),
    )


TASK = Task(
    name="screw",
    instruction="drive the screw into the threaded hole",
    parts=_parts,
    clearance=0.0006,
    mechanism=Thread,
    plan=drive,
    success_depth=_RECESS + _THREAD - 0.0005,
    success_lateral=0.002,
    start_gap=(0.004, 0.060),
    start_lateral=0.006,
    start_angle=0.06,
    grasp_angle=0.04,
    time_limit=15.0,
)
