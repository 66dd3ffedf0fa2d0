"""What came of a sweep: arms that are compared, from the records of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rlt_ros.config import ConfigError
from rlt_ros.report.aggregates import Array, interval, iqm, probability_of_improvement
from rlt_ros.report.data import CELL_PERIOD
from rlt_ros.report.records import read_records
from rlt_ros.report.tables import Table, pooled, throughput
from rlt_ros.sim.tasks import get_task

OURS = "rlt"
PAPER = {
    "base": "228 ticks",
    "rlt": "66 ticks",
    "hil_serl": "fails",
    "pld": "fails",
    "dagger": "similar success, clearly slower",
    "rlt, without token": "half of the throughput (ResNet-10 of ImageNet)",
    "rlt, without chunk": "does not reliably match the base",
    "rlt, without anchor": "the largest drop",
    "rlt, without passthrough": "the same level in the end, slower",
}
"""What RL Token reports of `ethernet` (medians of the critical phase; the human's there: 146 ticks)."""


@dataclass
class Arm:
    """What is compared: a method, without some parts, with some settings, on one task.

    Attributes:
        task: of the cell.
        label: of method, parts and settings; the same on every task.
        records: of its seeds, in order.
    """

    task: str
    label: str
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def reaction_ms(self) -> float:
        """Time between two decisions."""
        return float(self.records[0]["reaction_ms"])

    @property
    def dues(self) -> list[float]:
        """Minutes of the evaluations that every seed has."""
        sets = [{entry["due"] for entry in record["curve"]} for record in self.records]
        return sorted(set.intersection(*sets))

    def entries(self, due: float) -> list[dict[str, Any]]:
        """The evaluations at that time, one a seed."""
        return [next(entry for entry in record["curve"] if entry["due"] == due) for record in self.records]

    def ticks(self, due: float) -> Array:
        """Of every evaluated episode, shape (seeds, episodes); NaN: it failed."""
        return np.array([entry["ticks"] for entry in self.entries(due)], dtype=np.float64)


@dataclass
class SweepData:
    """A sweep.

    Attributes:
        name: of its directory.
        arms: in the order in which they were first met.
        base: task -> record of the base.
    """

    name: str
    arms: list[Arm]
    base: dict[str, dict[str, Any]]

    @property
    def tasks(self) -> list[str]:
        """In order."""
        return sorted({arm.task for arm in self.arms} | set(self.base))

    @property
    def labels(self) -> list[str]:
        """Of the arms, in order; ours first."""
        found = list(dict.fromkeys(arm.label for arm in self.arms))
        return sorted(found, key=lambda label: (label != OURS, not label.startswith(OURS)))

    def arm(self, task: str, label: str) -> Arm | None:
        """That arm, if it was run."""
        return next((arm for arm in self.arms if (arm.task, arm.label) == (task, label)), None)

    @property
    def due(self) -> float:
        """The last time at which all arms were evaluated.

        Raises:
            ConfigError: there is none.
        """
        common = set.intersection(*(set(arm.dues) for arm in self.arms)) if self.arms else set()
        if not common:
            raise ConfigError(f"the runs of {self.name} have no evaluation at the same time")
        return max(common)


def is_sweep(directory: Path) -> bool:
    """Whether a directory holds records and is no run itself."""
    return not any((directory / name).is_file() for name in ("run.json", "config.json")) and any(
        directory.glob("*.json")
    )


def read_sweep(directory: Path) -> SweepData:
    """Read the records of a directory.

    Raises:
        ConfigError: one of them cannot be read, or none is of a training.
    """
    arms: dict[tuple[str, str], Arm] = {}
    base = {}
    records = sorted(read_records(directory), key=lambda record: record["job"]["seed"])
    given = [record["job"]["settings"] for record in records if record["job"]["method"] != "base"]
    common = [pair for pair in given[0] if all(pair in settings for settings in given)] if given else []
    for record in records:
        job = record["job"]
        if job["method"] == "base":
            base[job["task"]] = record
            continue
        label = _label(job, common)
        arms.setdefault((job["task"], label), Arm(job["task"], label)).records.append(record)
    if not arms and not base:
        raise ConfigError(f"{directory} holds no record of rlt sweep")
    return SweepData(directory.name, list(arms.values()), base)


def _label(job: dict[str, Any], common: list[Any]) -> str:
    """A method, without some parts, with the settings that not all runs of the sweep have."""
    without = [f"without {job['without'].replace(',', ' and ')}"] if job["without"] else []
    own = [pair for pair in job["settings"] if pair not in common]
    return ", ".join([job["method"], *without, *(f"{name} {value}" for name, value in own)])


def of_task(sweep: SweepData, task: str) -> Table:
    """A line for the base, its best static variant, and every arm at every evaluation."""
    head = (
        *("", "min", "seeds", "success (95 %)", "stopped", "median ticks", "per 10 min (95 %)", "each seed", "of base"),
        *("human", "decides every", "the paper (ethernet)"),
    )
    rows: list[tuple[str, ...]] = []
    base = sweep.base.get(task)
    slow = base["base"]["throughput"] if base else 0.0
    for name, figures in (("base", base and base["base"]), ("best static", base and base.get("best_static"))):
        if figures:
            low, high = figures["throughput_95"]
            least, most = figures["success_95"]
            rows.append(
                (
                    *(name, "-", "-", f"{figures['success']:.0%} ({least:.0%}-{most:.0%})"),
                    *(f"{figures['stopped']:.0%}", _ticks(figures["median_ticks"])),
                    *(f"{figures['throughput']:.0f} ({low:.0f}-{high:.0f})", "-", _times(figures["throughput"], slow)),
                    *("-", "-", PAPER.get(name, "-") if task == "ethernet" else "-"),
                )
            )
    for label in sweep.labels:
        arm = sweep.arm(task, label)
        for due in arm.dues if arm is not None else ():
            assert arm is not None
            figures = pooled(arm.entries(due), task)
            least, most = figures["success_95"]
            low, high = figures["throughput_95"]
            rows.append(
                (
                    *(label, f"{due:g}", str(figures["seeds"]), f"{figures['success']:.0%} ({least:.0%}-{most:.0%})"),
                    *(f"{figures['stopped']:.0%}", _ticks(figures["median"])),
                    f"{figures['throughput']:.0f} ({low:.0f}-{high:.0f})",
                    " ".join(f"{value:.0f}" for value in figures["each"]),
                    *(_times(figures["throughput"], slow), f"{figures['human']:.0%}", f"{arm.reaction_ms:g} ms"),
                    PAPER.get(label, "-") if task == "ethernet" and due == arm.dues[-1] else "-",
                )
            )
    return head, rows


def over_tasks(sweep: SweepData) -> Table | None:
    """Interquartile means over tasks and seeds, and whether ours is better; None: no task has a base."""
    due = sweep.due
    head = (
        *("", "tasks", "seeds", "throughput of base, IQM (95 %)", "success, IQM (95 %)"),
        f"probability that {OURS} is better (95 %)",
    )
    rows = []
    for label in sweep.labels:
        tasks = [task for task in sweep.tasks if sweep.arm(task, label) and _slow(sweep, task)]
        if not tasks:
            continue
        speeds, successes = scores(sweep, label, tasks, due)
        better = "-"
        others = [task for task in tasks if sweep.arm(task, OURS)]
        if label != OURS and others:
            pair = [scores(sweep, name, others, due)[0] for name in (OURS, label)]
            better = _with(probability_of_improvement(*pair), interval(pair, probability_of_improvement), "{:.2f}")
        rows.append(
            (
                *(label, str(len(tasks)), str(len(speeds))),
                _with(iqm(speeds), interval([speeds], iqm), "{:.2f}"),
                _with(iqm(successes), interval([successes], iqm), "{:.0%}"),
                better,
            )
        )
    return (head, rows) if rows else None


def scores(sweep: SweepData, label: str, tasks: Sequence[str], due: float) -> tuple[Array, Array]:
    """Throughputs as multiples of the base's, and success rates, of shape (seeds, tasks).

    Seeds that not every task has are left out.
    """
    speeds, successes = [], []
    for task in tasks:
        arm = sweep.arm(task, label)
        assert arm is not None
        ticks = arm.ticks(due)
        speeds.append(throughput(ticks, round(get_task(task).limit / CELL_PERIOD)) / _slow(sweep, task))
        successes.append((~np.isnan(ticks)).mean(1))
    count = min(map(len, speeds))
    return np.stack([of[:count] for of in speeds], 1), np.stack([of[:count] for of in successes], 1)


def speeds_of(sweep: SweepData, task: str) -> dict[str, Array]:
    """Ticks of successful critical phases: of the human's demonstrations, the base, and every arm's last evaluation."""
    out: dict[str, Array] = {}
    flown = [record["episodes"] for arm in sweep.arms if arm.task == task for record in arm.records]
    human = [
        ticks
        for episodes in flown
        for ticks, by_human, won in zip(episodes["ticks"], episodes["human_ticks"], episodes["success"], strict=True)
        if won and by_human >= ticks
    ]
    if human:
        out["human"] = np.array(human, float)
    if task in sweep.base:
        out["base"] = np.array([n for n in sweep.base[task]["base"]["ticks"] if n is not None], float)
    for label in sweep.labels:
        arm = sweep.arm(task, label)
        if arm is not None and arm.dues:
            ticks = arm.ticks(arm.dues[-1])
            out[label] = ticks[~np.isnan(ticks)]
    return {name: ticks for name, ticks in out.items() if ticks.size}


def bars_of(sweep: SweepData, task: str, key: str) -> list[tuple[str, float, float, float]]:
    """Name, low, value, high of `throughput` or `success`: the base, its best static variant, the arms at the end."""
    out = []
    base = sweep.base.get(task)
    for name, figures in (("base", base and base["base"]), ("best static", base and base.get("best_static"))):
        if figures:
            out.append((name, figures[f"{key}_95"][0], figures[key], figures[f"{key}_95"][1]))
    for label in sweep.labels:
        arm = sweep.arm(task, label)
        if arm is not None and arm.dues:
            figures = pooled(arm.entries(arm.dues[-1]), task)
            out.append((label, figures[f"{key}_95"][0], figures[key], figures[f"{key}_95"][1]))
    return out


def curve_of(arm: Arm, key: str) -> tuple[Array, Array, Array, Array]:
    """Minutes, and low, value, high of `throughput` or `success` over seeds and episodes."""
    rows = [pooled(arm.entries(due), arm.task) for due in arm.dues]
    values = np.array([[row[f"{key}_95"][0], row[key], row[f"{key}_95"][1]] for row in rows]).reshape(-1, 3)
    return np.array(arm.dues), values[:, 0], values[:, 1], values[:, 2]


def markdown(table: Table) -> str:
    """A table for docs/results.md."""
    head, rows = table
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines) + "\n"


def _slow(sweep: SweepData, task: str) -> float:
    """Throughput of the base; 0: not known."""
    return float(sweep.base[task]["base"]["throughput"]) if task in sweep.base else 0.0


def _times(value: float, base: float) -> str:
    return f"{value / base:.1f} x" if base else "-"


def _ticks(median: float | None) -> str:
    return "-" if median is None or np.isnan(median) else f"{median:.0f}"


def _with(value: float, bounds: list[float], form: str) -> str:
    return f"{form.format(value)} ({form.format(bounds[0])}-{form.format(bounds[1])})"
