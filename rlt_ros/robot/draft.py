"""A first robot.yaml: from what is on the graph, or from a parameter file of before. It says what it could not know."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import numpy as np
import yaml

from rlt_ros.config import ConfigError, from_mapping
from rlt_ros.control.config import ExecutorParameters
from rlt_ros.robot.seen import Seen, rate_and_jitter
from rlt_ros.teleop.config import TeleopParameters, arm_slots

_GRIPPER = re.compile(r"gripper|finger|jaw|knuckle", re.IGNORECASE)
_MOST = 2 * np.pi + 0.1
"""Beyond a turn a position is likely to be in degrees."""
_RATE = 50
_SLOW = 0.1
"""Share of what a joint can do that a first description allows."""
_HEAD = """\
# {origin}
# Look at every line, and twice at those that say LOOK; docs/robot_yaml.md explains the sections.
"""


@dataclass
class Draft:
    """A description in the making.

    Attributes:
        origin: where it comes from.
        sections: as they are written.
        notes: what it could not know, by section.
    """

    origin: str
    sections: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    def note(self, section: str, text: str) -> None:
        """Something that a person must look at."""
        self.notes.setdefault(section, []).append(text)

    @property
    def told(self) -> list[str]:
        """All notes, for people."""
        return [f"{section}: {text}" for section, texts in self.notes.items() for text in texts]

    def text(self) -> str:
        """The file."""
        parts = [_HEAD.format(origin=self.origin)]
        for section, value in self.sections.items():
            lines = [f"# LOOK {text}" for text in self.notes.get(section, [])]
            flat = not isinstance(value, (dict, list))
            style = False if flat else None
            body = yaml.dump({section: value}, Dumper=_Dumper, sort_keys=False, width=110, default_flow_style=style)
            parts.append("\n".join([*lines, body]))
        return "\n".join(parts)


class _Dumper(yaml.SafeDumper):
    """Without references to what was said before."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def from_graph(seen: Seen, name: str) -> Draft:
    """A draft from what drivers say.

    Args:
        seen: of the graph.
        name: of the robot.

    Raises:
        ConfigError: there are no joint states.
    """
    told = {topic: joints for topic, joints in seen.joints.items() if joints.heard}
    if not told:
        raise ConfigError("nobody publishes joint states: start the robot's driver, and look at ROS_DOMAIN_ID")
    draft = Draft("Written by `rlt init robot` from what was on the graph.")
    pairs = [(topic, name) for topic, joints in told.items() for names in joints.groups for name in names]
    pairs = list(dict.fromkeys(pairs))
    flown, leaders = _flown(draft, pairs, seen)
    used = _our_names(flown)
    controllers = _controllers(draft, seen, used)
    draft.sections["name"] = name
    draft.note("name", "write the name that the bundle has as `robot`")
    draft.sections["rate"] = _rate(seen, [pair for pair in used if not _GRIPPER.search(pair[1])] or list(used))
    draft.sections["arms"] = _arms(draft, used, controllers)
    grippers = {arm["gripper"] for arm in draft.sections["arms"].values() if "gripper" in arm}
    _grippers(draft, seen, grippers, {name for c in controllers for name in c["joints"]})
    draft.sections["limits"] = _limits(draft, seen, used, grippers)
    draft.sections["sources"] = _sources(draft, seen, used)
    degrees = {name for it in draft.sections["sources"] if it.get("unit") == "deg" for name in _values(it["joints"])}
    for controller in controllers:
        if degrees.issuperset(controller["joints"]):
            controller["unit"] = "deg"
            draft.note("controllers", f"{controller['topic']}: in degrees too?")
    draft.sections["controllers"] = controllers
    if leaders:
        draft.sections["leaders"] = _leaders(draft, leaders, seen, used)
    if seen.cameras:
        draft.sections["cameras"] = _cameras(draft, seen)
    if stops := [topic for topic in seen.stops if "stop" in topic.lower()]:
        draft.sections["stops"] = {"topics": stops}
        draft.note(
            "stops", "are these stop boxes whose `true` means pressed? `heartbeat: 0.5` makes their silence a stop"
        )
    return draft


def _rate(seen: Seen, pairs: Sequence[Pair]) -> int:
    """Fifty commands a second, or as many as the slowest source of an arm has states."""
    rates = [rate_and_jitter([m.arrival for m in seen.joints[topic].of(name)])[0] for topic, name in pairs]
    slowest = min((rate for rate in rates if rate), default=0.0)
    return _RATE if not slowest or slowest > 0.9 * _RATE else max(5, round(slowest))


