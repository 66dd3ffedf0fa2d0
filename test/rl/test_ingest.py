"""Streams that arrive late, doubled or from another session end up in the replay as they flew."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import BUNDLE, JOINTS, PERIOD, TOKEN, control_step, normaliser, policy_input, session

from rlt_ros.rl.ingest import Ingest
from rlt_ros.rl.replay import Replay, ReplaySpec
from rlt_ros.rl.samples import EpisodeBuilder, SampleConfig
from rlt_ros.types import Outcome, Phase, State


def made() -> tuple[Ingest, Replay]:
    replay = Replay(ReplaySpec(1000, TOKEN, JOINTS))
    ingest = Ingest(EpisodeBuilder(SampleConfig(), normaliser(), BUNDLE, TOKEN), replay, patience=5.0)
    ingest.session(1)
    for sequence in range(400):
        ingest.policy_input(policy_input(sequence * 2 * PERIOD, sequence))
    return ingest, replay


def tick(k: int, episode: int = 1, phase: Phase = Phase.CRITICAL, epoch: int = 1):
    view = session(phase, episode=episode, epoch=epoch)
    return dataclasses.replace(control_step(k, k * PERIOD, input_sequence=max(0, (k - 1) // 2)), session=view)


@given(st.integers(0, 20), st.integers(0, 6))
def test_the_replay_does_not_depend_on_when_the_outcome_arrives(delay: int, trailing: int) -> None:
    """Success at tick 39; the executor flies `trailing` ticks more; the message comes `delay` ticks after it."""
    ingest, replay = made()
    for k in range(100):
        if k == 40 + delay:
            ingest.end(1, 1, 39.5 * PERIOD, Outcome.SUCCESS)
        ingest.step(tick(k, phase=Phase.CRITICAL if k <= 40 + trailing else Phase.ENDED))
    ingest.step(tick(100, episode=2, phase=Phase.BASE))
    assert replay.samples == 20
    assert replay.episodes == 1
    batch = replay.sample(200, np.random.default_rng(0))
    assert (batch.rewards > 0).any()
    assert ingest.counters["episode_without_end"] == 0
    assert replay.samples_by_source.sum() == 40


def test_what_a_human_makes_of_an_episode_counts_for_the_policy_before_it_too() -> None:
    """The policy flies ticks 0 to 30, the human 31 to 59 and succeeds."""
    ingest, replay = made()
    for k in range(100):
        step = tick(k, phase=Phase.CRITICAL if k < 60 else Phase.ENDED)
        ingest.step(dataclasses.replace(step, state=State.HUMAN if k > 30 else State.ACTOR))
        if k == 60:
            ingest.end(1, 1, 59.5 * PERIOD, Outcome.SUCCESS)
    ingest.flush()
    assert replay.episodes == 1
    batch = replay.gather(replay.usable_since(0))
    assert replay.samples == 30
    assert batch.returned.gt(0).all()
    assert np.allclose(batch.returned[-1], replay.spec.discount)
    assert len(replay.human_chunks()) == 10, "whole chunks of the human's begin at ticks 32 to 50"


@pytest.mark.parametrize(
    ("first", "then", "reward", "terminal"),
    [
        (Outcome.SUCCESS, Outcome.FAILURE, 0.0, True),
        (Outcome.TIMEOUT, Outcome.SUCCESS, 1.0, True),
        (Outcome.FAILURE, Outcome.ABORT, 0.0, False),
        (Outcome.ABORT, Outcome.SUCCESS, 1.0, True),
    ],
)
def test_a_late_label_is_what_is_stored(first: Outcome, then: Outcome, reward: float, terminal: bool) -> None:
    ingest, replay = made()
    for k in range(60):
        ingest.step(tick(k, phase=Phase.CRITICAL if k < 43 else Phase.RESET))
        if k == 41:
            ingest.end(1, 1, 39.5 * PERIOD, first)
    ingest.label(1, 1, then)
    ingest.step(tick(60, episode=2))
    assert replay.samples == (20 if terminal else 15)
    batch = replay.gather(replay.usable_since(0))
    assert float(batch.rewards[-1]) == pytest.approx(reward * 0.998 if terminal else 0.0)
    assert bool(batch.bootstrap[-1] == 0) is terminal
    assert ingest.counters["label_too_late"] == 0
    ingest.label(1, 1, Outcome.SUCCESS)
    assert ingest.counters["label_too_late"] == 1


def test_only_the_critical_phase_is_stored() -> None:
    ingest, replay = made()
    for k in range(60):
        ingest.step(tick(k, phase=Phase.BASE if k < 30 else Phase.CRITICAL))
    ingest.end(1, 1, 59 * PERIOD, Outcome.FAILURE)
    ingest.flush()
    assert replay.samples == 15


def test_gaps_are_counted_and_other_sessions_refused() -> None:
    ingest, replay = made()
    ingest.step(tick(0))
    ingest.step(tick(5))
    assert ingest.gaps == 4
    ingest.session(2)
    ingest.step(tick(6, epoch=1))
    assert ingest.counters["step_of_other_session"] == 1
    ingest.end(1, 1, 0.1, Outcome.SUCCESS)
    assert ingest.counters["event_of_other_session"] == 1
    assert replay.samples == 0


def test_an_episode_whose_end_was_lost_is_counted_and_does_not_leak_into_the_next() -> None:
    ingest, replay = made()
    for k in range(330):
        if k == 200:
            assert not ingest.counters, "it may still come"
        ingest.step(tick(k, episode=1 if k < 30 else 2))
    assert ingest.counters["episode_without_end"] == 1
    ingest.end(1, 2, 329 * PERIOD, Outcome.TIMEOUT)
    ingest.flush()
    assert replay.samples == 150


def test_an_end_that_comes_four_seconds_after_the_next_episode_began_still_ends_its_own() -> None:
    """A recorder that starts again gets all steps of the last 20 s first, then all outcomes."""
    ingest, replay = made()
    for k in range(220):
        ingest.step(tick(k, episode=1 if k < 30 else 2))
    ingest.end(1, 1, 29.5 * PERIOD, Outcome.SUCCESS)
    ingest.end(1, 2, 219.5 * PERIOD, Outcome.SUCCESS)
    ingest.flush()
    assert (replay.samples, replay.episodes) == (15 + 95, 2)
    assert float(replay.gather(replay.usable_since(0)).rewards.gt(0).sum()) == 10
    assert not ingest.counters


def test_the_end_of_an_episode_that_was_never_seen_ends_nothing() -> None:
    ingest, replay = made()
    ingest.end(1, 1, 0.5, Outcome.SUCCESS)
    for k in range(30):
        ingest.step(tick(k, episode=2))
    ingest.end(1, 2, 29 * PERIOD, Outcome.SUCCESS)
    ingest.step(tick(30, episode=3, phase=Phase.BASE))
    assert replay.samples == 15


def test_an_outcome_that_overtakes_all_steps_of_its_episode_waits_for_them() -> None:
    """After a pause the queue of events is read before the longer queue of steps."""
    ingest, replay = made()
    ingest.end(1, 1, 39.5 * PERIOD, Outcome.SUCCESS)
    for k in range(60):
        ingest.step(tick(k, phase=Phase.CRITICAL if k < 43 else Phase.ENDED))
    ingest.step(tick(60, episode=2))
    assert replay.samples == 20
    assert (replay.sample(200, np.random.default_rng(0)).rewards > 0).any()


def test_a_step_that_comes_twice_is_stored_once() -> None:
    """A learner that starts again gets the last 20 s once more."""
    ingest, replay = made()
    once, wanted = made()
    for k in range(60):
        once.step(tick(k))
        ingest.step(tick(k))
    for k in range(20, 90):
        ingest.step(tick(k))
        once.step(tick(k))
    assert ingest.duplicates == 40
    assert ingest.gaps == 0
    assert replay.written > 20
    assert replay.digest == wanted.digest


def test_no_sample_reaches_over_lost_steps() -> None:
    ingest, replay = made()
    for k in [*range(40), *range(50, 90)]:
        ingest.step(tick(k))
    ingest.end(1, 1, 89.5 * PERIOD, Outcome.SUCCESS)
    ingest.flush()
    assert ingest.gaps == 10
    assert ingest.counters["episode_cut_by_gap"] == 1
    assert replay.episodes == 1
    # 15 whole chunks before the gap, none that ends in it; after it 15, and 5 to the end.
    assert len(replay) == 15 + 15 + 5
    batch = replay.gather(replay.usable_since(0))
    assert float(batch.rewards.gt(0).sum()) == 5


def test_a_clock_that_is_set_back_costs_no_step() -> None:
    ingest, replay = made()
    for k in range(60):
        late = dataclasses.replace(tick(k), time=k * PERIOD - (0.5 if k > 30 else 0.0))
        ingest.step(late)
    assert ingest.duplicates == 0
    assert replay.written > 10


def test_episodes_of_several_robots_do_not_mix() -> None:
    """Two robots fly at once; each episode is stored in one piece."""
    replay = Replay(ReplaySpec(1000, TOKEN, JOINTS))
    robots = [
        Ingest(EpisodeBuilder(SampleConfig(), normaliser(), BUNDLE, TOKEN), replay, whole_episodes=True)
        for _ in range(2)
    ]
    alone = Replay(ReplaySpec(1000, TOKEN, JOINTS))
    single = Ingest(EpisodeBuilder(SampleConfig(), normaliser(), BUNDLE, TOKEN), alone)
    for ingest in (*robots, single):
        ingest.session(1)
        for sequence in range(400):
            ingest.policy_input(policy_input(sequence * 2 * PERIOD, sequence))
    for k in range(60):
        for ingest in (*robots, single):
            ingest.step(tick(k))
    assert replay.written == 0
    for ingest in (*robots, single):
        ingest.end(1, 1, 59.5 * PERIOD, Outcome.SUCCESS)
        ingest.flush()
    assert replay.episodes == 2
    assert replay.samples == 2 * alone.samples
    one, other = replay.gather(replay.usable_since(0)), alone.gather(alone.usable_since(0))
    goes_on = other.bootstrap > 0
    one = one._replace(next_state=one.next_state[one.bootstrap > 0])
    other = other._replace(next_state=other.next_state[goes_on])
    for name in ("state", "actions", "rewards", "next_state", "returned"):
        both, half = getattr(one, name), getattr(other, name)
        assert (both[: len(half)] == half).all()
        assert (both[len(half) :] == half).all()


@given(st.lists(st.integers(0, 200), min_size=30, max_size=30), st.booleans())
def test_inputs_that_come_up_to_four_seconds_late_change_nothing(delays: list[int], announced: bool) -> None:
    """Two nodes find a third one at different times; the journal's order is not the learner's."""
    _, wanted = made()
    replay = Replay(ReplaySpec(1000, TOKEN, JOINTS))
    ingest = Ingest(EpisodeBuilder(SampleConfig(), normaliser(), BUNDLE, TOKEN), replay, patience=5.0)
    once = Ingest(EpisodeBuilder(SampleConfig(), normaliser(), BUNDLE, TOKEN), wanted)
    once.session(1)
    if announced:
        ingest.session(1)
    late: list[tuple[int, int]] = []
    for k in range(120):
        if k % 2 == 0:
            once.policy_input(policy_input(k * PERIOD, k // 2))
            late.append((k + delays[k // 2 % 30], k // 2))
    for k in range(120):
        for item in [item for item in late if item[0] <= k]:
            ingest.policy_input(policy_input(item[1] * 2 * PERIOD, item[1]))
            late.remove(item)
        ingest.step(tick(k))
        once.step(tick(k))
    for one in (ingest, once):
        one.end(1, 1, 119.5 * PERIOD, Outcome.SUCCESS)
    for _, sequence in late:
        ingest.policy_input(policy_input(sequence * 2 * PERIOD, sequence))
    for one in (ingest, once):
        one.flush()
    assert replay.digest == wanted.digest
    assert replay.samples == 60
    assert not ingest.counters


def test_an_input_that_never_comes_costs_its_states_only() -> None:
    ingest, replay = made()
    for k in range(400):
        seen = 10_000 if 20 <= k < 30 else max(0, (k - 1) // 2)
        ingest.step(dataclasses.replace(tick(k), input_sequence=seen))
    assert replay.written > 50, "what comes after it is waited for no longer"
    assert ingest.counters["input_missing"] == 5


@pytest.mark.parametrize("state", [State.HOLD, State.ESTOP])
def test_S4_ticks_of_hold_and_estop_are_never_samples(state: State) -> None:
    """They would teach that doing nothing is what the policy does there, and the time-out that it failed."""
    ingest, replay = made()
    for k in range(120):
        step = tick(k)
        if 40 <= k < 60:
            step = dataclasses.replace(step, state=state, reason="x", command=step.previous)
        ingest.step(step)
    ingest.end(1, 1, 119.5 * PERIOD, Outcome.TIMEOUT)
    ingest.flush()
    assert replay.samples_by_source[state] == 0
    batch = replay.gather(replay.usable_since(0))
    assert (batch.actions[batch.executed].abs() > 0.5).all(), "no row of a sample stands still"
    assert ingest.counters["episode_cut_by_hold"] == 1
    assert len(replay.usable_since(0)) == 15 + 30


def test_S4_an_episode_that_was_stopped_has_no_outcome() -> None:
    ingest, replay = made()
    for k in range(60):
        ingest.step(tick(k))
    ingest.end(1, 1, 59.5 * PERIOD, Outcome.ABORT)
    ingest.flush()
    batch = replay.gather(replay.usable_since(0))
    assert (batch.bootstrap > 0).all()
    assert (batch.rewards == 0).all()


def test_W1_an_end_on_another_clock_ends_at_the_newest_step() -> None:
    ingest, replay = made()
    for k in range(60):
        ingest.step(tick(k))
    ingest.end(1, 1, -3600.0, Outcome.SUCCESS)
    ingest.flush()
    assert ingest.counters["event_clock"] == 1
    assert replay.written >= 29, "the clock was set back: the episode is not cut to nothing"
