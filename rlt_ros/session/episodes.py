"""The state machine of episodes: IDLE, RESET, BASE, CRITICAL, ENDED.

Pure logic on one clock. `tick` lets time pass; the other methods are what operators, the robot and the scene
report. Each returns the events it caused, in order.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from rlt_ros.session.config import SessionConfig
from rlt_ros.session.statistics import EpisodeRecord, Throughput
from rlt_ros.types import Outcome, Phase

_LONGEST_TICK = 0.1
"""Seconds that one step may stop the clock for."""


class SessionError(RuntimeError):
    """A request does not fit the phase. The message says what would."""


class EventKind(IntEnum):
    """Equals `EpisodeEvent.KIND_*`."""

    START = 0
    BEGIN_CRITICAL = 1
    END = 2
    LABEL = 3
    UNDO = 4


@dataclass(frozen=True)
class Event:
    """A moment in an episode's life.

    Attributes:
        kind: what happened.
        time: when.
        episode: in which episode.
        outcome: NONE while the episode runs.
        duration: seconds of the episode so far.
        actor_enabled: the actor is allowed to fly in it.
        ticks: control ticks of the episode so far.
        human_ticks: of these, flown by a human.
        interventions: times that a human took over.
    """

    kind: EventKind
    time: float
    episode: int
    outcome: Outcome
    duration: float
    actor_enabled: bool
    ticks: int = 0
    human_ticks: int = 0
    interventions: int = 0


class Session:
    """Where the session is, and what may happen next."""

    def __init__(self, config: SessionConfig, episodes_before: int = 0) -> None:
        """Start idle, after so many earlier episodes, which are counted on and are part of the warm-up."""
        self.config = config
        self.phase = Phase.IDLE
        self.episode = self._before = episodes_before
        self.outcome = Outcome.NONE
        self.actor_enabled = False
        self.explore = False
        self.statistics = Throughput()
        self.wants_reset = False
        self.held = False
        """The robot is stopped, or held by its operator: no episode begins."""
        self._phase_since = 0.0
        self._episode_since = 0.0
        self._clock_from = self._now = self._stuck = 0.0
        self._tick_time: float | None = None
        self._ticks = self._human_ticks = self._interventions = 0
        self._human = False
        self._critical_passes = 0
        self._reset_done_at: float | None = None
        self._last_record: EpisodeRecord | None = None
        self._rng = np.random.default_rng((config.seed, episodes_before) if episodes_before else config.seed)

    # -- requests ------------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Event]:
        """Begin running episodes."""
        if self.phase is not Phase.IDLE:
            raise SessionError(f"already running (phase {self.phase.name})")
        self._enter_reset(now)
        return []

    def stop(self, now: float) -> list[Event]:
        """Go idle; a running episode is aborted."""
        if self.phase is Phase.IDLE:
            raise SessionError("not running")
        events = self._end(now, Outcome.ABORT) if self.running else []
        self._enter(Phase.IDLE, now)
        self.wants_reset = False
        return events

    def begin_critical(self, now: float) -> list[Event]:
        """Hand control to the actor."""
        if self.phase is not Phase.BASE:
            raise SessionError(f"begin_critical needs phase BASE, it is {self.phase.name}")
        self._enter(Phase.CRITICAL, now)
        return [self._event(EventKind.BEGIN_CRITICAL, now)]

    def label(self, now: float, outcome: Outcome) -> list[Event]:
        """Success, failure or abort: ends the running episode, or corrects the one that just ended."""
        if outcome not in (Outcome.SUCCESS, Outcome.FAILURE, Outcome.ABORT):
            raise SessionError(f"{outcome.name} cannot be given as a label")
        if self.running:
            return self._end(now, outcome)
        return [self._relabel(now, outcome, EventKind.LABEL)]

    def undo(self, now: float) -> list[Event]:
        """Take the last label back: the episode counts as a failure until it is labelled again."""
        return [self._relabel(now, Outcome.FAILURE, EventKind.UNDO)]

    def _relabel(self, now: float, outcome: Outcome, kind: EventKind) -> Event:
        if self.running or self._last_record is None:
            raise SessionError(f"there is no ended episode to label (phase {self.phase.name})")
        corrected = dataclasses.replace(self._last_record, outcome=outcome)
        self.statistics.relabel(self._last_record, corrected)
        self._last_record, self.outcome = corrected, outcome
        return self._said(kind, now, corrected.duration)

    def reset_done(self, now: float) -> list[Event]:
        """The scene is ready for the next episode."""
        if self.phase is not Phase.RESET:
            raise SessionError(f"no reset is awaited (phase {self.phase.name})")
        self._reset_done_at = now
        self.wants_reset = False
        return []

    def observed(self, now: float, outcome: Outcome) -> list[Event]:
        """An automatic signal of success or failure; ignored unless an episode runs."""
        return self._end(now, outcome) if self.running else []

    def stopped(self, now: float) -> list[Event]:
        """An emergency stop: a running episode is aborted, and says nothing about the policy."""
        return self._end(now, Outcome.ABORT) if self.running else []

    def step(self, time: float, human: bool, *, held: bool = False) -> None:
        """A control tick of the running episode.

        Args:
            time: of the tick, on the clock of its stamps.
            human: a human flew it.
            held: the robot is held: the time limit waits, for standing still is no failure of whoever flies. As long
                again, unless the operator holds it, and the episode is aborted.
        """
        if not self.running:
            return
        before = time if self._tick_time is None else self._tick_time
        elapsed = min(max(0.0, time - before), _LONGEST_TICK)
        self._ticks += 1
        self._human_ticks += human
        self._interventions += human and not self._human
        self._stuck += elapsed if held and not self.held else 0.0
        if held or (human and self.config.clock_with_human == "pauses"):
            self._clock_from += elapsed
        elif human and self.config.clock_with_human == "restarts":
            self._clock_from = self._now
        # A hold in the middle of an intervention, while the robot is late, is no end of it.
        self._human, self._tick_time = self._human if held else human, time

    @property
    def critical_proposed(self) -> bool:
        """In BASE: the phase head has said often enough that the hard part begins."""
        return self.phase is Phase.BASE and self._critical_passes >= self.config.handover_passes

    def phase_head(self, now: float, probability: float) -> list[Event]:
        """What the bundle's phase head makes of the newest pictures; see `SessionConfig.handover`."""
        if self.phase is not Phase.BASE or self.config.handover == "manual":
            return []
        self._critical_passes = self._critical_passes + 1 if probability >= self.config.handover_probability else 0
        return self.begin_critical(now) if self.critical_proposed and self.config.handover == "perform" else []

    # -- time ----------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """An episode is being flown."""
        return self.phase in (Phase.BASE, Phase.CRITICAL)

    @property
    def phase_since(self) -> float:
        """When this phase began."""
        return self._phase_since

    @property
    def episode_since(self) -> float:
        """When the newest episode began."""
        return self._episode_since

    def phase_time(self, now: float) -> float:
        """Seconds in this phase."""
        return max(0.0, now - self._phase_since)

    def time_left(self, now: float) -> float:
        """Seconds until the running episode times out; 0 when none runs."""
        return max(0.0, self.config.time_limit - (now - self._clock_from)) if self.running else 0.0

    def tick(self, now: float) -> list[Event]:
        """Let time pass."""
        self._now = now
        if self.running and self._stuck >= self.config.time_limit:
            return self._end(
                now, Outcome.ABORT
            )  # it stands still, and nobody knows for how long: no failure of who flies
        if self.running and now - self._clock_from >= self.config.time_limit:
            return self._end(now, Outcome.TIMEOUT)
        if self.phase is Phase.ENDED and self.phase_time(now) >= self.config.pause_time and not self.held:
            if self.config.max_episodes and self.statistics.episodes >= self.config.max_episodes:
                self._enter(Phase.IDLE, now)
            else:
                self._enter_reset(now)
        settled = self._reset_done_at is not None and now - self._reset_done_at >= self.config.settle_time
        if self.phase is Phase.RESET and settled and not self.held:
            return self._start_episode(now)
        return []

    # -- transitions ---------------------------------------------------------------------------------------

    def _enter(self, phase: Phase, now: float) -> None:
        self.phase, self._phase_since = phase, now

    def _enter_reset(self, now: float) -> None:
        self._enter(Phase.RESET, now)
        self._reset_done_at = None
        self.wants_reset = True

    def _start_episode(self, now: float) -> list[Event]:
        self.episode += 1
        self._last_record = None
        self.outcome = Outcome.NONE
        self.actor_enabled = self._actor_is_due(self._before + self.statistics.episodes - self.config.warmup_episodes)
        self.explore = bool(self._rng.random() < self.config.explore_share)
        self._episode_since = self._clock_from = self._now = now
        self._tick_time, self._stuck = None, 0.0
        self._ticks = self._human_ticks = self._interventions = self._critical_passes = 0
        self._human = False
        self._enter(Phase.CRITICAL if self.config.controlled else Phase.BASE, now)
        events = [self._event(EventKind.START, now)]
        if self.config.controlled:
            events.append(self._event(EventKind.BEGIN_CRITICAL, now))
        return events

    def _actor_is_due(self, since_warmup: int) -> bool:
        every = self.config.base_every
        return since_warmup >= 0 and not (every and since_warmup % every == 0)

    def _end(self, now: float, outcome: Outcome) -> list[Event]:
        duration = max(0.0, now - self._episode_since)
        self.outcome = outcome
        self._last_record = EpisodeRecord(
            self.episode,
            outcome,
            duration,
            self.actor_enabled,
            self._ticks,
            self._human_ticks,
            self._interventions,
        )
        self.statistics.add(self._last_record)
        self._enter(Phase.ENDED, now)
        return [self._event(EventKind.END, now)]

    def _event(self, kind: EventKind, now: float) -> Event:
        duration = max(0.0, now - self._episode_since)
        return self._said(kind, now, duration)

    def _said(self, kind: EventKind, now: float, duration: float) -> Event:
        return Event(
            kind,
            now,
            self.episode,
            self.outcome,
            duration,
            self.actor_enabled,
            self._ticks,
            self._human_ticks,
            self._interventions,
        )
