"""The parts of a journal that a report shows; the only module of it that needs ROS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rlt_ros import msg
from rlt_ros.journal.journal import read_journal
from rlt_ros.journal.segment import Damage
from rlt_ros.ros.convert import episode_from_msg
from rlt_ros.ros.fields import from_stamp
from rlt_ros.ros.records import message_of
from rlt_ros.session.statistics import EpisodeRecord

_ENDS = (msg.EpisodeEvent.KIND_END, msg.EpisodeEvent.KIND_LABEL, msg.EpisodeEvent.KIND_UNDO)


@dataclass
class Streams:
    """What was recorded. Times are seconds since the epoch.

    Attributes:
        episodes: by robot, epoch and number: when it ended, and how by its last label.
        series: name -> (times, values) of both statuses.
        ticks: epoch, number and time of recorded ticks.
        input_ages: of the inputs that they used, s.
        candidates: of the actor's chunks by robot, epoch and episode: how many of each candidate.
        damaged: bytes that could not be read.
    """

    episodes: dict[tuple[str, int, int], tuple[float, EpisodeRecord]] = field(default_factory=dict)
    series: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    ticks: list[tuple[int, int, float]] = field(default_factory=list)
    input_ages: list[float] = field(default_factory=list)
    candidates: dict[tuple[str, int, int], Counter[float]] = field(default_factory=dict)
    damaged: int = 0

    def times(self) -> list[list[float]]:
        """All times that anything was heard at."""
        return [[at for at, _ in self.episodes.values()], *(at for at, _ in self.series.values())]

    def period_errors(self, period: float) -> NDArray[np.float64]:
        """Milliseconds by which the distance of two neighbouring ticks missed the period."""
        if len(self.ticks) < 2:
            return np.empty(0)
        epoch, sequence = np.array([tick[:2] for tick in self.ticks], np.int64).T
        at = np.array([tick[2] for tick in self.ticks])
        neighbours = (np.diff(epoch) == 0) & (np.diff(sequence) == 1)
        return np.abs(np.diff(at)[neighbours] - period) * 1e3


def read_streams(directory: Path, series: Mapping[str, Sequence[str]], progress: Callable[[int], None]) -> Streams:
    """Read a journal; what cannot be read is left out and counted.

    Args:
        directory: of the journal.
        series: topic of a status -> those of its fields that are wanted.
        progress: called with the bytes of each record.
    """
    streams = Streams()

    def damaged(damage: Damage) -> None:
        streams.damaged += damage.lost

    wanted = ("step", "episode", *series)
    for record in read_journal(directory, wanted, damaged, progress):
        try:
            message = message_of(record)
        except ValueError:
            streams.damaged += len(record.data)
            continue
        at, kind = from_stamp(message.header.stamp), record.topic.rpartition("/")[2]
        if kind == "step":
            streams.ticks.append((message.epoch, message.sequence, at))
            if message.input_valid:
                streams.input_ages.append(message.input_age)
            if message.state == msg.ControlStep.STATE_ACTOR and message.row == 0:
                key = (message.robot, message.epoch, message.episode)
                streams.candidates.setdefault(key, Counter())[round(message.candidate, 4)] += 1
        elif kind == "episode":
            if message.kind in _ENDS:
                key = (message.robot, message.epoch, message.episode)
                streams.episodes[key] = (streams.episodes.get(key, (at,))[0], episode_from_msg(message))
        else:
            for name in series[kind]:
                times, values = streams.series.setdefault(name, ([], []))
                times.append(at)
                values.append(float(getattr(message, name)))
    return streams
