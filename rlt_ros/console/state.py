"""What the page shows: the newest of everything, histories for the plots. One thread writes, another reads."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlt_ros.refusals import REFUSALS, Hold, explained
from rlt_ros.session.statistics import EpisodeRecord, base_band
from rlt_ros.types import Outcome

COLUMNS = (
    "time",
    "updates_per_s",
    "update_ratio",
    "q_mean",
    "target_mean",
    "td_error",
    "action_distance",
    "period_error_p50_ms",
    "period_error_p99_ms",
)
"""Of a row of the history, once a second; times are seconds since the epoch, a value may be None."""
_RATE_WINDOW = 3.0
_EPISODES = 5000
_WARNINGS = 50
_REFUSED = 12
_SILENT = 3.0
"""Seconds without a word of the executor after which nothing is known of it."""
_BAND_EVERY = 10
"""Episodes of the base after which its band is computed anew."""


@dataclass(frozen=True)
class Picture:
    """A camera's newest picture.

    Attributes:
        captured: seconds since the epoch.
        jpeg: encoded.
    """

    captured: float
    jpeg: bytes


class ConsoleState:
    """Times are `time.monotonic` inside, ages outside: the clock of a tablet may be wrong."""

    def __init__(
        self,
        robot: str,
        cameras: Sequence[str],
        history: int,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Know nothing yet.

        Args:
            robot: its namespace.
            cameras: names in the order in which they are shown.
            history: rows that are kept.
            clock: for tests.
            wall: what stamps are compared with, seconds since the epoch or of a simulator.
        """
        self._wall = wall
        self._refused: dict[tuple[str, str], dict[str, Any]] = {}
        self.robot, self.cameras = robot, tuple(cameras)
        self._clock = clock
        self._lock = threading.Lock()
        self._values: dict[str, dict[str, Any]] = {}
        self._heard: dict[str, deque[float]] = {}
        self._captured: dict[str, float] = {}
        self._pictures: dict[str, Picture] = {}
        self._rows: deque[tuple[int, list[float | None]]] = deque(maxlen=history)
        self._episodes: deque[tuple[int, dict[str, Any]]] = deque(maxlen=_EPISODES)
        self._records: dict[tuple[int, int], EpisodeRecord] = {}
        self._warnings: deque[dict[str, Any]] = deque(maxlen=_WARNINGS)
        self._nodes: list[dict[str, Any]] = []
        self._band: dict[str, Any] | None = None
        self._band_of = 0
        self._count = 0
        self.urgent = 0

    # -- written by the node -------------------------------------------------------------------------------

    def update(self, kind: str, values: Mapping[str, Any], *, urgent: Sequence[str] = ()) -> bool:
        """The newest of a kind; True where one of the `urgent` values is another than before.

        What is not finite becomes None: JSON has no word for it.
        """
        finite = {name: value if _is_finite(value) else None for name, value in values.items()}
        with self._lock:
            before = self._values.get(kind, {})
            self._values[kind] = {**before, **finite}
            self._note(kind)
            changed = any(before.get(name) != finite.get(name) for name in urgent)
            self.urgent += changed
            return changed

    def heard(self, kind: str) -> None:
        """A sign of life, which is counted."""
        with self._lock:
            self._note(kind)

    def _note(self, kind: str) -> None:
        now = self._clock()
        times = self._heard.setdefault(kind, deque())
        times.append(now)
        while times[0] < now - _RATE_WINDOW:
            times.popleft()

    def picture(self, camera: str, picture: Picture) -> None:
        """A camera's newest picture."""
        with self._lock:
            self._pictures[camera] = picture

    def captured(self, camera: str, at: float) -> None:
        """When a camera's newest picture was taken, seconds since the epoch, whether it is shown or not."""
        with self._lock:
            self._captured[camera] = at

    def episode(self, record: EpisodeRecord, epoch: int, at: float) -> None:
        """An episode of a session ended at a time, or was labelled anew."""
        with self._lock:
            self._count += 1
            self._records[epoch, record.episode] = record
            while len(self._records) > _EPISODES:
                del self._records[next(iter(self._records))]
            self._episodes.append((self._count, {"time": round(at, 2), "epoch": epoch, **_described(record)}))
            base = sum(not found.actor_enabled for found in self._records.values())
            if self._band is None or base >= self._band_of + _BAND_EVERY or base < _BAND_EVERY:
                self._band, self._band_of = base_band(self._records.values()), base

    def warning(self, node: str, level: str, text: str) -> None:
        """Something that a node logged."""
        with self._lock:
            last = self._warnings[-1] if self._warnings else None
            if last is not None and (last["node"], last["text"]) == (node, text):
                last["count"], last["at"] = last["count"] + 1, self._clock()
            else:
                self._warnings.append({"node": node, "level": level, "text": text, "count": 1, "at": self._clock()})

    def refused(self, node: str, values: Mapping[str, str]) -> None:
        """What a node has refused so far: kind -> count, `kind/detail` -> the newest case."""
        with self._lock:
            for kind, text in values.items():
                if kind not in REFUSALS or not text.isdigit():
                    continue
                entry = self._refused.setdefault((node, kind), {"count": 0, "at": 0.0})
                if int(text) != entry["count"]:
                    detail = values.get(f"{kind}/detail", "")
                    entry.update(count=int(text), at=self._clock(), detail=detail)

    def _why(self) -> dict[str, Any]:
        """Why it does not fly: what the state's reason means, and what was refused lately, the newest first."""
        executor = self._fresh("executor", _SILENT)
        hold = explained(str(executor.get("state", "")), str(executor.get("reason", "")))
        if not executor:
            hold = Hold("executor_node is silent", "see its log; USE THE ROBOT'S OWN STOP if it moves")
        lately = sorted(self._refused.items(), key=lambda item: -item[1]["at"])
        return {
            "means": hold.means if hold else "",
            "remedy": hold.remedy if hold else "",
            "refused": [
                {
                    "node": node,
                    "kind": kind,
                    "topic": REFUSALS[kind].topic,
                    "reason": REFUSALS[kind].reason,
                    "detail": entry["detail"],
                    "remedy": REFUSALS[kind].remedy,
                    "count": entry["count"],
                    "age": self._since(entry["at"]),
                }
                for (node, kind), entry in lately[:_REFUSED]
            ],
        }

    def nodes(self, rows: list[dict[str, Any]]) -> None:
        """The table of nodes."""
        with self._lock:
            self._nodes = rows

    def sample(self) -> None:
        """A row of the history of what is fresh."""
        with self._lock:
            self._count += 1
            learner, executor = self._fresh("learner", 3.0), self._fresh("executor", 3.0)
            row: list[float | None] = [
                round(self._wall(), 1),
                learner.get("updates_per_s"),
                learner.get("update_ratio"),
                learner.get("q_mean"),
                learner.get("target_mean"),
                learner.get("td_error"),
                self._fresh("chunk", 3.0).get("action_distance"),
                executor.get("period_error_p50_ms"),
                executor.get("period_error_p99_ms"),
            ]
            self._rows.append((self._count, row))

    # -- read by the server --------------------------------------------------------------------------------

    def age(self, kind: str) -> float | None:
        """Seconds since a kind was heard of; None: never."""
        times = self._heard.get(kind)
        return None if not times else round(self._clock() - times[-1], 3)

    def rate(self, kind: str) -> float:
        """How often a second a kind was heard of lately."""
        since = self._clock() - _RATE_WINDOW
        count = sum(at >= since for at in tuple(self._heard.get(kind, ())))
        return round(count / _RATE_WINDOW, 1)

    def value(self, kind: str, name: str) -> Any:
        """One of the newest values; None: not known."""
        return self._values.get(kind, {}).get(name)

    def snapshot(self, after: int = 0) -> dict[str, Any]:
        """Everything but the pictures, as JSON.

        Args:
            after: `count` of the snapshot that this reader had before: histories begin after it.
        """
        with self._lock:
            now = self._wall()
            ages = {name: self._captured.get(name) for name in self.cameras}
            return {
                "robot": self.robot,
                "now": round(now, 2),
                "count": self._count,
                **{kind: self._with_age(kind) for kind in ("executor", "session", "learner")},
                "cameras": [
                    {
                        "name": name,
                        "age": None if at is None else round(now - at, 3),
                        "rate": self.rate(f"camera {name}"),
                    }
                    for name, at in ages.items()
                ],
                "nodes": self._nodes,
                "warnings": [
                    {**{key: entry[key] for key in ("node", "level", "text", "count")}, "age": self._since(entry["at"])}
                    for entry in self._warnings
                ],
                "why": self._why(),
                "base": self._band,
                "rows": [row for count, row in self._rows if count > after],
                "episodes": [episode for count, episode in self._episodes if count > after],
            }

    def pictures(self) -> dict[str, Picture]:
        """The newest picture of every camera that gave one."""
        with self._lock:
            return dict(self._pictures)

    def _with_age(self, kind: str) -> dict[str, Any] | None:
        values = self._values.get(kind)
        return None if values is None else {**values, "age": self.age(kind)}

    def _since(self, at: float) -> float:
        return round(self._clock() - at, 1)

    def _fresh(self, kind: str, seconds: float) -> dict[str, Any]:
        age = self.age(kind)
        return self._values.get(kind, {}) if age is not None and age <= seconds else {}


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _described(record: EpisodeRecord) -> dict[str, Any]:
    return {
        "episode": record.episode,
        "outcome": record.outcome.name.lower(),
        "success": record.outcome is Outcome.SUCCESS,
        "counts": record.outcome is not Outcome.ABORT,
        "seconds": round(record.duration, 2),
        "flown_by": record.flown_by,
        "human_share": round(record.human_ticks / record.ticks, 3) if record.ticks else 0.0,
        "interventions": record.interventions,
    }
