"""Success rate and throughput as the paper defines it: successes per 10 minutes of episode time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlt_ros.types import Outcome

_BAND_EPISODES = 5
_DEMONSTRATED = 0.8
_RESAMPLES = 1000


@dataclass(frozen=True)
class EpisodeRecord:
    """A finished episode.

    Attributes:
        episode: its number.
        outcome: how it ended.
        duration: seconds of its phases BASE and CRITICAL.
        actor_enabled: the actor was allowed to fly.
        ticks: control ticks of these phases.
        human_ticks: of these, flown by a human.
        interventions: times that a human took over.
    """

    episode: int
    outcome: Outcome
    duration: float
    actor_enabled: bool
    ticks: int = 0
    human_ticks: int = 0
    interventions: int = 0

    @property
    def flown_by(self) -> str:
        """`human` for most of it, else `actor` or `base`."""
        if 2 * self.human_ticks > self.ticks:
            return "human"
        return "actor" if self.actor_enabled else "base"


class Throughput:
    """Counts of all episodes, rates over the last few. Aborted episodes count nowhere."""

    def __init__(self, window: int = 20) -> None:
        """Rates over the last `window` episodes."""
        self._recent: deque[EpisodeRecord] = deque(maxlen=window)
        self.episodes = 0
        self.successes = 0
        self.interventions = 0

    def add(self, record: EpisodeRecord) -> None:
        """Count an episode."""
        self.interventions += record.interventions
        if record.outcome is Outcome.ABORT:
            return
        self._recent.append(record)
        self.episodes += 1
        self.successes += record.outcome is Outcome.SUCCESS

    def relabel(self, old: EpisodeRecord, new: EpisodeRecord) -> None:
        """Correct an episode that was counted, the newest one."""
        self.interventions -= old.interventions
        if old.outcome is not Outcome.ABORT:
            self._recent.pop()
            self.episodes -= 1
            self.successes -= old.outcome is Outcome.SUCCESS
        self.add(new)

    @property
    def success_rate(self) -> float:
        """Share of successes, 0-1, over the window; 0 without episodes."""
        wins = sum(record.outcome is Outcome.SUCCESS for record in self._recent)
        return wins / len(self._recent) if self._recent else 0.0

    @property
    def intervention_share(self) -> float:
        """Share of the window's ticks that a human flew, 0-1."""
        return human_share(self._recent)

    @property
    def recent_per_10min(self) -> float:
        """Successes per 10 minutes of episode time over the window."""
        return _rate(
            sum(record.outcome is Outcome.SUCCESS for record in self._recent),
            sum(record.duration for record in self._recent),
        )


def human_share(records: Iterable[EpisodeRecord]) -> float:
    """Share of the episodes' ticks that a human flew, 0-1."""
    ticks, human = 0, 0
    for record in records:
        ticks, human = ticks + record.ticks, human + record.human_ticks
    return human / ticks if ticks else 0.0


def summarise(records: Iterable[EpisodeRecord]) -> dict[str, Any]:
    """Figures of some episodes; aborted ones count nowhere.

    Returns:
        `episodes`, `successes`, `median_s` of the successes (None without one), `throughput_per_10min`.
    """
    counted = [record for record in records if record.outcome is not Outcome.ABORT]
    done = [record.duration for record in counted if record.outcome is Outcome.SUCCESS]
    return {
        "episodes": len(counted),
        "successes": len(done),
        "median_s": round(median(done), 2) if done else None,
        "throughput_per_10min": round(_rate(len(done), sum(record.duration for record in counted)), 1),
    }


def base_band(records: Iterable[EpisodeRecord]) -> dict[str, Any] | None:
    """How good the base VLA is by itself: `alone` of its episodes, without those that a human flew from the start."""
    return alone(
        record
        for record in records
        if not record.actor_enabled and record.human_ticks < _DEMONSTRATED * max(1, record.ticks)
    )


def alone(records: Iterable[EpisodeRecord]) -> dict[str, Any] | None:
    """Figures of a policy by itself: what a human had to help with is no success. Aborted episodes count nowhere.

    Returns:
        `episodes`, and `throughput_per_10min` (95 % interval by bootstrap over episodes) and `success_rate` (by
        Wilson) as [low, value, high]; None with fewer than five episodes.
    """
    counted = [record for record in records if record.outcome is not Outcome.ABORT]
    if len(counted) < _BAND_EPISODES:
        return None
    rates = throughput_samples(counted)
    low, high = (float(value) for value in np.percentile(rates, [2.5, 97.5]))
    wins = sum(_alone(record) for record in counted)
    shares = wilson(wins, len(counted))
    value = _rate(wins, sum(record.duration for record in counted))
    return {
        "episodes": len(counted),
        "throughput_per_10min": [round(low, 1), round(value, 1), round(high, 1)],
        "success_rate": [round(share, 3) for share in (shares[0], wins / len(counted), shares[1])],
    }


def throughput_samples(records: Sequence[EpisodeRecord], seed: int = 0) -> NDArray[np.float64]:
    """Bootstrapped successes per 10 minutes of a policy by itself, shape (1000,)."""
    done = np.array([_alone(record) for record in records])
    seconds = np.array([record.duration for record in records])
    drawn = np.random.default_rng(seed).integers(0, len(records), (_RESAMPLES, len(records)))
    rates: NDArray[np.float64] = done[drawn].sum(1) / np.maximum(seconds[drawn].sum(1), 1e-9) * 600.0
    return rates


def _alone(record: EpisodeRecord) -> bool:
    return record.outcome is Outcome.SUCCESS and not record.interventions and not record.human_ticks


def wilson(successes: int, trials: int) -> list[float]:
    """95 % score interval of a proportion (Wilson, 1927)."""
    z = 1.959964
    share = successes / trials
    centre = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return [max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)]


def _rate(successes: int, seconds: float) -> float:
    return successes / seconds * 600.0 if seconds > 0 else 0.0
