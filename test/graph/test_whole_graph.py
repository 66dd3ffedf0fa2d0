"""The whole loop as an operator runs it: `rlt up sim`, watched from outside."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ros_support import Graph, listener, up_sim
from std_msgs.msg import Float64MultiArray

from rlt_ros import msg
from rlt_ros.bringup.graph import CELL, Bringup
from rlt_ros.control.actor import unpack_actor
from rlt_ros.control.timeline import reference_actions
from rlt_ros.ros.convert import policy_input_from_msg
from rlt_ros.ros.fields import from_stamp
from rlt_ros.ros.qos import LATCHED_QOS, RECORD_QOS
from rlt_ros.vla.bundle import load_bundle

pytestmark = [pytest.mark.live, pytest.mark.whole]
BUNDLE = load_bundle(Bringup().bundle_path)
KEYS = [
    "episodes",
    "successes",
    "throughput_per_10min",
    "transitions",
    "updates_per_s",
    "policy_version",
    "weight_age_s_p50",
    "interventions",
    "intervention_share",
    "loop_p99_ms",
    "loop_max_ms",
    "missed_ticks",
    "run_dir",
]


BURN_IN = 20


@pytest.fixture(scope="module")
def graph(
    request: pytest.FixtureRequest, domains: Iterator[int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Graph]:
    """With the given human; one for several tests, the last of which ends it."""
    settings = {
        "session_node.warmup_episodes": 0,
        "session_node.explore_share": 0.0,
        "learner_node.warmup_samples": 50,
        "learner_node.burn_in_updates": BURN_IN,
        "learner_node.update_ratio": 0.5,
        "executor_node.priority": 0,
        "sim_node.priority": 0,
        "sim_node.human_patience": 0.5,
        "sim_node.demonstrations": 0,
    }
    root = tmp_path_factory.mktemp("graph")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(next(domains)))
        with listener() as ros, up_sim(ros, root, settings, "--human", request.param) as running:
            yield running


@pytest.mark.parametrize("graph", ["none"], indirect=True)
def test_weights_reach_the_moving_robot_and_it_survives_its_learner(graph: Graph) -> None:
    ros = graph.ros
    weights = ros.listen(msg.PolicyWeights, "policy", LATCHED_QOS)
    inputs = ros.listen(msg.PolicyInput, "policy_input", RECORD_QOS)
    chunks = ros.listen(msg.ActionChunk, "action_chunk", RECORD_QOS)
    steps = ros.listen(msg.ControlStep, "step", RECORD_QOS)
    learner = ros.listen(msg.LearnerStatus, "learner_status")
    truth = ros.listen(msg.GroundTruth, "ground_truth")
    session = ros.listen(msg.SessionState, "session", LATCHED_QOS)
    events = ros.listen(msg.EpisodeEvent, "episode", RECORD_QOS)

    # 1. The learner's weights change what the actor commands within one episode.
    def versions_flown() -> dict[int, set[int]]:
        flown: dict[int, set[int]] = {}
        # Until the burn-in is over all of them say the same: fly the reference.
        burnt_in = {message.version for message in weights if message.updates > BURN_IN}
        for chunk in chunks:
            if chunk.source == msg.ActionChunk.SOURCE_ACTOR and chunk.policy_version in burnt_in:
                flown.setdefault(chunk.episode, set()).add(chunk.policy_version)
        return flown

    ros.wait(lambda: any(len(versions) >= 3 for versions in versions_flown().values()), 120, "weights in mid-episode")
    published = {m.version: unpack_actor(bytes(m.data), BUNDLE.id) for m in weights}
    assert sorted(published) == list(range(min(published), max(published) + 1)), "versions count up by one"
    episode, versions = max(versions_flown().items(), key=lambda item: len(item[1]))
    first, last = published[min(versions & set(published))], published[max(versions & set(published))]
    flown = [c for c in chunks if c.episode == episode and c.policy_version == last.version]
    assert flown
    by_sequence = {m.sequence: m for m in inputs}
    compared = 0
    for chunk in flown:
        if chunk.input_sequence not in by_sequence:
            continue
        compared += 1
        seen = what_it_saw(chunk, by_sequence[chunk.input_sequence])
        chosen, candidate = last.choose(*seen)
        base = np.array(chunk.target).reshape(chunk.rows, chunk.joints)
        moves = np.diff(base, axis=0) / BUNDLE.normaliser.action_std
        assert chunk.candidate == pytest.approx(candidate), "the executor chooses as the published critics do"
        assert np.allclose(moves, chosen[1:], atol=0.02), "and flies what the published weights say"
        assert np.abs(last(*seen) - first(*seen)).max() > 0.0, "the older weights say something else"
    assert compared > 0

    # 2. What is on the topics is sound.
    sequences = [step.sequence for step in steps]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences))), "no step is lost on the way"
    gaps = np.diff([from_stamp(step.header.stamp) for step in steps])
    assert np.median(gaps) == pytest.approx(0.02, abs=0.001)
    starts = [event.episode for event in events if event.kind == msg.EpisodeEvent.KIND_START]
    assert starts == sorted(set(starts))
    assert learner[-1].gaps == 0
    assert learner[-1].updates_per_s_busy > learner[-1].updates_per_s > 0
    assert 0 <= learner[-1].weight_age < 5
    assert learner[-1].update_ratio <= 5.0
    assert max(message.depth for message in truth) < 0.05

    # 3. The learner dies; the robot moves on with its last weights. It starts again, and learns on.
    # Early in an episode: where it dies between two, its second life may begin before anybody flies.
    before = steps[-1].episode
    ros.wait(
        lambda: steps[-1].episode > before and steps[-1].state == msg.ControlStep.STATE_ACTOR, 60, "the next episode"
    )
    graph.kill("learner_node")
    ros.spin(0.3)  # what it said before
    samples, newest = learner[-1].samples, weights[-1].version
    steps.clear()
    weights.clear()
    ros.wait(lambda: bool(weights), 60, "weights of the learner's second life")
    acting = [step for step in steps if step.state == msg.ControlStep.STATE_ACTOR and step.policy_version <= newest]
    assert len({step.policy_version for step in acting[-20:]}) == 1
    assert np.ptp([list(step.command) for step in acting], axis=0).max() > 1e-4, "it moves"
    assert weights[0].version > newest
    assert weights[0].samples >= samples
    fresh = weights[0].version
    ros.wait(lambda: steps[-1].policy_version >= fresh, 30, "an actor of the second life flies")
    assert [step.sequence for step in steps] == list(range(steps[0].sequence, steps[0].sequence + len(steps)))
    assert graph.process.poll() is None

    ros.spin(1.5)  # the executor tells its version once a second
    # 4. Ctrl-C: one object with all keys, logs, record.
    summary = graph.stop()
    assert set(KEYS) <= set(summary)
    assert summary["policy_version"] >= fresh
    assert Path(summary["run_dir"]) == graph.run_dir
    assert (graph.run_dir / "log" / "executor_node.log").is_file()
    assert json.loads((graph.run_dir / "run.json").read_text())["target"] == "sim"
    assert session[-1].epoch > 0


@pytest.mark.parametrize("graph", ["simulated"], indirect=True)
def test_a_scripted_human_takes_over_finishes_and_is_learnt_from_and_a_dead_vla_comes_back(graph: Graph) -> None:
    ros = graph.ros
    steps = ros.listen(msg.ControlStep, "step", RECORD_QOS)
    events = ros.listen(msg.EpisodeEvent, "episode", RECORD_QOS)
    learner = ros.listen(msg.LearnerStatus, "learner_status")
    flew = (msg.ControlStep.STATE_ACTOR, msg.ControlStep.STATE_REFERENCE)

    def helped() -> list[tuple[int, list[int]]]:
        """Successful episodes in which the policy flew first and a human later, with the states of their ticks."""
        found = []
        heard_until = from_stamp(steps[-1].header.stamp) if steps else 0.0
        for event in events:
            if event.outcome == msg.SessionState.OUTCOME_SUCCESS and from_stamp(event.header.stamp) < heard_until:
                # The human lets go at the success, a tick or two before the session ends the phase.
                states = [
                    step.state
                    for step in steps
                    if (step.episode, step.phase) == (event.episode, msg.SessionState.PHASE_CRITICAL)
                    and from_stamp(step.header.stamp) <= from_stamp(event.header.stamp)
                ]
                if msg.ControlStep.STATE_HUMAN in states and set(flew) & set(states):
                    found.append((event.episode, states))
        return found

    ros.wait(lambda: bool(helped()), 90, "a success with a human's help")
    ended, states = helped()[0]
    event = next(e for e in events if (e.episode, e.kind) == (ended, msg.EpisodeEvent.KIND_END))
    assert event.interventions == 1
    assert event.human_ticks == pytest.approx(states.count(msg.ControlStep.STATE_HUMAN), abs=3)
    assert event.ticks == pytest.approx(len(states), abs=3)
    taken = states.index(msg.ControlStep.STATE_HUMAN)
    assert states[taken - 1] in flew
    ends = set(states[taken:]) - {msg.ControlStep.STATE_HOLD}  # for a moment, on a busy machine
    assert ends == {msg.ControlStep.STATE_HUMAN}, "the human flies to the end"
    human = msg.ControlStep.STATE_HUMAN
    ros.wait(lambda: bool(learner) and learner[-1].samples_by_source[human] > 0, 20, "samples of the human")
    ros.wait(
        lambda: steps[-1].episode > ended and steps[-1].state == msg.ControlStep.STATE_ACTOR,
        30,
        "the actor has it back",
    )

    # The VLA is killed in mid-chunk: the robot holds where it is, until the VLA sees again.
    ros.wait(lambda: steps[-1].state == msg.ControlStep.STATE_ACTOR and steps[-1].row in range(3, 6), 30, "mid-chunk")
    graph.kill("vla_node")
    steps.clear()
    # On a busy machine the robot may be late for a moment too: that is another hold, and passes.
    ros.wait(lambda: bool(steps) and steps[-1].reason == "policy_input_stale", 10, "hold")
    held = steps[-1]
    assert held.state == msg.ControlStep.STATE_HOLD
    ros.wait(lambda: list(steps[-1].command) == list(steps[-1].previous), 0.5, "rest, within the deceleration limit")
    ros.wait(lambda: steps[-1].state == msg.ControlStep.STATE_ACTOR, 60, "it flies on")
    # The one hold of that moment: a VLA that has just come back may be late again.
    since = itertools.dropwhile(lambda step: step.reason != held.reason, steps)
    hold = itertools.takewhile(lambda step: (step.reason, step.episode) == (held.reason, held.episode), since)
    resting = itertools.dropwhile(lambda step: list(step.command) != list(step.previous), hold)
    # Where joint states are late too nothing is sent any more: told is where the robot is found.
    told = {tuple(step.command) for step in resting if list(step.command) != list(step.position)}
    assert len(told) <= 1, "it stays where it is"
    assert graph.process.poll() is None


def what_it_saw(chunk: msg.ActionChunk, message: msg.PolicyInput) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Token, proprioception and reference that `chunk` was decided from."""
    seen = policy_input_from_msg(message)
    reference = reference_actions(seen, from_stamp(chunk.header.stamp), chunk.rows, BUNDLE.normaliser)
    assert reference is not None
    return seen.token, np.array(chunk.proprio, dtype=np.float32), reference


