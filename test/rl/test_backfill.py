"""Late tokens: every state ends with the newest one that was seen at or before its moment, whatever came when."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import BUNDLE, JOINTS, PERIOD, TOKEN, control_step, normaliser, policy_input, session

from rlt_ros.refusals import Refusals
from rlt_ros.rl.backfill import REACH, Backfill
from rlt_ros.rl.ingest import Ingest
from rlt_ros.rl.replay import Replay, ReplaySpec
from rlt_ros.rl.samples import EpisodeBuilder, SampleConfig, StateRecord
from rlt_ros.types import Outcome, Phase, PolicyInput


def token_of(seen: float) -> np.ndarray:
    return np.full(TOKEN, np.float16(0.5 + seen), np.float32)


def late(seen: float) -> PolicyInput:
    return dataclasses.replace(policy_input(seen, 0), token=token_of(seen))


def flown(lates: list[int], before: int, *, slow: int = 10, capacity: int = 1000) -> tuple[Ingest, Replay]:
    """60 ticks with a pass every `slow` ticks, late tokens of some ticks, some of them before the episode is stored."""
    replay = Replay(ReplaySpec(capacity, TOKEN, JOINTS))
    ingest = Ingest(EpisodeBuilder(SampleConfig(), normaliser(), BUNDLE, TOKEN), replay)
    ingest.session(1)
    for number in range(7):
        ingest.policy_input(dataclasses.replace(policy_input(number * slow * PERIOD, number), token=token_of(-0.1)))
    for tick in lates[:before]:
        ingest.backfill.policy_input(late(tick * PERIOD))
    for k in range(60):
        step = control_step(k, k * PERIOD, input_sequence=k // slow)
        ingest.step(dataclasses.replace(step, session=session(Phase.CRITICAL)))
    ingest.end(1, 1, 59.5 * PERIOD, Outcome.SUCCESS)
    ingest.flush()
    for tick in lates[before:]:
        ingest.backfill.policy_input(late(tick * PERIOD))
    return ingest, replay


def tokens(replay: Replay) -> torch.Tensor:
    return replay.gather(np.arange(replay.written - 5))[0][:, 0]


@given(st.data())
@settings(max_examples=60)
def test_every_state_ends_with_the_newest_token_of_its_past(data: st.DataObject) -> None:
    lates = data.draw(st.lists(st.integers(0, 59), unique=True, max_size=30))
    before = data.draw(st.integers(0, len(lates)))
    ingest, replay = flown(lates, before)
    found = tokens(replay)
    for state in range(25):
        tick = 2 * state
        known = [seen for seen in lates if tick // 10 * 10 < seen <= tick]
        expected = token_of(max(known) * PERIOD)[0] if known else token_of(-0.1)[0]
        assert found[state] == expected, (tick, known)
    held = flown([], 0)[1]
    assert replay.digest == held.digest, "what the steps gave is the same, whenever tokens come"
    assert ingest.backfill.filled >= sum(1 for state in range(30) if any(s == 2 * state for s in lates if s % 10))


def test_next_states_have_their_own_token_too() -> None:
    _, replay = flown(list(range(60)), 0)
    batch = replay.gather(np.arange(20))
    assert torch.equal(batch.next_state[:15], batch.state[5:])
    assert len(batch.state[:, 0].unique()) == 17, "those of the four passes have the one that they had"


def test_a_token_of_another_bundle_or_of_nan_is_refused_and_told() -> None:
    ingest, replay = flown([], 0)
    before = tokens(replay).clone()
    ingest.backfill.policy_input(dataclasses.replace(late(0.1), bundle_id="another"))
    ingest.backfill.policy_input(dataclasses.replace(late(0.1), token=np.ones(TOKEN + 1, np.float32)))
    ingest.backfill.policy_input(dataclasses.replace(late(0.1), token=np.full(TOKEN, np.nan, np.float32)))
    assert torch.equal(tokens(replay), before)
    assert ingest.counters["input_wrong_bundle"] == 2
    assert ingest.counters["input_not_finite"] == 1


def test_an_old_token_reaches_no_state_of_later() -> None:
    replay = Replay(ReplaySpec(10, TOKEN, JOINTS))
    backfill = Backfill(replay, BUNDLE, Refusals())
    state = StateRecord(True, token_of(0), np.zeros(2 * JOINTS), np.zeros((10, JOINTS)), time=5.0, seen=3.0)
    backfill.stored(0, state)
    backfill.policy_input(late(5.0 - REACH))
    assert backfill.filled == 0


@pytest.mark.parametrize("capacity", [12, 1000])
def test_states_that_were_overwritten_are_left_alone(capacity: int) -> None:
    ingest, replay = flown(list(range(1, 60, 2)), 0, capacity=capacity)
    assert ingest.backfill.filled > 0
    newest = replay._state[(replay.written - 1) % capacity, 0]
    assert newest == token_of(57 * PERIOD)[0]


def test_a_clock_that_is_set_back_forgets_what_was_before() -> None:
    replay = Replay(ReplaySpec(10, TOKEN, JOINTS))
    backfill = Backfill(replay, BUNDLE, Refusals())
    state = StateRecord(True, token_of(0), np.zeros(2 * JOINTS), np.zeros((10, JOINTS)), time=5.0, seen=5.0)
    backfill.stored(0, state)
    backfill.stored(1, dataclasses.replace(state, time=2.0, seen=1.0))
    backfill.policy_input(late(1.5))
    assert backfill.filled == 0, "nothing of this clock was ever written to the replay"
