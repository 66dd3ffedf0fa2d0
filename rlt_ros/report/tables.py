"""Figures of runs with 95 % intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from rlt_ros.report.data import CELL_PERIOD, Array, RunData
from rlt_ros.session.statistics import EpisodeRecord, alone, throughput_samples, wilson
from rlt_ros.sim.tasks import get_task
from rlt_ros.types import Outcome

LAST = 50
_RESAMPLES = 2000

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]


def comparison(runs: Sequence[RunData]) -> Table:
    """A line a run: the base's throughput and success, the actor's, their ratio, median lengths."""
    head = (
        *("run", "base: per 10 min", "base: success", "actor: per 10 min", "actor: success", "ratio"),
        *("median s: base", "human", "actor"),
    )
    rows = []
    for run in runs:
        final = last_of_actor(run)
        rows.append(
            (
                run.name + (f" (without {run.without})" if run.without else ""),
                _number(run.base, "throughput_per_10min"),
                _share(run.base),
                _number(final, "throughput_per_10min"),
                _share(final),
                _ratio(run, final),
                *(_median(run, who) for who in ("base", "human", "actor")),
            )
        )
    return head, rows


def last_of_actor(run: RunData) -> dict[str, Any] | None:
    """Figures of the actor alone at the end of a run, as in `alone`; None: too few episodes."""
    if run.curve:
        entry = run.curve[-1]
        (low, high), (least, most) = entry["throughput_95"], entry["success_95"]
        return {
            "episodes": entry["episodes"],
            "throughput_per_10min": [low, entry["throughput"], high],
            "success_rate": [least, entry["success"], most],
        }
    return alone(_last(run))


def _last(run: RunData) -> list[EpisodeRecord]:
    return [record for record in run.records if record.actor_enabled and record.outcome is not Outcome.ABORT][-LAST:]


def _ratio(run: RunData, final: dict[str, Any] | None) -> str:
    """Of throughputs; its interval where both were flown live, for then the episodes are known."""
    if run.base is None or final is None or not run.base["throughput_per_10min"][1]:
        return "-"
    ratio = final["throughput_per_10min"][1] / run.base["throughput_per_10min"][1]
    base = [record for record in run.records if not record.actor_enabled and record.flown_by == "base"]
    if run.curve or len(base) < 5:
        return f"{ratio:.2f}"
    with np.errstate(divide="ignore", invalid="ignore"):
        samples = throughput_samples(_last(run), 1) / throughput_samples(base, 2)
    low, high = np.percentile(samples[~np.isnan(samples)], [2.5, 97.5], method="nearest")
    # The base may have no success at all in what is drawn from few episodes.
    return f"{ratio:.2f} ({low:.2f} to {high:.2f})" if np.isfinite(high) else f"{ratio:.2f} (at least {low:.2f})"


def _number(figures: dict[str, Any] | None, key: str) -> str:
    if figures is None:
        return "-"
    low, value, high = figures[key]
    return f"{value:.0f} ({low:.0f} to {high:.0f})"


def _share(figures: dict[str, Any] | None) -> str:
    if figures is None:
        return "-"
    low, value, high = figures["success_rate"]
    return f"{value:.0%} ({low:.0%} to {high:.0%}) of {figures['episodes']}"


def _median(run: RunData, who: str) -> str:
    seconds = [r.duration for r in run.records if r.outcome is Outcome.SUCCESS and r.flown_by == who]
    return f"{np.median(seconds):.1f} ({len(seconds)})" if seconds else "-"


def ablations(runs: Sequence[RunData]) -> Table | None:
    """What becomes of it without one part, from runs of `rlt train --without`; None: there are no such runs."""
    groups: dict[tuple[str, str], list[RunData]] = defaultdict(list)
    for run in runs:
        if run.curve and run.method == "rlt":
            groups[run.task, run.without].append(run)
    if not any(without for _, without in groups):
        return None
    head = ("task", "without", "seeds", "minutes", "success", "median ticks", "per 10 min", "each seed")
    rows = []
    for (task, without), group in sorted(groups.items()):
        figures = pooled([run.curve[-1] for run in group], task)
        rows.append(
            (
                task,
                without or "nothing",
                str(figures["seeds"]),
                f"{group[0].curve[-1]['minutes']:.0f}",
                "{:.0%} ({:.0%} to {:.0%})".format(figures["success"], *figures["success_95"]),
                f"{figures['median']:.0f}",
                "{:.0f} ({:.0f} to {:.0f})".format(figures["throughput"], *figures["throughput_95"]),
                " ".join(f"{value:.0f}" for value in figures["each"]),
            )
        )
    return head, rows


def pooled(evaluations: Sequence[dict[str, Any]], task: str) -> dict[str, Any]:
    """Figures of the same evaluation of several seeds: means over seeds, intervals over seeds and episodes."""
    ticks = np.array([entry["ticks"] for entry in evaluations], dtype=np.float64)  # None becomes NaN
    seeds, count = ticks.shape
    limit = round(get_task(task).limit / CELL_PERIOD)
    rng = np.random.default_rng(0)
    who, which = rng.integers(0, seeds, (_RESAMPLES, seeds, 1)), rng.integers(0, count, (_RESAMPLES, seeds, count))
    each = throughput(ticks, limit)
    drawn = throughput(ticks[who, which], limit)
    wins = int((~np.isnan(ticks)).sum())
    return {
        "seeds": seeds,
        "success": wins / ticks.size,
        "success_95": wilson(wins, ticks.size),
        "median": float(np.nanmedian(ticks)) if wins else float("nan"),
        "stopped": float(np.mean([entry["stopped"] for entry in evaluations])),
        "throughput": float(each.mean()),
        "throughput_95": [float(value) for value in np.percentile(drawn.mean(-1), [2.5, 97.5])],
        "each": [float(value) for value in each],
        "human": float(np.mean([entry["human_share"] for entry in evaluations])),
    }


def throughput(ticks: Array, limit: int) -> Array:
    """Successes per 10 minutes; the last axis are episodes, NaN a failure, which takes `limit` ticks."""
    flown = np.where(np.isnan(ticks), limit, ticks).sum(-1) * CELL_PERIOD
    rates: Array = 600.0 * (~np.isnan(ticks)).sum(-1) / flown
    return rates
