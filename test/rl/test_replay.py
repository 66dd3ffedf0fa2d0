"""The replay: gathered chunks equal the ticks they were made of, before and after it wraps round."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlt_ros.rl.replay import Replay, ReplaySpec
from rlt_ros.rl.samples import Segment, StateRecord
from rlt_ros.types import State

JOINTS, TOKEN, CHUNK = 2, 3, 10


def segment(
    serial: int,
    rows: int = CHUNK,
    terminal: bool = False,
    reward: float = 0.0,
    valid: bool = True,
    source: State = State.ACTOR,
) -> Segment:
    """State `serial` of the whole stream: its token is its serial, its two actions are 2 serial and 2 serial + 1."""
    ticks = np.array([2 * serial, 2 * serial + 1], dtype=np.float32)
    rewards = np.zeros(2, np.float32)
    if reward:
        rewards[(rows - 1) % 2] = reward
    return Segment(
        StateRecord(
            valid,
            np.full(TOKEN, serial, np.float32),
            np.full(2 * JOINTS, serial, np.float32),
            np.full((CHUNK, JOINTS), -1.0, np.float32),
        ),
        np.repeat(ticks[:, None], JOINTS, 1),
        np.full(2, source, np.uint8),
        rewards,
        rows,
        terminal,
    )


def fill(replay: Replay, lengths: list[int], success: bool = True) -> None:
    """Episodes of these many states, each ending with a success on its last tick."""
    serial = 0
    for length in lengths:
        replay.begin_episode()
        for index in range(length):
            rows = min(CHUNK, 2 * (length - index))
            last = index == length - 1
            replay.add(segment(serial, rows, rows < CHUNK or index == length - 5, float(success and last)))
            serial += 1


@settings(max_examples=100)
@given(st.lists(st.integers(6, 25), min_size=1, max_size=12), st.integers(20, 60), st.integers(0, 100))
def test_samples_equal_the_stream(lengths: list[int], capacity: int, seed: int) -> None:
    replay = Replay(ReplaySpec(capacity, TOKEN, JOINTS))
    fill(replay, lengths)
    assert 0 < len(replay) <= capacity
    batch = replay.sample(64, np.random.default_rng(seed))
    starts = np.cumsum([0, *lengths])
    for i in range(64):
        serial = int(batch.state[i, 0])
        assert serial >= sum(lengths) - capacity
        end = starts[np.searchsorted(starts, serial, side="right")]
        rows = min(CHUNK, 2 * (end - serial))
        assert batch.executed[i].sum() == rows
        assert batch.actions[i, :rows, 0].tolist() == [2 * serial + k for k in range(rows)]
        assert (batch.actions[i, rows:] == -1.0).all()
        if end - serial <= 5:
            assert batch.bootstrap[i] == 0.0
            assert batch.rewards[i] == pytest.approx(0.998 ** (rows - 1))
        else:
            assert batch.bootstrap[i] == pytest.approx(0.998**10)
            assert batch.rewards[i] == 0.0
            assert batch.next_state[i, 0] == serial + 5
        assert batch.returned[i] == pytest.approx(0.998 ** (2 * (end - serial) - 1), rel=1e-4)


def test_what_a_state_was_worth_is_not_known_before_its_episode_ends() -> None:
    replay = Replay(ReplaySpec(100, TOKEN, JOINTS))
    replay.begin_episode()
    for serial in range(20):
        replay.add(segment(serial))
    assert replay.sample(8, np.random.default_rng(0)).returned.isnan().all()


def test_a_sample_needs_both_its_states() -> None:
    replay = Replay(ReplaySpec(100, TOKEN, JOINTS))
    replay.begin_episode()
    for serial in range(12):
        replay.add(segment(serial, valid=serial != 7))
    drawn = {int(t) for t in replay.sample(200, np.random.default_rng(0)).state[:, 0]}
    assert drawn == {0, 1, 3, 4, 5, 6}


def test_an_unfinished_episode_never_continues_into_the_next() -> None:
    replay = Replay(ReplaySpec(100, TOKEN, JOINTS))
    replay.begin_episode()
    for serial in range(8):
        replay.add(segment(serial))
    replay.begin_episode()
    for serial in range(8, 16):
        replay.add(segment(serial))
    drawn = {int(t) for t in replay.sample(300, np.random.default_rng(0)).state[:, 0]}
    assert drawn == {0, 1, 2, 8, 9, 10}


def test_the_asked_share_is_drawn_from_what_a_human_flew_before_and_after_eviction_and_a_restart() -> None:
    replay = Replay(ReplaySpec(40, TOKEN, JOINTS))
    rng = np.random.default_rng(0)
    replay.begin_episode()
    for serial in range(30):
        replay.add(segment(serial))
    assert len(replay.sample(64, rng, human_mix=0.5).state) == 64, "no human yet: everything is drawn from everything"
    for serial in range(30, 60):
        replay.add(segment(serial, source=State.HUMAN if serial >= 40 else State.ACTOR))
    fresh = Replay(replay.spec)
    fresh.restore(replay.stored())
    for target in (replay, fresh):
        serials = target.sample(64, rng, human_mix=0.5).state[:, 0]
        assert (serials[:32] >= 40).all()
        assert (serials[32:] < 40).any()
    for serial in range(60, 100):
        replay.add(segment(serial))
    assert (replay.sample(64, rng, human_mix=0.5).state[:, 0] >= 60).all(), "what a human flew has been overwritten"


def test_an_empty_replay_says_so() -> None:
    with pytest.raises(ValueError, match="no sample"):
        Replay(ReplaySpec(10, TOKEN, JOINTS)).sample(1, np.random.default_rng(0))


def test_a_sample_of_the_paper_sizes_fits_its_budget() -> None:
    assert Replay(ReplaySpec(1000, token_dim=2048, joints=14)).bytes_per_sample <= 5500
