"""Samples row by row: what is stored is what flew, and rewards sit on their tick."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import BUNDLE, JOINTS, PERIOD, TOKEN, control_step, normaliser, policy_input

from rlt_ros.rl.replay import Replay, ReplaySpec
from rlt_ros.rl.samples import EpisodeBuilder, SampleConfig, Segment
from rlt_ros.types import Outcome, State


def builder(margin: int = 0, **changes: bool) -> EpisodeBuilder:
    made = EpisodeBuilder(SampleConfig(chunk=10, stride=2, margin=margin, **changes), normaliser(), BUNDLE, TOKEN)
    for sequence in range(200):
        made.policy_input(policy_input(sequence * 2 * PERIOD, sequence, token=np.full(TOKEN, sequence + 1, np.float32)))
    return made


def steps(count: int, **changes: object) -> list:
    """Tick k at time k * PERIOD, with the policy input captured one or two ticks before."""
    return [control_step(k, k * PERIOD, input_sequence=max(0, (k - 1) // 2), **changes) for k in range(count)]


def collect(made: EpisodeBuilder, flown: list, outcome: Outcome, end: float) -> list[Segment]:
    segments = [segment for step in flown for segment in made.step(step)]
    return segments + list(made.end(end, outcome))


@given(st.integers(1, 60), st.sampled_from([Outcome.SUCCESS, Outcome.FAILURE, Outcome.TIMEOUT]), st.integers(0, 30))
def test_every_tick_is_stored_once_and_the_reward_is_on_the_last(count: int, outcome: Outcome, margin: int) -> None:
    segments = collect(builder(margin), steps(count), outcome, count * PERIOD)
    assert len(segments) == (count + 1) // 2
    sources = np.concatenate([segment.sources for segment in segments])[:count]
    assert (sources == State.ACTOR).all()
    actions = np.concatenate([segment.actions for segment in segments])
    assert np.allclose(actions[:count], 1.0, atol=1e-4)
    assert not actions[count:].any()
    rewards = np.concatenate([segment.reward for segment in segments])
    assert rewards.sum() == (1.0 if outcome is Outcome.SUCCESS else 0.0)
    if outcome is Outcome.SUCCESS:
        assert rewards[count - 1] == 1.0
    for index, segment in enumerate(segments):
        left = count - 2 * index
        assert segment.rows == min(10, left)
        assert segment.terminal == (left <= 10)


def test_the_margin_changes_nothing_but_the_moment() -> None:
    """Segments that come out while the episode runs equal those that come out at its end."""
    early, late = (collect(builder(margin), steps(57), Outcome.SUCCESS, 99.0) for margin in (0, 1000))
    assert len(early) == len(late)
    for a, b in zip(early, late, strict=True):
        assert (a.rows, a.terminal) == (b.rows, b.terminal)
        assert np.array_equal(a.actions, b.actions)
        assert np.array_equal(a.state.reference, b.state.reference)


def test_an_outcome_that_arrives_late_still_meets_its_tick() -> None:
    segments = collect(builder(margin=25), steps(60), Outcome.SUCCESS, 40 * PERIOD)
    rewards = np.concatenate([segment.reward for segment in segments])
    assert np.flatnonzero(rewards).tolist() == [40]
    assert len(segments) == 21


def test_token_and_reference_are_those_of_the_newest_input_of_the_tick() -> None:
    flown = steps(30)
    segments = collect(builder(), flown, Outcome.FAILURE, 99.0)
    for index, segment in enumerate(segments):
        assert np.allclose(segment.state.token, flown[2 * index].input_sequence + 1)
        assert np.allclose(segment.state.reference, 1.0, atol=1e-3)


@pytest.mark.parametrize("replaces", [True, False])
def test_a_human_step_replaces_the_reference_of_its_row_or_is_held_beside_it(replaces: bool) -> None:
    flown = steps(30)
    for k in range(12, 17):
        flown[k] = dataclasses.replace(flown[k], state=State.HUMAN, command=flown[k].previous + 5e-3)
    made = builder(human_replaces_reference=replaces)
    replay = Replay(ReplaySpec(100, TOKEN, JOINTS))
    replay.begin_episode()
    segments = collect(made, flown, Outcome.FAILURE, 99.0)
    for index, segment in enumerate(segments):
        for row in range(segment.rows):
            human = 12 <= 2 * index + row < 17
            assert np.allclose(segment.state.reference[row], 5.0 if human and replaces else 1.0, atol=1e-3)
        replay.add(segment)
    anchor = replay.gather(np.arange(len(segments))).anchor
    for index, segment in enumerate(segments):
        for row in range(segment.rows):
            human = 12 <= 2 * index + row < 17
            assert np.allclose(anchor[index, row], 5.0 if human else 1.0, atol=5e-3), "the actor follows the human"


def test_a_lost_input_makes_its_state_invalid_and_is_counted() -> None:
    made = builder()
    flown = [dataclasses.replace(step, input_sequence=9999) if step.sequence == 4 else step for step in steps(20)]
    segments = collect(made, flown, Outcome.FAILURE, 99.0)
    assert [segment.state.valid for segment in segments[:4]] == [True, True, False, True]
    assert made.counters["input_missing"] == 1


def test_ticks_before_the_first_input_are_not_part_of_the_episode() -> None:
    blind = [dataclasses.replace(step, input_sequence=-1) for step in steps(3)]
    made = builder()
    assert not [segment for step in blind for segment in made.step(step)]
    assert made.ticks == 0


def test_an_abort_ends_without_a_terminal() -> None:
    assert not any(segment.terminal for segment in collect(builder(), steps(30), Outcome.ABORT, 99.0))


def test_inputs_of_another_bundle_are_refused() -> None:
    made = builder()
    made.policy_input(policy_input(0.0, 500, bundle_id="other"))
    made.policy_input(policy_input(0.0, 501, token=np.ones(TOKEN + 1, np.float32)))
    assert made.counters["input_wrong_bundle"] == 2


def test_a_stride_that_does_not_divide_the_chunk_is_refused() -> None:
    with pytest.raises(ValueError, match="must divide"):
        SampleConfig(chunk=10, stride=3)


def test_an_outcome_later_than_the_margin_is_counted() -> None:
    made = builder(margin=5)
    collect(made, steps(60), Outcome.SUCCESS, 40 * PERIOD)
    assert made.counters["outcome_late"] == 1


def test_a_human_beyond_the_policys_scale_is_clipped_and_counted_a_policy_is_not() -> None:
    made = builder(human_replaces_reference=True)
    flown = steps(20)
    scale = normaliser().action_std
    flown[4] = dataclasses.replace(flown[4], state=State.HUMAN, command=flown[4].previous + 100 * scale)
    flown[5] = dataclasses.replace(flown[5], command=flown[5].previous + 100 * scale)
    segments = collect(made, flown, Outcome.SUCCESS, 99.0)
    actions = np.concatenate([segment.actions for segment in segments])
    assert np.allclose(actions[4], made.config.human_clip)
    assert np.allclose(actions[5], 100.0, rtol=1e-4)
    assert made.counters["human_clipped"] == 1
    assert np.allclose(segments[0].state.reference[4], made.config.human_clip)
