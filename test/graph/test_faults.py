"""Every process is killed at random moments of a running graph: nothing is lost, and the run goes on where it was."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import running
from ros_support import NAMESPACE, Graph, Listener, listener, up_sim

from rlt_ros import msg
from rlt_ros.bringup.graph import Bringup
from rlt_ros.bringup.runs import episodes
from rlt_ros.control.actor import unpack_actor
from rlt_ros.control.config import ExecutorConfig
from rlt_ros.journal.journal import read_journal, segments
from rlt_ros.journal.segment import is_finished
from rlt_ros.rl.config import LearnerParameters
from rlt_ros.ros.fields import from_stamp
from rlt_ros.ros.qos import HISTORY_QOS, LATCHED_QOS
from rlt_ros.ros.records import message_of
from rlt_ros.vla.bundle import load_bundle

pytestmark = [pytest.mark.live, pytest.mark.whole]
SEED = 0
RESTARTED = ("learner_node", "recorder_node", "vla_node", "teleop_node")
ROUNDS = int(os.environ.get("RLT_ROUNDS", "1"))
"""With 2, 20 processes are killed."""
FATAL = {"sim_node": (4,) * ROUNDS, "executor_node": (4,) * ROUNDS, "session_node": (1,) * (ROUNDS - 1)}
"""Whose death ends a life of the graph; and how many others die before, round after round."""
TICK = 0.02
SETTLED = 6.0
"""Seconds after which a node that started again is ready, and all have found it."""
SETTINGS = {
    "session_node.warmup_episodes": 1,
    "session_node.learner_wait": 5.0,
    "session_node.time_limit": 6.0,
    "learner_node.warmup_samples": 100,
    "learner_node.burn_in_updates": 50,
    "learner_node.checkpoint_period": 4.0,
    "executor_node.priority": 0,
    "sim_node.priority": 0,
    "sim_node.human_patience": 0.5,
    "sim_node.demonstrations": 1,
    "recorder_node.reserve": 0.0,
    "recorder_node.segment_size": 2.0,
}
LIMITS = ExecutorConfig()
RATIO = LearnerParameters.update_ratio


@dataclass
class Wire:
    """Everything that was heard, over all lives of the graph."""

    steps: list[msg.ControlStep] = field(default_factory=list)
    inputs: list[msg.PolicyInput] = field(default_factory=list)
    events: list[msg.EpisodeEvent] = field(default_factory=list)
    learner: list[msg.LearnerStatus] = field(default_factory=list)
    weights: list[msg.PolicyWeights] = field(default_factory=list)
    kills: list[tuple[str, float]] = field(default_factory=list)

    def listen(self, ros: Listener) -> None:
        for kind, topic, qos, heard in (
            (msg.ControlStep, "step", HISTORY_QOS, self.steps),
            (msg.PolicyInput, "policy_input", HISTORY_QOS, self.inputs),
            (msg.EpisodeEvent, "episode", HISTORY_QOS, self.events),
            (msg.LearnerStatus, "learner_status", 100, self.learner),
            (msg.PolicyWeights, "policy", LATCHED_QOS, self.weights),
        ):
            ros.node.create_subscription(kind, topic, heard.append, qos)

    def critical(self) -> dict[tuple[int, int], msg.ControlStep]:
        return {(m.epoch, m.sequence): m for m in self.steps if m.phase == 3}


class Deaths:
    """Kills nodes of a graph that have lived long enough for the others to have found them."""

    def __init__(self, graph: Graph, wire: Wire) -> None:
        self._graph, self._wire = graph, wire
        self._born: dict[str, tuple[int, float]] = {}
        self._look_again = 0.0

    def settled(self, node: str) -> bool:
        """Whether a node has run for a while since it was killed last."""
        now = time.monotonic()
        if now >= self._look_again:
            self._look_again = now + 0.25
            for name in (*RESTARTED, *FATAL):
                try:
                    pid = self._graph.pid(name)
                except LookupError:
                    pid = 0
                if pid != self._born.get(name, (0, now))[0] or not pid:
                    self._born[name] = (pid, now)
        pid, since = self._born.get(node, (0, now))
        if not pid or now - since <= SETTLED:
            return False
        return node != "learner_node" or self._learns(time.time() - now + since)

    def _learns(self, since: float) -> bool:
        """Whether the learner has read its journal back and does updates, or has done all that it may, since then."""
        said = [m for m in self._wire.learner if from_stamp(m.header.stamp) > since]
        return len(said) > 1 and (
            said[-1].updates > said[0].updates or said[-1].updates >= int(RATIO * said[-1].samples)
        )

    def of(self, node: str) -> None:
        self._graph.ros.wait(partial(self.settled, node), 120, f"{node} runs")
        self._graph.kill(node)
        self._born[node] = (self._born[node][0], time.monotonic() + 3600.0)
        self._wire.kills.append((node, time.time()))


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory, domains: Iterator[int]) -> tuple[Wire, Path]:
    """One run with all its deaths; the tests look at what is left of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(next(domains)))
        return lived(tmp_path_factory.mktemp("faults"))


