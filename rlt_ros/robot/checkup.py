"""Does what is on the graph fit the description? Every joint's source, every controller, camera and stop box."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlt_ros.robot.draft import described_limits
from rlt_ros.robot.sections import Camera, Robot
from rlt_ros.robot.seen import Heard, Seen, rate_and_jitter
from rlt_ros.robot.wire import Wire, WireController, WireSource, robot_wire

_SLOWEST, _FASTEST = 20.0, 1200.0
_LATE = 0.1
"""Seconds that a message may take: what is older counts as silence."""
_OTHER_CLOCK = 1.0
"""Seconds of difference beyond which a clock is another one."""
_BEYOND = 0.2
"""Radians beyond a joint's limits at which nobody believes its unit."""
_TURN = 2 * np.pi + 0.1
_LATER = 0.025
"""Seconds by which a camera's pictures may come later than another's: more is no matter of the network's."""
_DEGREES = 180 / np.pi
_SKEW = 0.005
"""As `vla_node.max_camera_skew` has it where nothing is said."""


@dataclass(frozen=True)
class Finding:
    """Something that was looked at.

    Attributes:
        name: of source, controller, camera or stop box.
        ok: it fits.
        detail: what was found.
        remedy: what to do; empty where it fits.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def checkup(robot: Robot, seen: Seen, driver: str = "") -> Iterator[Finding]:
    """Look at everything.

    Args:
        robot: as described.
        seen: of the graph.
        driver: namespace of its driver, for names that are not absolute.
    """
    wire = robot_wire(robot)
    for source in wire.sources:
        yield from _source(source, seen, _absolute(source.topic, driver), wire)
    for controller in wire.controllers:
        yield _controller(controller, seen, _absolute(controller.topic, driver), _other_unit(controller, wire))
    for gripper, _ in wire.grippers:
        action = _absolute(gripper.action, driver)
        found = seen.gripper_actions.get(action)
        fits = found == gripper.kind
        yield Finding(
            f"gripper {gripper.name}",
            fits,
            f"{action}: {found or 'nobody offers it'}",
            "" if fits else "start its driver; compare action and kind in the description with `ros2 action list -t`",
        )
    yield from _cameras(robot.cameras, seen, driver, robot.camera_skew or _SKEW)
    for topic in robot.stops.topics:
        name = _absolute(topic, "/rlt")
        speakers = seen.stops.get(name, ())
        needed = bool(robot.stops.heartbeat)
        told = f"{name}: {', '.join(speakers) or 'nobody speaks'}"
        remedy = "connect the stop box: with a heartbeat its silence is a stop" if needed else ""
        yield Finding(f"stop box {topic}", bool(speakers) or not needed, told, "" if speakers else remedy)


def _absolute(name: str, driver: str) -> str:
    return name if name.startswith("/") else f"{driver.rstrip('/')}/{name}"


def _source(source: WireSource, seen: Seen, topic: str, wire: Wire) -> Iterator[Finding]:
    name, words = f"joint states {topic}", source.words
    joints = seen.joints.get(topic)
    messages = [message for message in joints.heard if set(words.names) & set(message.names)] if joints else []
    if joints is None or not messages:
        others = sorted(topic for topic, other in seen.joints.items() if other.heard)
        there = f"; there are joint states on {', '.join(others)}" if others else ""
        yield Finding(
            name, False, f"no message of {', '.join(words.names)}{there}", "start the driver, or correct topic"
        )
        return
    known = {theirs for message in messages for theirs in message.names}
    if missing := [theirs for theirs in words.names if theirs not in known]:
        yield Finding(
            name, False, f"{', '.join(missing)} are not among {', '.join(sorted(known))}", "correct the driver's names"
        )
        return
    yield _pace(name, messages, len(joints.publishers), sum(_absolute(s.topic, "") == topic for s in wire.sources))
    limits = {
        joint: (low, high) for text in seen.descriptions.values() for joint, low, high, _ in described_limits(text)
    }
    for theirs, ours, unit in zip(words.names, words.joints, words.units, strict=True):
        values = np.array([m.position[m.names.index(theirs)] for m in messages if theirs in m.names])
        yield _joint(ours, theirs, values, values * unit.scale + unit.offset, limits.get(theirs))


def _pace(name: str, messages: Sequence[Heard], publishers: int, sources: int) -> Finding:
    rate, jitter = rate_and_jitter([message.arrival for message in messages])
    age = float(np.median([message.arrival - message.stamp for message in messages]))
    velocity = "with" if messages[-1].velocity is not None else "without"
    detail = f"{rate:.0f} Hz, jitter {1e3 * jitter:.0f} ms, {1e3 * age:.1f} ms old, {velocity} velocities"
    if publishers > sources:
        return Finding(name, False, f"{detail}, {publishers} publishers", "two speak at once: stop the stray one")
    if not _SLOWEST <= rate <= _FASTEST:
        return Finding(name, False, detail, "25 to 1000 messages a second are flown")
    if abs(age) > _OTHER_CLOCK:
        return Finding(name, False, f"{detail}: its clock is another one", "put both computers on one clock (chrony)")
    if age > _LATE:
        return Finding(name, False, detail, "messages are late: is the network full, the driver busy?")
    return Finding(name, True, detail)


def _joint(ours: str, theirs: str, raw: Any, values: Any, limits: tuple[float, float] | None) -> Finding:
    name = f"joint {ours}"
    if not np.isfinite(values).all():
        return Finding(
            name, False, f"{theirs} says {raw[~np.isfinite(values)][0]}", "a joint without encoder cannot be flown"
        )
    at, furthest = float(values[-1]), float(np.abs(values).max())
    detail = f"{at:.3f}" + ("" if raw[-1] == values[-1] else f" ({theirs} says {raw[-1]:.3f})")
    if limits is not None and not limits[0] - _BEYOND <= at <= limits[1] + _BEYOND:
        ways = (
            "unit: deg" if limits[0] - _BEYOND <= np.radians(at) <= limits[1] + _BEYOND else "unit, or scale and offset"
        )
        return Finding(
            name, False, f"{detail} is beyond its {limits[0]:g} to {limits[1]:g} rad", f"correct its {ways} in sources"
        )
    if furthest > _TURN:
        return Finding(name, False, f"{detail} rad is more than a turn", "degrees? Write `unit: deg` in sources")
    return Finding(name, True, detail)


def _other_unit(controller: WireController, wire: Wire) -> str:
    """The joint that a controller takes in degrees where its source tells it in rad, or the other way round."""
    told = {
        joint: unit
        for source in wire.sources
        for joint, unit in zip(source.words.joints, source.words.units, strict=True)
    }
    for joint, unit in zip(controller.words.joints, controller.words.units, strict=True):
        ratio = abs(unit.scale / told[joint].scale)
        if np.isclose(max(ratio, 1 / ratio), _DEGREES, rtol=0.01):
            return joint
    return ""


def _controller(controller: WireController, seen: Seen, topic: str, other_unit: str) -> Finding:
    name, found = f"controller {topic}", seen.controllers.get(topic)
    if found is None or not found.subscribers:
        others = sorted(seen.controllers)
        there = f"; somebody listens on {', '.join(others)}" if others else ""
        return Finding(name, False, f"nobody listens{there}", "load and activate the controller, or correct topic")
    if found.interface != controller.interface:
        return Finding(name, False, f"it takes {found.interface}", f"write interface: {found.interface}")
    if found.active is False:
        return Finding(name, False, "it is not active", "`ros2 control switch_controllers --activate ...`")
    if found.publishers:
        return Finding(
            name, False, f"{', '.join(found.publishers)} commands already", "stop it: two would command one robot"
        )
    if found.joints is not None and found.joints != controller.words.names:
        same = set(found.joints) == set(controller.words.names)
        what = "its order is another one" if same else "its joints are others"
        wrong = ", ".join(found.joints)
        return Finding(name, False, f"{what}: {wrong}", f"write controllers' joints in this order ({wrong})")
    if other_unit:
        return Finding(
            name,
            False,
            f"{other_unit} is commanded in degrees and told in rad, or the other way round",
            "the first command would be a leap: write the same unit in sources and controllers",
        )
    active = "active" if found.active else "nobody tells whether it is active"
    order = "in our order" if found.joints is not None else "which does not tell its joints"
    return Finding(name, True, f"{', '.join(found.subscribers)} listens, {order}; {active}")


def _cameras(cameras: Sequence[Camera], seen: Seen, driver: str, skew: float) -> Iterator[Finding]:
    stamps: dict[str, Any] = {}
    ages: dict[str, float] = {}
    for camera in cameras:
        topic = _absolute(camera.topic, driver)
        found = seen.cameras.get(topic)
        name = f"camera {camera.name}"
        if found is None or len(found.times) < 3:
            there = ", ".join(sorted(topic for topic, other in seen.cameras.items() if other.times))
            yield Finding(
                name, False, f"no pictures on {topic}; there are {there or 'none'}", "start it, or correct topic"
            )
            continue
        arrivals, stamped = np.array(found.times).T
        rate, jitter = rate_and_jitter(list(arrivals))
        age = float(np.median(arrivals - stamped))
        size = f"{found.size[0]}x{found.size[1]} " if found.size[0] else ""
        detail = f"{rate:.0f} Hz, jitter {1e3 * jitter:.0f} ms, {1e3 * age:.0f} ms old, {size}{found.encoding}"
        late = age > _LATE
        stamps[camera.name], ages[camera.name] = stamped, age
        yield Finding(
            name, not late, detail, "its pictures are old when they come, or its clock is another one" if late else ""
        )
    first = next(iter(stamps), "")
    for name, times in list(stamps.items())[1:]:
        apart = float(np.median([np.abs(times - at).min() for at in stamps[first]]))
        told = f"{name} is {1e3 * apart:.1f} ms from {first}, camera_skew is {1e3 * skew:.0f} ms"
        remedy = "synchronise the cameras, or widen camera_skew if the task bears it"
        yield Finding(f"skew {name}", apart <= skew, told, "" if apart <= skew else remedy)
    # Stamps that are late by a picture's time look like the next picture's: only their age tells.
    quickest = min(ages, key=lambda name: ages[name], default="")
    for name, age in ages.items():
        if (later := age - ages[quickest]) > _LATER:
            yield Finding(
                f"delay {name}",
                False,
                f"its pictures come {1e3 * later:.0f} ms later after their stamps than those of {quickest}",
                "the VLA waits for the last one: a smaller picture, a bus of its own, or stamps of the exposure",
            )


@dataclass(frozen=True)
class Answer:
    """How a joint answered to a small motion.

    Attributes:
        joint: ours.
        share: of the asked way that it went; negative: the other way.
        lag: seconds by which it came later.
        others: joints that moved though they were not asked.
    """

    joint: str
    share: float
    lag: float
    others: tuple[str, ...] = ()


def answered(joint: str, asked: Any, measured: Any, period: float, others: tuple[str, ...] = ()) -> Answer:
    """What a joint made of a motion.

    Args:
        joint: that was asked.
        asked: its targets, shape (T,).
        measured: its positions at the same moments, shape (T,).
        period: between them, s.
        others: joints that moved too.
    """
    way, went = asked - asked[0], measured - measured[0]
    power = float(way @ way)
    shifts = range(min(len(way) // 2, int(0.5 / period)) + 1)
    fits = [float(way[: len(way) - k] @ went[k:]) for k in shifts]
    best = int(np.argmax(np.abs(fits)))
    return Answer(joint, fits[best] / power if power else 0.0, best * period, others)


def judged(answer: Answer, velocity: float, following: float) -> Finding:
    """Whether a joint answers as it must.

    Args:
        answer: what it did.
        velocity: its limit, rad/s.
        following: its limit, rad; 0: none.
    """
    name = f"moves {answer.joint}"
    detail = f"{100 * answer.share:.0f} % of the way, {1e3 * answer.lag:.0f} ms later"
    if answer.others and abs(answer.share) < 0.5:
        return Finding(
            name, False, f"{', '.join(answer.others)} moved instead", "the order of the controller's joints is wrong"
        )
    if abs(answer.share) < 0.3:
        return Finding(name, False, detail, "it does not answer: is its controller active, the robot enabled?")
    if answer.share < 0:
        return Finding(name, False, f"{detail}, the other way", "its sign is wrong: scale -1 in sources or controllers")
    if not 0.6 < answer.share < 1.5:
        return Finding(name, False, detail, "its unit in states and commands is not the same")
    if following and answer.lag * velocity > following:
        return Finding(
            name, False, f"{detail}: {answer.lag * velocity:.2f} rad at full speed", "raise its limits.following"
        )
    return Finding(name, True, detail)
