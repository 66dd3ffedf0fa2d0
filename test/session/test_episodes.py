"""The session's state machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlt_ros.config import ConfigError
from rlt_ros.session.config import SessionConfig
from rlt_ros.session.episodes import EventKind, Session, SessionError
from rlt_ros.session.statistics import EpisodeRecord, Throughput, summarise
from rlt_ros.types import Outcome, Phase


class Clock:
    """A session and its time."""

    def __init__(self, **config: object) -> None:
        self.session = Session(SessionConfig(settle_time=0.1, pause_time=0.1, **config))
        self.now = 100.0
        self.events: list = []

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            self.now += 0.02
            self.events += self.session.tick(self.now)

    def episode(self, outcome: Outcome) -> None:
        """From RESET to ENDED."""
        self.events += self.session.reset_done(self.now)
        self.run(0.2)
        self.events += self.session.label(self.now, outcome)


def test_a_controlled_episode_from_start_to_the_next_reset() -> None:
    clock = Clock()
    clock.session.start(clock.now)
    assert (clock.session.phase, clock.session.wants_reset) == (Phase.RESET, True)
    clock.run(5.0)
    assert clock.session.phase is Phase.RESET, "it must wait until the scene is ready"
    clock.session.reset_done(clock.now)
    clock.run(0.2)
    assert clock.session.phase is Phase.CRITICAL
    clock.events += clock.session.observed(clock.now, Outcome.SUCCESS)
    assert (clock.session.phase, clock.session.outcome) == (Phase.ENDED, Outcome.SUCCESS)
    clock.run(0.2)
    assert (clock.session.phase, clock.session.wants_reset) == (Phase.RESET, True)
    assert [event.kind for event in clock.events] == [EventKind.START, EventKind.BEGIN_CRITICAL, EventKind.END]


@pytest.mark.parametrize("outcome", [Outcome.SUCCESS, Outcome.FAILURE])
def test_the_scene_may_tell_either_outcome_but_only_while_an_episode_runs(outcome: Outcome) -> None:
    clock = Clock()
    assert clock.session.observed(clock.now, outcome) == []
    clock.session.start(clock.now)
    clock.session.reset_done(clock.now)
    clock.run(0.2)
    assert [event.outcome for event in clock.session.observed(clock.now, outcome)] == [outcome]


def test_the_full_task_waits_for_the_critical_phase() -> None:
    clock = Clock(controlled=False)
    clock.session.start(clock.now)
    clock.session.reset_done(clock.now)
    clock.run(0.2)
    assert clock.session.phase is Phase.BASE
    clock.session.begin_critical(clock.now)
    assert clock.session.phase is Phase.CRITICAL


def test_time_out_is_an_outcome_of_its_own() -> None:
    clock = Clock(time_limit=1.0)
    clock.session.start(clock.now)
    clock.session.reset_done(clock.now)
    clock.run(1.2)
    assert clock.events[-1].outcome is Outcome.TIMEOUT
    assert clock.events[-1].duration == pytest.approx(1.0, abs=0.05)


def test_the_actor_is_enabled_after_the_warm_up() -> None:
    clock = Clock(warmup_episodes=2)
    clock.session.start(clock.now)
    seen = []
    for _ in range(4):
        clock.episode(Outcome.SUCCESS)
        seen.append(clock.session.actor_enabled)
        clock.run(0.2)
    assert seen == [False, False, True, True]


def test_the_base_flies_in_turn_with_the_actor_if_asked() -> None:
    clock = Clock(warmup_episodes=1, base_every=2)
    clock.session.start(clock.now)
    seen = []
    for _ in range(5):
        clock.episode(Outcome.SUCCESS)
        seen.append(clock.session.actor_enabled)
        clock.run(0.2)
    assert seen == [False, False, True, False, True]


def test_figures_of_some_episodes_count_no_aborted_one() -> None:
    records = [
        EpisodeRecord(1, Outcome.SUCCESS, 2.0, True),
        EpisodeRecord(2, Outcome.SUCCESS, 4.0, True),
        EpisodeRecord(3, Outcome.TIMEOUT, 6.0, True),
        EpisodeRecord(4, Outcome.ABORT, 60.0, True),
    ]
    assert summarise(records) == {"episodes": 3, "successes": 2, "median_s": 3.0, "throughput_per_10min": 100.0}
    assert summarise([])["median_s"] is None


def test_a_label_can_be_corrected_and_undone_until_the_next_episode() -> None:
    clock = Clock()
    clock.session.start(clock.now)
    clock.episode(Outcome.SUCCESS)
    assert clock.session.statistics.successes == 1
    clock.session.undo(clock.now)
    assert (clock.session.statistics.successes, clock.session.statistics.episodes) == (0, 1)
    event = clock.session.label(clock.now, Outcome.SUCCESS)[0]
    assert (event.kind, clock.session.statistics.successes) == (EventKind.LABEL, 1)
    clock.run(0.3)
    assert clock.session.phase is Phase.RESET
    clock.session.undo(clock.now)
    clock.session.reset_done(clock.now)
    clock.run(0.3)
    with pytest.raises(SessionError, match="no ended episode"):
        clock.session.undo(clock.now)


def test_requests_that_do_not_fit_say_what_would() -> None:
    clock = Clock()
    with pytest.raises(SessionError, match="not running"):
        clock.session.stop(clock.now)
    with pytest.raises(SessionError, match="needs phase BASE, it is IDLE"):
        clock.session.begin_critical(clock.now)
    with pytest.raises(SessionError, match="no reset is awaited"):
        clock.session.reset_done(clock.now)
    with pytest.raises(SessionError, match="TIMEOUT cannot be given"):
        clock.session.label(clock.now, Outcome.TIMEOUT)
    clock.session.start(clock.now)
    with pytest.raises(SessionError, match="already running"):
        clock.session.start(clock.now)


def test_stopping_aborts_the_running_episode_which_counts_nowhere() -> None:
    clock = Clock()
    clock.session.start(clock.now)
    clock.session.reset_done(clock.now)
    clock.run(0.5)
    events = clock.session.stop(clock.now)
    assert events[0].outcome is Outcome.ABORT
    assert (clock.session.phase, clock.session.statistics.episodes) == (Phase.IDLE, 0)


def test_the_session_ends_after_the_wanted_number_of_episodes() -> None:
    clock = Clock(max_episodes=2)
    clock.session.start(clock.now)
    for _ in range(2):
        clock.episode(Outcome.FAILURE)
        clock.run(0.2)
    assert clock.session.phase is Phase.IDLE
    assert clock.session.label(clock.now, Outcome.SUCCESS)[0].kind is EventKind.LABEL, "the last one too"
    assert clock.session.statistics.successes == 1


def begun(**config: object) -> Clock:
    clock = Clock(**config)
    clock.session.start(clock.now)
    clock.session.reset_done(clock.now)
    clock.run(0.2)
    return clock


def fly(clock: Clock, seconds: float, human: bool) -> None:
    for _ in range(round(seconds / 0.02)):
        clock.run(0.02)
        clock.session.step(clock.now, human)


def test_a_hold_in_the_middle_of_an_intervention_is_no_second_takeover() -> None:
    """A robot that was late for a moment made one takeover two."""
    clock = begun()
    fly(clock, 0.2, human=False)
    for held in (False, True, False):
        for _ in range(5):
            clock.run(0.02)
            clock.session.step(clock.now, human=not held, held=held)
    event = clock.session.label(clock.now, Outcome.SUCCESS)[-1]
    assert (event.human_ticks, event.interventions) == (10, 1)


def test_takeovers_and_their_share_are_counted_in_episodes_and_overall() -> None:
    clock = begun()
    for seconds, human in ((0.2, False), (0.4, True), (0.2, False), (0.2, True)):
        fly(clock, seconds, human)
    event = clock.session.label(clock.now, Outcome.SUCCESS)[-1]
    assert (event.ticks, event.human_ticks, event.interventions) == (50, 30, 2)
    statistics = clock.session.statistics
    assert (statistics.interventions, statistics.intervention_share) == (2, pytest.approx(0.6))
    event = clock.session.undo(clock.now)[0]
    assert (event.interventions, statistics.interventions) == (2, 2), "a label changes no counts"
    clock.session.step(clock.now, True)
    assert clock.session.label(clock.now, Outcome.FAILURE)[0].human_ticks == 30, "the episode is over"
    clock.run(0.3)
    clock.session.reset_done(clock.now)
    clock.run(0.3)
    fly(clock, 0.1, False)
    assert clock.session.label(clock.now, Outcome.FAILURE)[0].interventions == 0


@pytest.mark.parametrize(("policy", "left"), [("runs", 4.0), ("pauses", 6.0), ("restarts", 9.0)])
def test_what_the_time_limit_does_while_a_human_flies(policy: str, left: float) -> None:
    clock = begun(clock_with_human=policy, time_limit=10.0)
    gone = 10.0 - clock.session.time_left(clock.now)
    fly(clock, 3.0 - gone, False)
    fly(clock, 2.0, True)
    fly(clock, 1.0, False)
    assert clock.session.time_left(clock.now) == pytest.approx(left, abs=0.05)
    clock.run(left - 0.1)
    assert clock.session.phase is Phase.CRITICAL
    clock.run(0.3)
    assert clock.events[-1].outcome is Outcome.TIMEOUT
    assert clock.events[-1].duration == pytest.approx(6.0 + left, abs=0.1), "throughput counts all of it"


def test_the_phase_head_performs_the_switch_after_some_passes_in_a_row() -> None:
    clock = begun(controlled=False, handover="perform", handover_passes=3, handover_probability=0.8)
    for probability in (0.9, 0.9, 0.7, 0.9, 0.9):
        assert clock.session.phase_head(clock.now, probability) == []
    events = clock.session.phase_head(clock.now, 0.9)
    assert [event.kind for event in events] == [EventKind.BEGIN_CRITICAL]
    assert clock.session.phase is Phase.CRITICAL
    assert clock.session.phase_head(clock.now, 0.9) == []


def test_a_proposal_switches_nothing_and_may_be_withdrawn() -> None:
    clock = begun(controlled=False, handover="propose", handover_passes=2)
    for probability, proposed in ((0.9, False), (0.9, True), (0.9, True), (0.1, False)):
        assert clock.session.phase_head(clock.now, probability) == []
        assert clock.session.critical_proposed is proposed
    assert clock.session.phase is Phase.BASE


def test_by_default_the_operator_alone_switches() -> None:
    clock = begun(controlled=False)
    for _ in range(10):
        clock.session.phase_head(clock.now, 1.0)
    assert (clock.session.phase, clock.session.critical_proposed) == (Phase.BASE, False)


@pytest.mark.parametrize("change", [{"handover": "guess"}, {"clock_with_human": "flies"}])
def test_unknown_choices_are_refused(change: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="is unknown: choose"):
        SessionConfig(**change).check()


OUTCOMES = st.sampled_from([Outcome.SUCCESS, Outcome.FAILURE, Outcome.TIMEOUT, Outcome.ABORT])


@given(st.lists(st.tuples(OUTCOMES, st.floats(0.1, 20)), max_size=60))
def test_throughput_is_successes_per_ten_minutes(history: list[tuple[Outcome, float]]) -> None:
    counted = Throughput(window=20)
    for number, (outcome, duration) in enumerate(history):
        counted.add(EpisodeRecord(number, outcome, duration, True))
    real = [(o, d) for o, d in history if o is not Outcome.ABORT]
    assert counted.episodes == len(real)
    recent = real[-20:]
    if recent:
        wins = sum(o is Outcome.SUCCESS for o, _ in recent)
        assert counted.success_rate == pytest.approx(wins / len(recent))
        assert counted.recent_per_10min == pytest.approx(wins / sum(d for _, d in recent) * 600)


def test_S4_an_emergency_stop_ends_the_episode_as_abort_and_no_other_begins_meanwhile() -> None:
    session = Session(SessionConfig(settle_time=0.0, pause_time=0.1, time_limit=5.0))
    session.start(0.0)
    session.reset_done(0.0)
    session.tick(0.0)
    assert session.running
    session.held = True
    (event,) = session.stopped(1.0)
    assert (event.kind, event.outcome) == (EventKind.END, Outcome.ABORT)
    assert session.stopped(1.1) == [], "it ends once"
    for tick in range(200):
        session.tick(1.1 + tick * 0.02)
    assert session.phase is Phase.ENDED, "nothing begins while the robot is stopped"
    session.held = False
    session.tick(6.0)
    assert session.phase is Phase.RESET
    assert session.statistics.successes == 0


def test_S4_while_the_operator_holds_the_robot_the_time_limit_waits() -> None:
    session = Session(SessionConfig(settle_time=0.0, time_limit=1.0))
    session.start(0.0)
    session.reset_done(0.0)
    session.tick(0.0)
    for tick in range(1, 200):
        now = tick * 0.02
        session.held = tick > 25
        session.step(1e6 + now, human=False, held=session.held)
        session.tick(now)
    assert session.running
    assert session.time_left(now) == pytest.approx(0.5, abs=0.05)


def test_W1_stamps_of_another_clock_do_not_move_the_time_limit() -> None:
    session = Session(SessionConfig(settle_time=0.0, time_limit=1.0, clock_with_human="restarts"))
    session.start(0.0)
    session.reset_done(0.0)
    session.tick(0.0)
    for tick in range(1, 30):
        session.tick(tick * 0.02)
        session.step(3600.0 + tick * 0.02, human=True)
    assert session.time_left(30 * 0.02) == pytest.approx(1.0, abs=0.05)


def test_S4_an_episode_in_which_the_robot_is_held_for_ever_is_aborted_and_no_failure() -> None:
    """As when a VLA or a teleop process died: standing still says nothing about whoever flies."""
    session = Session(SessionConfig(settle_time=0.0, time_limit=1.0))
    session.start(0.0)
    session.reset_done(0.0)
    session.tick(0.0)
    events = []
    for tick in range(1, 200):
        now = tick * 0.02
        session.step(now, human=False, held=tick > 25)
        events += session.tick(now)
        if events:
            break
    assert [(event.kind, event.outcome) for event in events] == [(EventKind.END, Outcome.ABORT)]
    assert now == pytest.approx(1.5, abs=0.1)
