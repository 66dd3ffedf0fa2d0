"""What is refused is told: counted, logged with topic, reason and remedy, and shown on the page.

One table for the whole package: whoever refuses something names a row of it. docs/troubleshooting.md is made from it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

_AGAIN_AFTER = 5.0
"""Seconds until the same kind of refusal is told again."""
_CLOCKS = "put both computers on one clock (chrony), or run both on one machine"
_BUNDLE = "give vla_node, executor_node and learner_node the same bundle"
_VERSION = "a program of another version speaks here: stop it, or update it"


@dataclass(frozen=True)
class Refusal:
    """A row of the table.

    Attributes:
        topic: where what is refused came from.
        reason: what is wrong with it.
        remedy: what to do.
    """

    topic: str
    reason: str
    remedy: str


REFUSALS: dict[str, Refusal] = {
    # -- the robot's joint states
    "joint_state_shape": Refusal(
        "joint_states",
        "joints are missing, or its arrays do not fit its names",
        "compare `ros2 topic echo /joint_states --once` with the node's parameter `joints`",
    ),
    "joint_state_not_finite": Refusal(
        "joint_states",
        "a position is not finite",
        "look at the driver: a joint without a position interface cannot be flown",
    ),
    "joint_state_unit": Refusal(
        "joint_states",
        "a position or velocity is beyond reason: degrees?",
        "let the driver give rad and rad/s, and grippers from 0 to 1",
    ),
    "joint_state_out_of_order": Refusal(
        "joint_states",
        "its stamp is older than one that came before",
        "two drivers, a replayed recording, or a network that reorders: let one driver speak",
    ),
    "joint_state_clock": Refusal(
        "joint_states",
        "its stamp is not of this computer's clock, and does not go on with time",
        f"{_CLOCKS}; with a simulator set use_sim_time on every node",
    ),
    "joint_state_jump": Refusal(
        "joint_states",
        "the pose jumped further than a joint can move in that time, and is not believed",
        "look for a second publisher (`ros2 topic info -v /joint_states`) and at the encoders; where joints really "
        "are that fast raise executor_node.max_joint_speed",
    ),
    "joint_source_silent": Refusal(
        "joint_states",
        "one of the robot's sources of joint states is silent, and the robot holds still",
        "start its driver; compare the topic in robot.yaml with `ros2 topic list`",
    ),
    "joint_state_second_publisher": Refusal(
        "joint_states",
        "two publishers tell where these joints are",
        "find them with `ros2 topic info -v /joint_states`, and stop the stray one (often a joint_state_publisher)",
    ),
    "gripper_unanswered": Refusal(
        "<gripper>",
        "nobody offers the action that moves a gripper",
        "start its driver; compare grippers.action in robot.yaml with `ros2 action list`",
    ),
    "gripper_refused": Refusal(
        "<gripper>",
        "the driver refused a gripper's goal",
        "look at its log: is it active, are closed and open in robot.yaml its numbers?",
    ),
    # -- what the VLA says
    "input_wrong_bundle": Refusal("policy_input", "it was made with another bundle", _BUNDLE),
    "input_shape": Refusal("policy_input", "arrays do not have the announced or the bundle's size", _BUNDLE),
    "input_not_finite": Refusal(
        "policy_input", "it is not finite", "look at vla_node's log and its pictures: the model gives NaN"
    ),
    "input_token_zero": Refusal(
        "policy_input", "the RL token is all zero", "the bundle is broken: `rlt doctor bundle`, export it anew"
    ),
    "input_future": Refusal("policy_input", "its stamp is in the future", _CLOCKS),
    "input_out_of_order": Refusal(
        "policy_input", "a newer one came before", "two vla_node on one topic? `ros2 topic info -v policy_input`"
    ),
    "input_malformed": Refusal("policy_input", "arrays do not have the announced size", _VERSION),
    "input_of_unknown_robot": Refusal(
        "policy_input", "it names a robot that is not learnt from", "add its namespace to learner_node.robots"
    ),
    # -- the human
    "intervention_malformed": Refusal(
        "intervention",
        "its joints are not the bundle's, or its target is not finite",
        "give teleop_node and executor_node the same bundle",
    ),
    "joy_malformed": Refusal(
        "joy",
        "fewer axes or buttons than the mapping needs, or a value that is not finite",
        "choose the device's mapping: `rlt doctor joystick`, teleop_node.mapping",
    ),
    "axis_not_at_rest": Refusal(
        "joy",
        "an axis or button was not seen at its rest yet, and moves nothing until it was",
        "touch it and let go; if it stays, its `rest` in the mapping is wrong: `rlt doctor joystick`",
    ),
    "leader_malformed": Refusal(
        "leader/joint_states",
        "joints are missing, or positions are not finite",
        "give the leader arms the robot's joint names",
    ),
    "takeover_without_executor": Refusal(
        "joy", "a takeover was wished, but no command of executor_node has come", "start or activate executor_node"
    ),
    "button_refused": Refusal(
        "joy", "the node that a button speaks to refused", "do what its answer says; the phase may be another one"
    ),
    "button_unanswered": Refusal(
        "joy", "the node that a button speaks to does not answer", "start session_node or executor_node"
    ),
    "stop_unconfirmed": Refusal(
        "executor_node/estop",
        "an emergency stop was asked for, and no step says that it is done",
        "USE THE ROBOT'S OWN STOP; then see whether executor_node runs and is active",
    ),
    "session_malformed": Refusal("session", "its phase is unknown", _VERSION),
    "session_other": Refusal(
        "session",
        "an older session speaks beside the one that is flown",
        "two session_node in one namespace: stop one (`ros2 topic info -v session`)",
    ),
    # -- weights
    "weights_old": Refusal(
        "policy",
        "weights of the same or a newer version are on board",
        "normal where a learner repeats itself; otherwise two learners publish here, or one that began anew: restart "
        "executor_node",
    ),
    "weights_other_session": Refusal(
        "policy",
        "the learner has not heard of this session yet",
        "normal for a moment at the start; otherwise session and learner are in different namespaces",
    ),
    "weights_bundle": Refusal("policy", "they were trained with another bundle", _BUNDLE),
    "weights_checksum": Refusal(
        "policy", "they are not what their sha256 says", "the network loses parts of messages: look at its load"
    ),
    "weights_format": Refusal("policy", "they are no actor of this version", _VERSION),
    "weights_shape": Refusal(
        "policy", "rows or joints are not the executor's", "set learner_node.chunk to executor_node.chunk"
    ),
    "weights_finite": Refusal(
        "policy", "they are not finite", "the learner diverged: lower its rates, resume an older checkpoint"
    ),
    "weights_version": Refusal("policy", "message and weights differ in their version", _VERSION),
    # -- commands
    "command_not_finite": Refusal(
        "the policy", "a command was not finite and was not sent", "look at the actor's weights and the VLA's output"
    ),
    "robot_elsewhere": Refusal(
        "joint_states",
        "the robot is further from the command than joint_following: nothing is sent until it starts from the robot",
        "somebody else moves it, it is blocked, or joint_following is too small for its lag",
    ),
    "robot_description": Refusal(
        "robot_description",
        "limits of a joint cannot be used",
        "mend the description; the limits of the parameter file hold for that joint",
    ),
    "homing": Refusal("~/home", "homing did not come to its end", "see whether the controller runs and is active"),
    # -- cameras
    "image_encoding": Refusal(
        "<camera>/color/image_raw",
        "pictures have an encoding that is not read",
        "let the driver give rgb8, bgr8, mono8, yuyv or a Bayer pattern",
    ),
    "image_shape": Refusal(
        "<camera>/color/image_raw",
        "pictures do not have the size of the bundle's model, and OpenCV, which would resize them, is missing",
        "pip install 'rlt_ros[cameras]', or let the driver scale them",
    ),
    "image_malformed": Refusal(
        "<camera>/color/image_raw", "rows or bytes do not fit its size", "look at the driver's `step` and `data`"
    ),
    "image_clock": Refusal(
        "<camera>/color/image_raw",
        "its stamp is not of this computer's clock, and does not go on with time",
        f"{_CLOCKS}; with a simulator set use_sim_time on every node",
    ),
    "image_out_of_order": Refusal(
        "<camera>/color/image_raw", "its stamp is older than one that came before", "two drivers publish this camera?"
    ),
    "image_no_set": Refusal(
        "<camera>/color/image_raw",
        "no picture of every camera was taken within max_camera_skew",
        "a camera is silent, or they run freely: synchronise them, or raise vla_node.max_camera_skew",
    ),
    "image_without_joints": Refusal(
        "joint_states",
        "no joint state of the pictures' time is known, so nothing was inferred",
        "look at the driver's rate and clock; pictures older than a second come too late",
    ),
    "inference_failed": Refusal(
        "policy_input", "the VLA gave nothing that may be flown", "look at vla_node's log; `rlt doctor bundle`"
    ),
    "vla_silent": Refusal(
        "policy_input",
        "the VLA has not answered for longer than any pass may take",
        "it compiles (the first pass of a server takes up to two minutes), is frozen, or too large for this machine",
    ),
    "backfill_full": Refusal(
        "backfill",
        "more pictures wait to be looked at between episodes than memory is kept for, and the oldest are left out",
        "lower vla_node.backfill, or give the VLA longer pauses between episodes",
    ),
    "images_left_out": Refusal(
        "<camera>/color/image_raw", "there is no space to record pictures", "free some, or set recorder_node.budget"
    ),
    # -- the session
    "step_malformed": Refusal("step", "a value is unknown, not finite, or of another size", _VERSION),
    "step_of_unknown_robot": Refusal(
        "step", "it names a robot that is not learnt from", "add its namespace to learner_node.robots"
    ),
    "step_of_other_session": Refusal(
        "step",
        "it belongs to a session that is over",
        "normal for a moment after a restart; otherwise a clock was set back between two sessions: restart the learner",
    ),
    "event_malformed": Refusal("episode", "its outcome is unknown", _VERSION),
    "outcome_unknown": Refusal("episode", "an episode ended in a way that is unknown", _VERSION),
    "event_of_unknown_robot": Refusal(
        "episode", "it names a robot that is not learnt from", "add its namespace to learner_node.robots"
    ),
    "session_of_unknown_robot": Refusal(
        "session", "it names a robot that is not learnt from", "add its namespace to learner_node.robots"
    ),
    "event_of_other_session": Refusal(
        "episode", "it belongs to a session that is over", "normal for a moment after a restart"
    ),
    "event_clock": Refusal(
        "episode",
        "its time is not that of the steps; the newest step is taken as the episode's end",
        f"a clock was set in mid-episode, or {_CLOCKS}",
    ),
    "label_too_late": Refusal(
        "episode", "the next episode had begun before this label came", "label before the next reset is done"
    ),
    "outcome_late": Refusal(
        "episode", "the outcome came after its last ticks were stored", "is the network between robot and learner full?"
    ),
    "success_clock": Refusal("<success_topic>", "its stamp is not of now; the time of arrival is taken", _CLOCKS),
    "step_after_end": Refusal(
        "step",
        "a step is later than its episode's end, and is left out",
        f"normal for a few; otherwise session and executor have different clocks: {_CLOCKS}",
    ),
    "leader_silent": Refusal(
        "leader/joint_states",
        "the leader arm has not spoken lately: the robot holds still",
        "look at the leader's driver: it must speak ten times a second or more",
    ),
    "success_before_episode": Refusal(
        "<success_topic>",
        "it says success since before the episode began",
        "put the scene back before Reset done, or let the sensor say `false` in between",
    ),
    "phase_head_missing": Refusal(
        "policy_input",
        "the bundle has no phase head, so nothing begins the critical phase",
        "`rlt adapt phase`, or session_node.handover: manual",
    ),
    "reset_failed": Refusal(
        "<reset_service>", "the scene was not put back, and is asked for again", "look at the node that resets"
    ),
    # -- what the learner and datasets leave out
    "episode_without_end": Refusal(
        "episode", "an episode's end never came: it is stored without an outcome", "did session_node die?"
    ),
    "episode_cut_by_gap": Refusal(
        "step", "steps were lost: the episode is cut there", "is the network between robot and learner full?"
    ),
    "episode_cut_by_hold": Refusal(
        "step",
        "the robot was held in mid-episode: the episode is cut there, ticks of HOLD and ESTOP are no samples",
        "normal at each hand-back; otherwise `reason` in step says why it holds",
    ),
    "input_missing": Refusal(
        "policy_input", "a step's policy input is not known: no sample begins there", "normal for a few after a crash"
    ),
    "human_clipped": Refusal(
        "intervention",
        "a human moved further in a tick than is stored",
        "normal for large corrections; slower sticks (teleop_node.linear_speed) teach more",
    ),
    "journal_unreadable": Refusal(
        "journal", "a record of another version cannot be read", "read it with the version in the run's run.json"
    ),
    "episode_without_images": Refusal(
        "<camera>/color/image_raw", "an episode lacks pictures and is left out", "look at the cameras' rate"
    ),
    "episode_with_gap": Refusal("step", "an episode lacks steps and is left out", "record on the robot's computer"),
    "episode_without_outcome": Refusal(
        "episode", "an episode has no outcome and is left out", "label every episode before the next reset"
    ),
    "episode_not_by_a_human": Refusal(
        "step", "a human flew too little of an episode: it is left out", "lower --human-share"
    ),
    "recorder_lost": Refusal("journal", "a message could not be written", "free space on the disk, see the log"),
    "command_malformed": Refusal(
        "forward_position_controller/commands",
        "a command for the simulated cell has the wrong size or is not finite",
        "one value a joint, as executor_node sends them",
    ),
    "reset_unavailable": Refusal(
        "<reset_service>",
        "nobody offers the service that puts the scene back",
        "start it, or leave reset_service empty",
    ),
}


@dataclass(frozen=True)
class Hold:
    """Why the executor holds the robot.

    Attributes:
        means: what is the case.
        remedy: what to do; empty where nothing is wrong.
    """

    means: str
    remedy: str = ""


HOLDS: dict[str, Hold] = {
    "no_joint_states": Hold(
        "no joint state has been believed yet; nothing is sent",
        "start the driver; compare its topic and joint names with executor_node.joints",
    ),
    "joint_states_stale": Hold(
        "the newest joint state is older than max_joint_age; the robot slows down, then nothing is sent",
        "the driver is slower than 10 Hz, died, or its clock is behind this computer's",
    ),
    "joint_states_implausible": Hold(
        "the measured pose jumped further than a joint moves, and is not believed",
        "look for a second publisher and at the encoders; a pose that stays is believed after 0.2 s",
    ),
    "joint_states_two_publishers": Hold(
        "two publishers tell where the joints are; neither is believed",
        "`ros2 topic info -v /joint_states`, and stop the stray one",
    ),
    "shutting_down": Hold("executor_node is about to end: the robot slows down to rest"),
    "coming_to_rest": Hold("a stop was cleared, or the pose jumped, while the robot still slowed down"),
    "homing": Hold("a controller brings the robot home; nothing is sent"),
    "mode_hold": Hold("the operator holds the robot, or has cleared an emergency stop", "press Auto (`~/set_mode`, 2)"),
    "stop_source_silent": Hold(
        "a stop source with a heartbeat has not spoken yet", "connect it, or set executor_node.stop_heartbeat to 0"
    ),
    "intervention_lost": Hold(
        "the human's command stream fell silent in mid-flight", "press the takeover button anew, then let go"
    ),
    "session_silent": Hold(
        "session_node has not spoken for max_session_age", "it died: `rlt up` says how to go on (--resume)"
    ),
    "phase_idle": Hold("no episode runs", "press Start"),
    "phase_reset": Hold("the scene is being put back", "press Reset done when it is"),
    "phase_ended": Hold("the episode is over; the next reset comes by itself"),
    "no_policy_input": Hold(
        "no policy input has come",
        "vla_node is not active, or refuses its pictures: its own lines say why; with a bundle of `rlt init bundle` "
        "only a human flies",
    ),
    "policy_input_stale": Hold(
        "the newest policy input is older than max_input_age, or of before this episode or the human",
        "normal for a tick or two after a takeover; otherwise its pictures stopped, or the VLA is slow: give "
        "executor_node.max_input_age the length of two of its passes",
    ),
    "reference_too_short": Hold("the reference ends before the chunk", "a slower VLA needs a bundle with more rows"),
    "token_size": Hold("token and actor have different sizes", _BUNDLE),
    "command_not_finite": Hold("a command was not finite", REFUSALS["command_not_finite"].remedy),
    "robot_elsewhere": Hold(REFUSALS["robot_elsewhere"].reason, REFUSALS["robot_elsewhere"].remedy),
}
STOPPED = Hold("an emergency stop is latched", "release the button, clear it (two steps), then press Auto")


def explained(state: str, reason: str) -> Hold | None:
    """What a state and its reason mean; None where the robot flies, or nobody knows."""
    return STOPPED if state == "ESTOP" else HOLDS.get(reason)


class Refusals:
    """Counts what is refused; what is new is told at most every few seconds. Threads may share it."""

    def __init__(self) -> None:
        """Nothing was refused."""
        self.counts: Counter[str] = Counter()
        self._details: dict[str, str] = {}
        self._told: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def refuse(self, kind: str, detail: str = "") -> None:
        """Count one.

        Args:
            kind: a row of `REFUSALS`.
            detail: this case's own figures or names.

        Raises:
            KeyError: the table has no such row.
        """
        if kind not in REFUSALS:
            raise KeyError(f"no refusal '{kind}' in rlt_ros/refusals.py")
        with self._lock:
            self.counts[kind] += 1
            self._details[kind] = detail

    def detail(self, kind: str) -> str:
        """Of the newest case of a kind."""
        return self._details.get(kind, "")

    def untold(self, now: float) -> list[str]:
        """Lines for the log: kinds that were refused since they were last told, each at most every five seconds."""
        lines = []
        with self._lock:
            for kind, count in self.counts.items():
                before, at = self._told.get(kind, (0, -float("inf")))
                if count > before and now - at >= _AGAIN_AFTER:
                    self._told[kind] = (count, now)
                    lines.append(sentence(kind, self._details.get(kind, ""), count))
        return lines


def sentence(kind: str, detail: str, count: int) -> str:
    """One line: topic, reason, how often, and what to do."""
    row = REFUSALS[kind]
    case = f" ({detail})" if detail else ""
    return f"{row.topic}: {row.reason}{case}; {kind} {count}x. {row.remedy[:1].upper()}{row.remedy[1:]}"


def merged(several: Iterable[Refusals]) -> Counter[str]:
    """The counts of several places together."""
    total: Counter[str] = Counter()
    for refusals in several:
        total += refusals.counts
    return total