def lived(root: Path) -> tuple[Wire, Path]:
    rng, wire, run_dir = random.Random(SEED), Wire(), Path()
    with listener() as ros:
        wire.listen(ros)
        for number, (last, rounds) in enumerate(FATAL.items()):
            options = ("--resume", str(run_dir)) if number else ()
            with up_sim(ros, root, SETTINGS if not number else {}, "--human", "simulated", *options) as graph:
                run_dir = graph.run_dir
                episode = wire.steps[-1].episode if wire.steps else 0
                death = Deaths(graph, wire)
                ros.wait(partial(death.settled, "executor_node"), 120, "all nodes")
                ros.wait(lambda e=episode: bool(wire.steps) and wire.steps[-1].episode > e, 60, "an episode")
                if not number:
                    ros.wait(lambda: bool(wire.weights), 120, "weights")
                for count in rounds:
                    # What a node said last is only lost where its listener is dead too: the VLA goes first.
                    for node in sorted(rng.sample(RESTARTED, count), key=lambda name: name != "vla_node"):
                        ros.spin(rng.uniform(0.0, 1.0))
                        death.of(node)
                    for node in RESTARTED:
                        ros.wait(partial(death.settled, node), 120, f"{node} starts again")
                flown = wire.steps[-1].episode
                ros.wait(lambda f=flown: wire.steps[-1].episode > f, 60, "the next episode")
                ros.wait(
                    lambda: wire.steps[-1].state in (msg.ControlStep.STATE_ACTOR, msg.ControlStep.STATE_HUMAN),
                    60,
                    "motion",
                )
                ros.spin(rng.uniform(0.1, 0.6))
                death.of(last)
                ros.wait(lambda g=graph: g.process.poll() is not None, 60, "the graph's end")
                ros.spin(0.5)
                assert graph.process.returncode == 1
        with up_sim(ros, root, {}, "--resume", str(run_dir)) as graph:  # one more, with a proper end
            epoch = wire.steps[-1].epoch
            ros.wait(lambda: wire.steps[-1].epoch > epoch and wire.steps[-1].phase == 3, 60, "the last life")
            flown = wire.steps[-1].episode
            ros.wait(lambda: wire.steps[-1].episode > flown, 60, "an episode of it")
            graph.stop()
            ros.spin(0.5)
    return wire, run_dir


def log(run: Path, node: str) -> str:
    return (run / "log" / f"{node}.log").read_text()


def test_every_process_was_killed(wire: tuple[Wire, Path]) -> None:
    heard, run = wire
    assert len(heard.kills) >= 2 + 9 * ROUNDS
    assert {node for node, _ in heard.kills} == {*RESTARTED, *FATAL}
    assert "Traceback" not in "".join(path.read_text() for path in (run / "log").glob("*.log"))


