"""What the page is told."""

from __future__ import annotations

import json

import pytest

from rlt_ros.console.state import COLUMNS, ConsoleState, Picture
from rlt_ros.session.statistics import EpisodeRecord, base_band
from rlt_ros.types import Outcome


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(clock: Clock) -> ConsoleState:
    return ConsoleState("/rlt", ("base", "wrist"), 3, clock)


def record(number: int, outcome: Outcome = Outcome.SUCCESS, **changes: object) -> EpisodeRecord:
    return EpisodeRecord(number, outcome, **{"duration": 2.0, "actor_enabled": False, "ticks": 100, **changes})


def test_silence_ages_and_nothing_is_none(state: ConsoleState, clock: Clock) -> None:
    assert state.snapshot()["executor"] is None
    state.update("executor", {"state": "ACTOR"})
    clock.now += 4.0
    assert state.snapshot()["executor"] == {"state": "ACTOR", "age": 4.0}


def test_only_what_is_urgent_hurries_the_page(state: ConsoleState) -> None:
    assert state.update("executor", {"state": "ACTOR", "rate": 50}, urgent=("state",))
    assert not state.update("executor", {"state": "ACTOR", "rate": 49}, urgent=("state",))
    assert state.update("executor", {"state": "HOLD", "rate": 49}, urgent=("state",))


def test_what_is_not_finite_has_no_word_in_json(state: ConsoleState) -> None:
    state.update("learner", {"td_error": float("nan"), "updates_per_s": float("inf"), "updates": 3})
    state.sample()
    told = json.loads(json.dumps(state.snapshot(), allow_nan=False))
    assert told["learner"]["updates"] == 3
    assert told["learner"]["td_error"] is None


def test_a_row_has_only_what_is_fresh(state: ConsoleState, clock: Clock) -> None:
    state.update("learner", {"updates_per_s": 90.0, "td_error": 0.1})
    state.sample()
    clock.now += 10.0
    state.sample()
    first, second = state.snapshot()["rows"]
    assert len(first) == len(COLUMNS)
    assert first[COLUMNS.index("updates_per_s")] == 90.0
    assert second[1:] == [None] * (len(COLUMNS) - 1)


def test_a_page_is_told_each_row_and_episode_once_and_new_labels_again(state: ConsoleState) -> None:
    state.sample()
    state.episode(record(1), 7, 50.0)
    first = state.snapshot()
    assert (len(first["rows"]), len(first["episodes"])) == (1, 1)
    state.episode(record(1, Outcome.FAILURE), 7, 50.0)
    second = state.snapshot(first["count"])
    assert second["rows"] == []
    assert [(entry["episode"], entry["success"]) for entry in second["episodes"]] == [(1, False)]
    assert state.snapshot(second["count"])["episodes"] == []
    json.dumps(second)


def test_history_and_warnings_are_bounded(state: ConsoleState) -> None:
    for number in range(100):
        state.sample()
        state.warning("vla_node", "warning", f"{number}")
        state.warning("vla_node", "warning", f"{number}")
    told = state.snapshot()
    assert len(told["rows"]) == 3
    assert len(told["warnings"]) == 50
    assert told["warnings"][-1] == {"node": "vla_node", "level": "warning", "text": "99", "count": 2, "age": 0.0}


def test_rates_are_of_the_last_seconds(state: ConsoleState, clock: Clock) -> None:
    for _ in range(60):
        state.heard("camera base")
        clock.now += 0.1
    assert state.rate("camera base") == pytest.approx(10.0, abs=0.4)
    clock.now += 10.0
    assert state.rate("camera base") == 0.0


def test_pictures_are_the_newest(state: ConsoleState) -> None:
    state.picture("base", Picture(1.0, b"old"))
    state.picture("base", Picture(2.0, b"new"))
    assert state.pictures() == {"base": Picture(2.0, b"new")}


# -- the base's band -----------------------------------------------------------------------------------------


def test_what_a_human_helped_with_is_no_success_of_the_base_and_demonstrations_are_not_its() -> None:
    own = [record(number, Outcome.SUCCESS if number % 2 else Outcome.TIMEOUT) for number in range(10)]
    helped = [record(20 + number, interventions=1, human_ticks=40) for number in range(10)]
    shown = [record(40 + number, interventions=1, human_ticks=95) for number in range(10)]
    flown = [record(60 + number, actor_enabled=True) for number in range(10)]
    band = base_band([*own, *helped, *shown, *flown, record(99, Outcome.ABORT)])
    assert band is not None
    assert band["episodes"] == 20
    low, value, high = band["success_rate"]
    assert value == 0.25
    assert low < value < high
    low, value, high = band["throughput_per_10min"]
    assert value == pytest.approx(5 / 40 * 600)
    assert low < value < high


def test_few_episodes_give_no_band() -> None:
    assert base_band([record(number) for number in range(4)]) is None
