"""The state machine of episodes: IDLE, RESET, BASE, CRITICAL, ENDED.

Pure logic on one clock. `tick` lets time pass; the other methods are what operators, the robot and the scene
report. Each returns the events it caused, in order.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from rlt_ros.config import param
from rlt_ros.session.statistics import EpisodeRecord, Throughput
from rlt_ros.types import Outcome, Phase


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
    """

    kind: EventKind
    time: float
    episode: int
    outcome: Outcome
    duration: float
    actor_enabled: bool


@dataclass(frozen=True)
class SessionConfig:
    """Parameters of the session."""

    controlled: bool = param(True, "episodes start at the critical phase; false: with the base policy's approach")
    warmup_episodes: int = param(8, "episodes flown by the reference before the actor may fly", low=0)
    time_limit: float = param(10.0, "length of the phases BASE and CRITICAL that ends an episode", unit="s", low=0.1)
    settle_time: float = param(0.3, "rest between a reset and the first motion", unit="s", low=0.0, high=60.0)
    pause_time: float = param(0.3, "rest between an outcome and the next reset", unit="s", low=0.0, high=600.0)
    base_every: int = param(
        0, "after the warm-up each so-many-th episode is flown by the reference, for comparison; 0: none", low=0
    )
    explore_share: float = param(0.5, "share of the actor's episodes with exploration noise", low=0.0, high=1.0)
    max_episodes: int = param(0, "episodes after which the session goes idle; 0: no end", low=0)
    seed: int = param(0, "seed of which episodes explore", low=0)


class Session:
    """Where the session is, and what may happen next."""

    def __init__(self, config: SessionConfig) -> None:
        """Start idle."""
        self.config = config
        self.phase = Phase.IDLE
        self.episode = 0
        self.outcome = Outcome.NONE
        self.actor_enabled = False
        self.explore = False
        self.statistics = Throughput()
        self.wants_reset = False
        self._phase_since = 0.0
        self._episode_since = 0.0
        self._reset_done_at: float | None = None
        self._last_record: EpisodeRecord | None = None
        self._rng = np.random.default_rng(config.seed)

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
        if self.phase not in (Phase.ENDED, Phase.RESET) or self._last_record is None:
            raise SessionError(f"there is no ended episode to label (phase {self.phase.name})")
        corrected = dataclasses.replace(self._last_record, outcome=outcome)
        self.statistics.relabel(self._last_record, corrected)
        self._last_record, self.outcome = corrected, outcome
        return Event(kind, now, self.episode, outcome, corrected.duration, corrected.actor_enabled)

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

    # -- time ----------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """An episode is being flown."""
        return self.phase in (Phase.BASE, Phase.CRITICAL)

    def phase_time(self, now: float) -> float:
        """Seconds in this phase."""
        return max(0.0, now - self._phase_since)

    def time_left(self, now: float) -> float:
        """Seconds until the running episode times out; 0 when none runs."""
        return max(0.0, self.config.time_limit - (now - self._episode_since)) if self.running else 0.0

    def tick(self, now: float) -> list[Event]:
        """Let time pass."""
        if self.running and now - self._episode_since >= self.config.time_limit:
            return self._end(now, Outcome.TIMEOUT)
        if self.phase is Phase.ENDED and self.phase_time(now) >= self.config.pause_time:
            if self.config.max_episodes and self.statistics.episodes >= self.config.max_episodes:
                self._enter(Phase.IDLE, now)
            else:
                self._enter_reset(now)
        settled = self._reset_done_at is not None and now - self._reset_done_at >= self.config.settle_time
        if self.phase is Phase.RESET and settled:
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
        self.actor_enabled = self._actor_is_due(self.statistics.episodes - self.config.warmup_episodes)
        self.explore = bool(self._rng.random() < self.config.explore_share)
        self._episode_since = now
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
        self._last_record = EpisodeRecord(self.episode, outcome, duration, self.actor_enabled)
        self.statistics.add(self._last_record)
        self._enter(Phase.ENDED, now)
        return [self._event(EventKind.END, now)]

    def _event(self, kind: EventKind, now: float) -> Event:
        duration = max(0.0, now - self._episode_since)
        return Event(kind, now, self.episode, self.outcome, duration, self.actor_enabled)
