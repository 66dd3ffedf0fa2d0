"""A cable tie: its tip must find the slot of its head, and then go through it, tooth by tooth.

The right gripper holds the strap some centimetres behind its tip, the left one the head. The strap bends easily up and
down and hardly sideways, and is curled by its packing, otherwise in every episode: where its tip is must be seen.
Lengths in metres.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np

from rlt_ros.sim.names import CONTROL_PERIOD
from rlt_ros.sim.shapes import NO_CONTACT, Box, add_box, contact
from rlt_ros.sim.tasks.base import Array, Hand, Insertion, Mechanism, Part, Parts, Task

if TYPE_CHECKING:
    import mujoco

_LINKS, _LINK = 8, 0.0065
_ENDS = [f"link_{link}_end" for link in range(_LINKS)]
"""Sites, from the hand to the tip."""
_CLAMP = 0.012
"""Length of the strap between the fingers and the first link, m."""
_HALF_Y, _HALF_Z = 0.0030, 0.0008
_TAPER = 0.0006
"""By how much the tip's half width is less, m."""
_BEND, _STIFF = 0.25, 3.0
"""Of a joint up and down, and sideways, N m/rad: nylon of this thickness."""
_CURL = 0.027
"""Half range of the bend at each joint while nothing touches the strap, rad."""
_SLOT = 0.006
"""Length of the slot, m."""
_TOOTH = 0.001
_DRAG = 1.5
"""Newtons that the pawl needs to give way."""
_THROUGH = 0.030
"""Length of strap that must come out of the slot, m."""
_BUCKLED = 0.006
"""Commanded minus true depth at which a person sees that the strap bends aside, m."""
_MOUTH = 0.022
_BLACK, _WHITE, _GREY = (0.12, 0.12, 0.13), (0.92, 0.92, 0.90), (0.6, 0.62, 0.65)