@pytest.mark.parametrize("graph", ["simulated"], indirect=True)
def test_a_second_graph_on_the_same_domain_is_refused_and_a_dead_robot_stops_all(graph: Graph, tmp_path: Path) -> None:
    steps = graph.ros.listen(msg.ControlStep, "step", RECORD_QOS)
    steps.clear()
    graph.ros.wait(lambda: bool(steps), 60, "a step")
    second = subprocess.run(
        [sys.executable, "-m", "rlt_ros.cli", "up", "sim", "--headless", "--runs", str(tmp_path / "second")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 2
    assert "already run on ROS domain" in second.stderr
    assert "Traceback" not in second.stderr
    graph.kill("sim_node")
    assert graph.process.wait(60) == 1
    assert "sim_node ended with code -9: stopping" in (graph.run_dir.parent / "errors").read_text()


def test_a_robot_that_somebody_else_commands_already_is_refused(domain: int, tmp_path: Path) -> None:
    """Another graph's executor, in whatever namespace: a real robot's topics have one name for all."""
    with listener() as ros:
        ros.node.create_publisher(Float64MultiArray, "/forward_position_controller/commands", 1)
        second = subprocess.run(
            [
                sys.executable,
                "-m",
                "rlt_ros.cli",
                "up",
                "robot",
                "--robot",
                str(CELL),
                "--namespace",
                "/cell_2",
                "--runs",
                str(tmp_path),
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert second.returncode == 2
    assert "/rlt/listener publishes on /forward_position_controller/commands already" in second.stderr
    assert not list(tmp_path.glob("*/run.json")), "what did not start is no run"