def test_what_was_on_the_wire_is_in_the_journal(wire: tuple[Wire, Path]) -> None:
    heard, run = wire
    assert all(is_finished(path) for path in segments(run / "journal"))
    recorded = [message_of(record) for record in read_journal(run / "journal", ("step",))]
    keys = [(message.epoch, message.sequence) for message in recorded]
    assert len(keys) == len(set(keys)), "each once"
    critical = heard.critical()
    missing = sorted(set(critical) - set(keys))
    print(f"{len(critical)} steps of critical phases on the wire, {len(missing)} of them not in the journal")
    runs = [list(group) for _, group in itertools.groupby(missing, key=lambda key: key[1] - missing.index(key))]
    assert max((len(run) for run in runs), default=0) * TICK <= 1.0
    assert len(missing) <= 5, "only what a dying publisher had not handed over"
    by_key = dict(zip(keys, recorded, strict=True))
    assert all(by_key[key] == step for key, step in critical.items() if key in by_key)
    inputs = {message_of(record).sequence for record in read_journal(run / "journal", ("policy_input",))}
    named = {m.input_sequence: from_stamp(m.header.stamp) for m in recorded if m.input_valid}
    lost = {sequence: stamp for sequence, stamp in named.items() if sequence not in inputs}
    print(f"{len(named)} policy inputs were flown, {len(lost)} of them are not in the journal: {lost}")
    deaths = [time for node, time in heard.kills if node == "vla_node"]
    assert all(any(-1.0 <= stamp - death <= 3.0 for death in deaths) for stamp in lost.values()), "last words of a VLA"
    assert len(lost) * TICK <= 1.0 * len(deaths), "what its recorder, killed next, had not read yet"
    events = {(e.epoch, e.episode, e.kind, e.outcome) for e in heard.events}
    kept = {
        (e.epoch, e.episode, e.kind, e.outcome) for e in map(message_of, read_journal(run / "journal", ("episode",)))
    }
    assert events <= kept
    assert len(episodes(run)) == len(
        {(e.epoch, e.episode) for e in heard.events if e.kind == msg.EpisodeEvent.KIND_END}
    )


def test_commands_are_held_where_they_must(wire: tuple[Wire, Path]) -> None:
    """Two ticks after a limit has passed nothing moves any more, whoever died."""
    heard, run = wire
    # A VLA that starts again may be found by the executor seconds before it is found here: the recorder heard it too.
    recorded = map(message_of, read_journal(run / "journal", ("policy_input",)))
    inputs = np.array(sorted({from_stamp(m.header.stamp) for m in [*heard.inputs, *recorded]}))
    flying = (msg.ControlStep.STATE_ACTOR, msg.ControlStep.STATE_REFERENCE)
    held = 0
    before = np.full(len(heard.steps[0].command), np.inf)
    for step in heard.steps:
        stamp = from_stamp(step.header.stamp)
        moved = np.abs(np.subtract(step.command, step.previous))
        if step.state == msg.ControlStep.STATE_HOLD:
            held += 1
            # What moved slows down; while somebody else moves the robot nothing is sent: told is where it is found.
            found = np.array_equal(step.command, step.position)
            assert (moved <= before + 1e-6).all() or step.phase <= 1 or found, step.reason
        elif step.state in flying:
            # A chunk that began in time is flown to its end.
            newest = inputs[max(0, np.searchsorted(inputs, stamp) - 1)]
            rows = LIMITS.chunk if step.state == msg.ControlStep.STATE_ACTOR else LIMITS.reference_rows
            assert stamp - newest <= LIMITS.max_input_age + (rows + 2) * TICK
        before = moved
    assert held
    limits: dict[str, float] = {
        "sim_node": LIMITS.max_joint_age,
        "session_node": LIMITS.max_session_age,
        "teleop_node": LIMITS.max_intervention_age,
    }
    for node, killed in heard.kills:
        after = [s for s in heard.steps if killed < from_stamp(s.header.stamp) < killed + 3.0]
        if node == "teleop_node":
            limit = killed + limits[node] + 2 * TICK
            human = [s for s in after if s.state == msg.ControlStep.STATE_HUMAN]
            assert all(from_stamp(s.header.stamp) <= limit for s in human[:1]) or not human
        elif node in limits:
            late = [s for s in after if from_stamp(s.header.stamp) > killed + limits[node] + 2 * TICK]
            assert all(s.state == msg.ControlStep.STATE_HOLD for s in late), node


