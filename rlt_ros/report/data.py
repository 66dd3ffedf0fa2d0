"""What a run left, in one form, whether it was flown live (`rlt up`) or trained without ROS (`rlt train`)."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlt_ros.config import ConfigError
from rlt_ros.session.statistics import EpisodeRecord, base_band
from rlt_ros.types import Outcome

Array = NDArray[np.float64]
Key = tuple[str, int, int]
"""Of an episode: robot, epoch, number."""
CELL_PERIOD = 1 / 50
"""Of runs without ROS, which are of the cell, and of those that do not tell."""
_LONGEST_PAUSE = 10.0
"""Seconds that a pause takes on the time axis: a night between two lives of a run is no robot time."""
LEARNER_SERIES = ("updates_per_s", "update_ratio", "q_mean", "target_mean", "critic_loss", "anchor_distance")
EXECUTOR_SERIES = ("period_error_p50_ms", "period_error_p99_ms", "weight_age")


@dataclass(frozen=True)
class Flown:
    """An episode and when it ended.

    Attributes:
        minutes: of robot time since the run began.
        record: how it ended.
    """

    minutes: float
    record: EpisodeRecord


@dataclass
class RunData:
    """A run.

    Attributes:
        path: its directory.
        task: what the robot did.
        live: flown on a graph, else trained without ROS.
        method: what learnt; see `rlt train --method`.
        without: what was switched off, or "".
        seed: of it; None: not known.
        facts: what a reader needs to have it again: commands, version, commit, bundle, machine.
        settings: what differed from the defaults, or all of it.
        episodes: in order.
        base: the base's figures as [low, value, high], see `session.statistics.alone`; None: not known.
        curve: evaluations of `rlt train`.
        series: name -> (minutes, values).
        candidates: of every episode that an actor flew, minutes and of its chunks the shares by candidate (see
            `ActionChunk`), where it is known.
        period_errors: of recorded ticks, ms.
        input_ages: of the inputs that recorded ticks used, ms.
        damaged: bytes of the journal that could not be read.
    """

    path: Path
    task: str
    live: bool
    method: str = "rlt"
    without: str = ""
    seed: int | None = None
    facts: list[tuple[str, str]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    episodes: list[Flown] = field(default_factory=list)
    base: dict[str, Any] | None = None
    curve: list[dict[str, Any]] = field(default_factory=list)
    series: dict[str, tuple[Array, Array]] = field(default_factory=dict)
    candidates: list[tuple[float, dict[float, float]]] = field(default_factory=list)
    period_errors: Array = field(default_factory=lambda: np.empty(0))
    input_ages: Array = field(default_factory=lambda: np.empty(0))
    damaged: int = 0

    @property
    def name(self) -> str:
        """Of its directory."""
        return self.path.name

    @property
    def records(self) -> list[EpisodeRecord]:
        """The episodes without their times."""
        return [flown.record for flown in self.episodes]


def read(directory: Path, progress: Callable[[int], None] = lambda _: None) -> RunData:
    """Read a run.

    Args:
        directory: of `rlt up` or `rlt train`.
        progress: called with the bytes of the journal that were read since the last call.

    Raises:
        ConfigError: it is no run, or its description is damaged.
    """
    try:
        if (directory / "run.json").is_file():
            return _live(directory, json.loads((directory / "run.json").read_text()), progress)
        if (directory / "config.json").is_file():
            return _trained(directory, json.loads((directory / "config.json").read_text()))
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{directory} cannot be read as a run: {error!r}") from error
    raise ConfigError(f"{directory} is no run: it holds neither run.json ('rlt up') nor config.json ('rlt train')")


def _facts(record: dict[str, Any]) -> list[tuple[str, str]]:
    lives = [record, *record.get("resumed", [])]
    facts = [("command", " ".join(life["command"])) for life in lives if life.get("command")]
    facts += [("started", str(life["started"])) for life in lives[:1] if "started" in life]
    named = {"version": "rlt_ros", "commit": "git commit", "python": "Python", "machine": "machine"}
    facts += [(shown, str(lives[-1][key])) for key, shown in named.items() if lives[-1].get(key)]
    facts += [("bundle", str(record.get("bundle", "?"))), ("bundle hash", str(record.get("bundle_id", "not recorded")))]
    return facts


def _live(directory: Path, record: dict[str, Any], progress: Callable[[int], None]) -> RunData:
    from rlt_ros.report.journal import read_streams  # needs ROS

    streams = read_streams(
        directory / "journal", {"learner_status": LEARNER_SERIES, "executor_status": EXECUTOR_SERIES}, progress
    )
    times = np.unique(np.concatenate([np.asarray(at) for at in streams.times()] or [np.empty(0)]))
    minutes = np.cumsum(np.minimum(np.diff(times, prepend=times[:1]), _LONGEST_PAUSE)) / 60.0

    def when(at: Any) -> Array:
        return np.interp(np.asarray(at, np.float64), times, minutes) if times.size else np.empty(0)

    episodes = [Flown(float(when([at])[0]), ended) for at, ended in streams.episodes.values()]
    ends = {key: float(when([at])[0]) for key, (at, _) in streams.episodes.items()}
    run = RunData(
        directory,
        str(record.get("task", "?")),
        live=True,
        seed=record.get("seed"),
        facts=_facts(record),
        settings={"--set": record.get("settings", {}), "nodes": record.get("nodes", {})},
        episodes=sorted(episodes, key=lambda flown: flown.minutes),
        base=base_band(ended for _, ended in streams.episodes.values()),
        candidates=_shares(streams.candidates, ends),
        period_errors=streams.period_errors(record.get("period", CELL_PERIOD)),
        input_ages=np.asarray(streams.input_ages) * 1e3,
        damaged=streams.damaged,
    )
    for name in (*LEARNER_SERIES, *EXECUTOR_SERIES):
        at, values = streams.series.get(name, ([], []))
        run.series[name] = (when(at), np.asarray(values, np.float64))
    return run


def _trained(directory: Path, record: dict[str, Any]) -> RunData:
    train, learner = record["train"], record["learner"]
    base = _json(directory / "base.json")
    run = RunData(
        directory,
        str(train["task"]),
        live=False,
        method=train.get("method", "rlt"),
        without=train.get("without", ""),
        seed=train.get("seed"),
        facts=_facts(record),
        settings={"train": train, "learner": learner},
        base=_band(base) if base else None,
        curve=_json(directory / "curve.json") or [],
    )
    if (directory / "episodes.csv").is_file():
        with (directory / "episodes.csv").open() as file:
            lines = list(csv.DictReader(file))
        run.episodes = [_episode(line) for line in lines]
        run.candidates = [(float(line["minutes"]), shares) for line in lines if (shares := _written_shares(line))]
    minutes = np.array([entry["minutes"] for entry in run.curve])
    for name in LEARNER_SERIES:
        if run.curve and name in run.curve[0]:
            run.series[name] = (minutes, np.array([entry[name] for entry in run.curve]))
    return run


def _shares(
    chunks: Mapping[Key, Mapping[float, int]], ended: Mapping[Key, float]
) -> list[tuple[float, dict[float, float]]]:
    """Of the chunks of every ended episode."""
    return sorted(
        (ended[key], {candidate: count / sum(counts.values()) for candidate, count in counts.items()})
        for key, counts in chunks.items()
        if key in ended
    )


def _written_shares(line: Mapping[str, str]) -> dict[float, float]:
    """The columns `share_own`, `share_0.6`, ... of episodes.csv, if the actor flew."""
    names = {name.removeprefix("share_"): value for name, value in line.items() if name.startswith("share_")}
    return {0.0 if name == "own" else float(name): float(value) for name, value in names.items() if value}


def _json(path: Path) -> Any:
    return json.loads(path.read_text()) if path.is_file() else None


def _band(figures: dict[str, Any]) -> dict[str, Any]:
    (low, high), (least, most) = figures["throughput_95"], figures["success_95"]
    return {
        "episodes": figures["episodes"],
        "throughput_per_10min": [low, figures["throughput"], high],
        "success_rate": [least, figures["success"], most],
    }


def _episode(line: dict[str, str]) -> Flown:
    ticks, human = int(line["ticks"]), int(line["human_ticks"])
    record = EpisodeRecord(
        episode=int(line["episode"]),
        outcome=Outcome.SUCCESS if line["success"] == "True" else Outcome.FAILURE,
        duration=ticks * CELL_PERIOD,
        actor_enabled=line["actor"] == "True",
        ticks=ticks,
        human_ticks=min(human, ticks),
        interventions=int(human > 0),
    )
    return Flown(float(line["minutes"]), record)