Pair = tuple[str, str]
"""A topic of joint states, and a driver's name on it."""


def _flown(draft: Draft, pairs: list[Pair], seen: Seen) -> tuple[list[Pair], list[str]]:
    """The joints that controllers move, with grippers; and the topics of leader arms, which say the same names."""
    moved: list[Pair] = []
    for controller in seen.controllers.values():
        for theirs in controller.joints or ():
            several = [pair for pair in pairs if pair[1] == theirs]
            same = [pair for pair in several if _first(pair[0]) == _first(controller.topic)]
            moved += (same or several)[:1]
    if not moved:
        return pairs, []
    names, topics = {name for _, name in moved}, {topic for topic, _ in moved}
    other = dict.fromkeys(topic for topic, _ in pairs if topic not in topics)
    leaders = [topic for topic in other if {name for there, name in pairs if there == topic} <= names]
    flown, left = [pair for pair in pairs if pair in moved], []
    for topic, name in pairs:
        if (topic, name) in moved or topic in leaders:
            continue
        # A hand's fingers move as one; joints that nobody moves are none of ours.
        another = any(there == topic and _GRIPPER.search(told) for there, told in flown)
        if _GRIPPER.search(name) and not another:
            flown.append((topic, name))
        else:
            left.append(name)
    if left:
        draft.note("sources", f"left out, since no controller moves them: {', '.join(left)}")
    return flown, leaders


def _our_names(pairs: list[Pair]) -> dict[Pair, str]:
    """A name of several topics gets their namespace in front."""
    counts = [name for _, name in pairs]
    return {(topic, name): f"{_place(topic)}_{name}" if counts.count(name) > 1 else name for topic, name in pairs}


def _values(joints: list[str] | dict[str, str]) -> list[str]:
    return list(joints.values()) if isinstance(joints, dict) else joints


def _first(topic: str) -> str:
    return topic.strip("/").split("/")[0]


def _leaders(draft: Draft, topics: list[str], seen: Seen, used: Mapping[Pair, str]) -> list[dict[str, Any]]:
    out = []
    for topic in topics:
        ours = {name: joint for (_, name), joint in used.items()}
        mine = {(topic, name): ours[name] for names in seen.joints[topic].groups for name in names}
        out += _sources(draft, seen, mine)
        draft.note("leaders", f"{topic} has the same joints and moves nothing: a leader arm? Otherwise leave it out")
    return out


def _place(topic: str) -> str:
    parts = topic.strip("/").split("/")
    return parts[-2] if len(parts) > 1 else "robot"


def _controllers(draft: Draft, seen: Seen, used: Mapping[tuple[str, str], str]) -> list[dict[str, Any]]:
    out, taken = [], set[str]()
    for controller in seen.controllers.values():
        if controller.joints is None:
            draft.note("controllers", f"{controller.topic} does not tell its joints: which are they, in which order?")
            continue
        joints = [_ours(used, controller.topic, theirs) for theirs in controller.joints]
        known = [joint for joint in joints if joint]
        if len(known) < len(joints) or taken.intersection(known):
            draft.note(
                "controllers", f"{controller.topic} is left out: it moves the same joints, or some that nobody tells of"
            )
            continue
        taken |= set(known)
        out.append({"topic": controller.topic, "interface": controller.interface, "joints": known})
    if not out:
        draft.note("controllers", "none was found: load and activate one (forward_position or joint_trajectory)")
    return out


def _ours(used: Mapping[tuple[str, str], str], near: str, theirs: str) -> str:
    """Our name of a driver's joint; of several that of the same namespace."""
    found = [(topic, joint) for (topic, name), joint in used.items() if name == theirs]
    same = [joint for topic, joint in found if _first(topic) == _first(near)]
    return (same or [joint for _, joint in found] or [""])[0]