def test_the_control_loop_does_not_notice_who_dies(wire: tuple[Wire, Path]) -> None:
    heard, _ = wire
    for epoch, group in itertools.groupby(heard.steps, key=lambda step: step.epoch):
        sequences = [step.sequence for step in group]
        if epoch:
            assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))


def test_counters_versions_and_episodes_go_on(wire: tuple[Wire, Path]) -> None:
    heard, run = wire
    versions = [message.version for message in heard.weights]
    assert versions == sorted(set(versions))
    flown = [step.policy_version for step in heard.steps if step.policy_version]
    assert flown == sorted(flown)
    numbers = [e.episode for e in heard.events if e.kind == msg.EpisodeEvent.KIND_START]
    assert numbers == sorted(numbers)
    assert heard.learner[-1].samples >= max(message.samples for message in heard.learner)
    assert heard.learner[-1].episodes >= max(message.episodes for message in heard.learner)
    assert len(list((run / "checkpoints").glob("step-*"))) <= 4


def test_every_rebuilt_replay_was_bit_by_bit_the_one_of_the_checkpoint(wire: tuple[Wire, Path]) -> None:
    _, run = wire
    told = log(run, "learner_node")
    assert told.count("going on from") >= 3 + ROUNDS
    assert told.count("bit for bit") >= 2 + ROUNDS, told
    assert told.count("not in every number") == 0, told


def test_the_actor_that_is_resumed_is_the_one_that_was_saved(
    wire: tuple[Wire, Path], domain: int, tmp_path: Path
) -> None:
    """After the proper end: a learner by itself, on what is left."""
    heard, run = wire
    bundle = load_bundle(Bringup().bundle_path)
    newest = sorted((run / "checkpoints").glob("step-*"))[-1]
    saved = unpack_actor((newest / "actor.safetensors").read_bytes(), bundle.id)
    given = {key.split(".")[1]: value for key, value in SETTINGS.items() if key.startswith("learner_node")}
    given |= {
        "bundle": str(bundle.directory),
        "checkpoint_dir": str(run / "checkpoints"),
        "journal_dir": str(run / "journal"),
        "update_ratio": 0.0,  # what was saved is to be published, and nothing that is better
    }
    with ExitStack() as stack:
        ros = stack.enter_context(listener())
        weights = ros.listen(msg.PolicyWeights, "policy", LATCHED_QOS)
        status = ros.listen(msg.LearnerStatus, "learner_status")
        process = stack.enter_context(
            running.node("learner_node", given, tmp_path / "learner.log", file=run / "parameters.yaml")
        )
        ros.wait(lambda: bool(weights and status), 60, "weights")
        ros.wait(lambda: "bit for bit" in (tmp_path / "learner.log").read_text(), 10, "the comparison")
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    again = unpack_actor(bytes(weights[0].data), bundle.id)
    assert weights[0].version > max(message.version for message in heard.weights)
    token, proprio = np.ones(bundle.token_dim, np.float32), np.ones(2 * len(bundle.joints), np.float32)
    reference = np.ones((10, len(bundle.joints)), np.float32)
    assert (again(token, proprio, reference) == saved(token, proprio, reference)).all()


def test_namespace_is_the_robots_name(wire: tuple[Wire, Path]) -> None:
    heard, _ = wire
    assert {message.robot for message in (*heard.steps, *heard.inputs, *heard.events)} == {NAMESPACE}