class Strap(Mechanism):
    """A chain of boxes with two hinges each, and a pawl that slides with the strap in the slot, one way only.

    Attributes:
        teeth: that have gone through the ratchet.
    """

    loose = (Box((_CLAMP + _LINKS * _LINK / 2, 0.0, 0.0), (_LINKS * _LINK / 2, _HALF_Y, _HALF_Z), _WHITE),)

    def __init__(self) -> None:
        """A tie that is open."""
        self.teeth = 0
        self._play = 0.0
        self._inside = False

    def build(self, spec: mujoco.MjSpec, task: Task, parts: Parts) -> None:
        """See `Mechanism`."""
        import mujoco

        self._play = task.clearance
        touch = contact(0.15)
        body, at = spec.body("plug"), _CLAMP
        for link in range(_LINKS):
            body = body.add_body(name=f"link_{link}", pos=[at, 0, 0])
            body.gravcomp = 1.0
            for axis, letter, stiffness in (([0, 1, 0], "y", _BEND), ([0, 0, 1], "z", _STIFF)):
                armature = stiffness / 60.0**2  # a joint of 60 rad/s: as light as the physics' step allows
                body.add_joint(
                    name=f"link_{link}_{letter}",
                    type=mujoco.mjtJoint.mjJNT_HINGE,
                    axis=axis,
                    stiffness=[stiffness, 0, 0],
                    damping=[0.6 * stiffness / 60.0, 0, 0],
                    armature=armature,
                )
            taper = _TAPER if link == _LINKS - 1 else 0.0
            half = (_LINK / 2 - 0.0001, _HALF_Y - taper, _HALF_Z - taper / 4)
            body.add_site(name=f"link_{link}_end", pos=[_LINK, 0, 0], size=[0.001] * 3, rgba=[0, 0, 0, 0])
            add_box(body, f"link_{link}", Box((_LINK / 2, 0, 0), half, _WHITE), 0.0002, touch)
            at = _LINK
        pawl = spec.body("socket").add_body(name="pawl", pos=[parts.socket.reach, 0, 0])
        pawl.gravcomp = 1.0
        pawl.add_joint(
            name="pawl",
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=[-1, 0, 0],
            armature=0.01,
            damping=[1, 0, 0],
            frictionloss=_DRAG,
            limited=True,
            range=[0, 1],
            solref_limit=[0.004, 1.0],
            solimp_limit=[0.99, 0.999, 0.001, 0.5, 2.0],
        )
        add_box(pawl, "pawl", Box((0, 0, 0), (0.0002, 0.0002, 0.0002), _BLACK), 0.001, NO_CONTACT)
        pawl.add_site(name="pawl", pos=[0, 0, 0], size=[0.001] * 3, rgba=[0, 0, 0, 0])
        caught = spec.add_equality(
            name="caught",
            type=mujoco.mjtEq.mjEQ_CONNECT,
            objtype=mujoco.mjtObj.mjOBJ_SITE,
            name1="link_0_end",
            name2="pawl",
            active=False,
        )
        caught.solref, caught.solimp = [0.006, 1.0], [0.99, 0.999, 0.001, 0.5, 2.0]

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """See `Mechanism`."""
        self.teeth, self.done = 0, False
        self._inside = False
        model.joint("pawl").range = (0.0, 1.0)
        data.eq_active[model.equality("caught").id] = 0
        curl = rng.uniform(-1, 1) * _CURL
        for link in range(_LINKS):
            joint = model.joint(f"link_{link}_y")
            model.qpos_spring[joint.qposadr[0]] = data.qpos[joint.qposadr[0]] = curl

    def tip(self, data: mujoco.MjData) -> tuple[Array, Array]:
        """See `Mechanism`."""
        site = data.site(_ENDS[-1])
        return site.xpos.copy(), site.xmat.reshape(3, 3).copy()

    def step(self, model: mujoco.MjModel, data: mujoco.MjData, grip: float, place: Insertion) -> None:  # noqa: ARG002
        """See `Mechanism`."""
        if place.depth < _SLOT:
            room = np.array([_HALF_Y, _HALF_Z]) + self._play
            self._inside = place.depth > 0.0 and bool((np.abs(place.offset[1:]) < room).all())
        if self._inside and place.depth > _SLOT:
            self._pull_through(model, data)

    def _pull_through(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """The pawl holds the strap by the end of the link that is in the slot, and may only go with it."""
        mouth, out = data.site("socket_mouth").xpos, -data.site("socket_mouth").xmat.reshape(3, 3)[:, 0]
        depths = np.array([(data.site(end).xpos - mouth) @ out for end in _ENDS])
        link = int(np.flatnonzero(depths > _SLOT / 2)[0])
        before = (_LINKS - 1 - link) * _LINK
        self.teeth = max(self.teeth, int((depths[link] + before - _SLOT) / _TOOTH))
        self.done = self.teeth * _TOOTH >= _THROUGH
        pawl, caught = model.joint("pawl"), model.equality("caught").id
        pawl.range = (max(0.0, _SLOT + (self.teeth - 1) * _TOOTH - before), 1.0)
        if not data.eq_active[caught] or model.eq_obj1id[caught] != model.site(_ENDS[link]).id:
            model.eq_obj1id[caught], data.eq_active[caught] = model.site(_ENDS[link]).id, 1
            data.qpos[pawl.qposadr[0]] = depths[link]


def thread(hand: Hand) -> Generator[None]:
    """Look where the tip is, bring it before the slot, push; where it bends aside, go back and aim anew."""
    config, task = hand.config, hand.task
    while True:
        if hand.place.depth < _SLOT:
            aim, tilt = hand.aim()
            miss = aim[1:].copy()
            yield from hand.move(aim, tilt, config.speed)
            yield from hand.wait()
            # What is aimed is the hand; how far the tip is off from there is seen.
            aim[1:] -= hand.place.offset[1:] - miss
            yield from hand.move(aim, tilt, config.speed)
            yield from hand.wait()
        aim = hand.offset.copy()
        aim[0] = -task.success_depth - 0.008
        stuck = False
        through = hand.place.depth > _SLOT
        for _ in hand.move(aim, hand.tilt, config.insertion_speed * (2 if through else 1)):
            yield
            place = hand.place
            if place.depth > _SLOT and not through:
                break
            if place.depth < 0.002:
                aim[1:] -= place.offset[1:] * (CONTROL_PERIOD / config.correction)
            if -hand.offset[0] - place.depth > _BUCKLED:
                stuck = True
                break
        if not stuck:
            yield from hand.wait()
        if hand.place.depth > _SLOT:
            continue  # the ratchet holds it
        back = hand.offset.copy()
        back[0] = config.hover_gap
        yield from hand.move(back, hand.tilt, config.speed)


def _parts(clearance: float) -> Parts:
    y, z, wall = _HALF_Y + clearance, _HALF_Z + clearance, 0.003
    middle = _MOUTH - _SLOT / 2
    head = [Box((middle, 0.0, sign * (z + wall / 2)), (_SLOT / 2, y + wall, wall / 2), _BLACK) for sign in (-1, 1)] + [
        Box((middle, sign * (y + wall / 2), 0.0), (_SLOT / 2, wall / 2, z), _BLACK) for sign in (-1, 1)
    ]
    tab = Box((0.004, 0.0, -0.009), (0.012, 0.004, 0.0035), _GREY, solid=False)
    neck = Box((middle, 0.0, -0.008), (_SLOT / 2, 0.004, 0.004), _GREY, solid=False)
    strap = Box((_CLAMP / 2, 0.0, 0.0), (_CLAMP / 2, _HALF_Y, _HALF_Z), _WHITE)
    return Parts(
        plug=Part((strap,), reach=_CLAMP + _LINKS * _LINK, mass=0.005),
        socket=Part((*head, tab, neck), reach=_MOUTH, mass=0.01),
    )


TASK = Task(
    name="zip_tie",
    instruction="thread the cable tie through its head and pull it tight",
    parts=_parts,
    clearance=0.0005,
    mechanism=Strap,
    plan=thread,
    success_depth=_SLOT + _THROUGH,
    success_lateral=0.020,
    start_gap=(0.004, 0.060),
    start_lateral=0.008,
    start_angle=0.06,
    time_limit=15.0,
)