def _arms(
    draft: Draft, used: Mapping[tuple[str, str], str], controllers: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    groups = [list(controller["joints"]) for controller in controllers] or [list(used.values())]
    groups = [part for group in groups for part in _by_side(group)]
    grippers = [joint for joint in used.values() if _GRIPPER.search(joint)]
    arms: dict[str, dict[str, Any]] = {}
    for group in groups:
        joints = [joint for joint in group if joint not in grippers]
        if not joints:
            continue
        name = _common(joints) or ("arm" if not arms else f"arm_{len(arms) + 1}")
        arms[name] = {"joints": joints}
    for gripper in grippers:
        near = max(arms, key=lambda name: len(_common([gripper, *arms[name]["joints"]])), default="")
        if near and "gripper" not in arms[near]:
            arms[near]["gripper"] = gripper
        else:
            draft.note("arms", f"whose gripper is {gripper}?")
    return arms


def _by_side(joints: list[str]) -> list[list[str]]:
    """One controller of two arms: joints that begin with left or right are one each."""
    sides: dict[str, list[str]] = {}
    for joint in joints:
        found = re.match(r"(left|right)", joint)
        sides.setdefault(found.group(1) if found else "", []).append(joint)
    return list(sides.values())


def _common(names: list[str]) -> str:
    """What names begin with alike, whole words of it."""
    parts = [name.split("_") for name in names]
    alike = []
    for words in zip(*parts, strict=False):
        if len(set(words)) > 1:
            break
        alike.append(words[0])
    return "_".join(alike)


def _grippers(draft: Draft, seen: Seen, grippers: set[str], controlled: set[str]) -> None:
    if not grippers:
        return
    section: dict[str, Any] = {}
    free = dict(seen.gripper_actions)
    for gripper in sorted(grippers):
        section[gripper] = {"closed": 0.0, "open": 1.0}
        if gripper not in controlled and free:
            action = max(free, key=lambda name: len(_common([gripper, name.strip("/").replace("/", "_")])))
            section[gripper] |= {"action": action, "kind": free.pop(action)}
    draft.sections["grippers"] = section
    draft.note("grippers", "what does the driver say when a gripper is closed, and when it is open?")


def _limits(
    draft: Draft, seen: Seen, used: Mapping[tuple[str, str], str], grippers: set[str]
) -> dict[str, dict[str, float]]:
    known: dict[str, dict[str, float]] = {}
    for text in seen.descriptions.values():
        for name, low, high, fastest in described_limits(text):
            known.setdefault(name, {"low": low, "high": high, "velocity": round(_SLOW * fastest, 4)})
    out: dict[str, dict[str, float]] = {"all": {"following": 0.1}}
    unknown: list[str] = []
    for (_, theirs), joint in used.items():
        if joint in grippers:
            continue
        out[joint] = known.get(theirs, {"low": -3.14, "high": 3.14, "velocity": 0.3})
        if theirs not in known:
            unknown.append(joint)
    if unknown:
        draft.note("limits", f"nobody tells those of {', '.join(unknown)}: look into the manual")
    draft.note("limits", "velocities are a tenth of what the joints can do; raise them when all else works")
    return out


def described_limits(urdf: str) -> list[tuple[str, float, float, float]]:
    """Name, low, high and fastest of every joint of a robot description whose bounds it tells."""
    try:
        root = ElementTree.fromstring(urdf)
    except ElementTree.ParseError:
        return []
    out = []
    for joint in root.iter("joint"):
        limit = joint.find("limit")
        if limit is None or joint.get("type") not in ("revolute", "prismatic"):
            continue
        try:
            low, high, fastest = (float(limit.get(key, "0")) for key in ("lower", "upper", "velocity"))
        except ValueError:
            continue
        if low < high and fastest > 0:
            out.append((joint.get("name", ""), low, high, fastest))
    return out


def _sources(draft: Draft, seen: Seen, used: Mapping[tuple[str, str], str]) -> list[dict[str, Any]]:
    out = []
    for topic, joints in seen.joints.items():
        for names in joints.groups:
            mine = {name: used[topic, name] for name in names if (topic, name) in used}
            if not mine:
                continue
            source: dict[str, Any] = {"topic": topic}
            same = all(theirs == ours for theirs, ours in mine.items())
            source["joints"] = list(mine) if same else mine
            furthest = max(
                float(
                    np.abs([m.position[m.names.index(name)] for name in mine if not _GRIPPER.search(name)] or [0]).max()
                )
                for m in joints.heard
                if m.names == names
            )
            if furthest > _MOST:
                source["unit"] = "deg"
                draft.note("sources", f"{topic} says {furthest:.0f}: degrees?")
            near = [name for name in seen.descriptions if name.rpartition("/")[0] == topic.rpartition("/")[0]]
            if near and near[0].rpartition("/")[0]:
                source["description"] = near[0]
            out.append(source)
    return out


def _cameras(draft: Draft, seen: Seen) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for camera in seen.cameras.values():
        words = [
            word
            for word in camera.topic.strip("/").split("/")
            if word not in ("color", "image_raw", "compressed", "camera")
        ]
        name = words[-1] if words else f"camera_{len(out) + 1}"
        out[name if name not in out else f"{name}_{len(out) + 1}"] = camera.topic
        size = f"{camera.size[0]}x{camera.size[1]} " if camera.size[0] else ""
        draft.note("cameras", f"{camera.topic}: {size}{camera.encoding}")
    draft.note("cameras", "give them the bundle's names, and leave the others out")
    return out


def from_parameters(nodes: Mapping[str, Mapping[str, Any]], origin: str) -> Draft:
    """A draft from the parameters of before, which say the joints in lists.

    Args:
        nodes: of a parameter file, by node.
        origin: its name.

    Raises:
        ConfigError: it names no joints, or its lists do not fit each other.
    """
    executor = from_mapping(ExecutorParameters, nodes.get("executor_node", {}), "executor_node")
    executor.check()
    teleop = from_mapping(TeleopParameters, nodes.get("teleop_node", {}), "teleop_node")
    joints = executor.joints
    names = teleop.model_joint(joints)
    draft = Draft(f"Written by `rlt init robot --from {origin}`.")
    draft.sections["name"] = executor.robot or "my_robot"
    if not executor.robot:
        draft.note("name", "write the name that the bundle has as `robot`")
    draft.sections["rate"] = 50 if not executor.period else round(1 / executor.period, 3)
    arms: dict[str, Any] = {}
    for slots in arm_slots(names):
        of = [joints[slot] for slot in slots.joints]
        gripper = {"gripper": joints[slots.gripper]} if slots.gripper >= 0 else {}
        name = _common([*of, *gripper.values()]) or f"arm_{len(arms) + 1}"
        tip = {"tip": teleop.frames[len(arms)]} if any(teleop.frames) and len(arms) < len(teleop.frames) else {}
        arms[name] = {"joints": of, **gripper, **tip}
    draft.sections["arms"] = arms
    keys = ("low", "high", "velocity", "acceleration", "deceleration", "following")
    lists = {key: executor.per_joint(f"joint_{key}") for key in keys}
    grippers = {arm["gripper"] for arm in arms.values() if "gripper" in arm}
    for name in grippers:
        if (lists["low"][joints.index(name)], lists["high"][joints.index(name)]) != (0.0, 1.0):
            draft.note("limits", f"{name} was commanded beyond 0 to 1: see `grippers` for its unit")
    draft.sections["limits"] = {
        name: {
            key: float(lists[key][place])
            for key in keys
            if key in ("low", "high", "velocity", "following") or lists[key][place]
        }
        for place, name in enumerate(joints)
    }
    draft.sections["sources"] = [{"topic": "joint_states", "joints": list(joints)}]
    topics = executor.wire_topics
    share = len(joints) // len(topics)
    draft.sections["controllers"] = [
        {"topic": topic, "interface": executor.interface, "joints": list(joints[number * share : (number + 1) * share])}
        for number, topic in enumerate(topics)
    ]
    vla = nodes.get("vla_node", {})
    if cameras := [name for name in vla.get("cameras", []) if name]:
        draft.sections["cameras"] = {name: f"{name}/color/image_raw" for name in cameras}
    if "max_camera_skew" in vla:
        draft.sections["camera_skew"] = float(vla["max_camera_skew"])
    if executor.stop_topics != ExecutorParameters.stop_topics or executor.stop_heartbeat:
        draft.sections["stops"] = {"topics": list(executor.stops), "heartbeat": executor.stop_heartbeat}
    if executor.home_position is not None:
        draft.sections["home"] = dict(zip(joints, executor.home, strict=True))
    if teleop.model:
        draft.sections["model"] = teleop.model
        draft.sections["model_joints"] = {
            ours: theirs for ours, theirs in zip(joints, names, strict=True) if theirs and theirs != ours
        }
    if teleop.source == "leader":
        draft.sections["leaders"] = [{"topic": teleop.leader_topic, "joints": list(joints)}]
    return draft


MOVED = {
    "executor_node": (
        *("robot", "joints", "joint_low", "joint_high", "joint_velocity", "joint_acceleration", "joint_deceleration"),
        *("joint_following", "command_interface", "command_topics", "home", "stop_topics", "stop_heartbeat", "period"),
    ),
    "vla_node": ("joints", "cameras", "max_camera_skew"),
    "recorder_node": ("cameras",),
    "console_node": ("cameras",),
    "teleop_node": ("joints", "model", "frames", "model_joints", "leader_topic", "source"),
}
"""Parameters that a description says."""


def left_over(nodes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Parameters of a file that its description says now, as `node.parameter`."""
    return [f"{node}.{name}" for node, names in MOVED.items() for name in names if name in nodes.get(node, {})]
