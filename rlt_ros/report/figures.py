"""Plots of one run or of several beside each other."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rlt_ros.report.data import Array, Flown, RunData
from rlt_ros.session.statistics import EpisodeRecord
from rlt_ros.types import Outcome

WINDOW = 20
COLOURS = {"base": "#3572c6", "human": "#d08a1d", "actor": "#1f9d78"}
_BINS = 40


def png(figure: Figure) -> bytes:
    """A figure as a file."""
    out = io.BytesIO()
    with mpl.rc_context({"savefig.dpi": 120}):
        figure.savefig(out, format="png", bbox_inches="tight")
    return out.getvalue()


def figures(runs: Sequence[RunData]) -> dict[str, tuple[str, Figure]]:
    """Every plot that the runs have something for: name -> (caption, figure)."""
    out: dict[str, tuple[str, Figure]] = {}
    if any(run.episodes for run in runs):
        out["learning"] = (
            f"Learning: throughput and success over robot time, last {WINDOW} episodes each. Solid: the robot "
            "alone (an episode with a human's help is none); thin: with help. Band: the base VLA's 95 % interval.",
            _learning(runs),
        )
        out["lengths"] = ("Length of successful episodes, by who flew most of each.", _lengths(runs))
        out["human"] = ("The human's share of the ticks, last 20 episodes.", _human(runs))
    if any(len(set().union(*(shares for _, shares in run.candidates))) > 1 for run in runs):
        out["candidates"] = (
            f"What the critics chose: share of the chunks by candidate, last {WINDOW} episodes; the actor's own chunk, "
            "and the reference at so many times its motion.",
            _candidates([run for run in runs if run.candidates]),
        )
    if any(run.curve for run in runs):
        out["evaluations"] = (
            "Evaluations of the actor alone, without exploration, on seeded starts; bars are 95 % intervals.",
            _evaluations(runs),
        )
    if any(run.series.get("q_mean", (_NONE,))[0].size > 1 for run in runs):
        out["learner"] = ("The learner.", _learner(runs))
    if any(run.period_errors.size for run in runs):
        out["loop"] = (
            "The control loop: how far the distance of two recorded ticks was from its period, and how old the newest "
            "input was at each tick.",
            _loop(runs),
        )
    return out


_NONE: Array = np.empty(0)


def _rolling(flown: Sequence[Flown], *, helped: bool) -> tuple[Array, Array, Array]:
    """Minutes, successes per 10 minutes and success rate over the last episodes."""
    counted = [entry for entry in flown if entry.record.outcome is not Outcome.ABORT]
    records = [entry.record for entry in counted]
    wins = np.array(
        [record.outcome is Outcome.SUCCESS and (helped or not record.human_ticks) for record in records], float
    )
    seconds = np.array([record.duration for record in records])
    starts = np.maximum(0, np.arange(len(records)) - WINDOW + 1)
    total_wins, total_seconds = (np.concatenate([[0.0], np.cumsum(values)]) for values in (wins, seconds))
    ends = np.arange(1, len(records) + 1)
    won = total_wins[ends] - total_wins[starts]
    rate = 600.0 * won / np.maximum(total_seconds[ends] - total_seconds[starts], 1e-9)
    return np.array([entry.minutes for entry in counted]), rate, won / (ends - starts)


def panels(rows: int, columns: int, width: float = 5.2, height: float = 3.1) -> tuple[Figure, Any]:
    """A figure of so many axes, in inches each, and the axes, shape (rows, columns)."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _group(run: RunData) -> str:
    """Seeds of one training are one group; a live run is one by itself."""
    if run.live:
        return run.name
    method = "" if run.method == "rlt" else f", {run.method}"
    return f"{run.task}{method}{f', without {run.without}' if run.without else ''}"


def _styles(runs: Sequence[RunData]) -> Iterator[tuple[RunData, str, str | None]]:
    """Runs with a colour for each group, and its label once."""
    order = list(dict.fromkeys(map(_group, runs)))
    told: set[str] = set()
    for run in runs:
        group = _group(run)
        yield run, f"C{order.index(group)}", None if group in told else group
        told.add(group)


def _learning(runs: Sequence[RunData]) -> Figure:
    figure, axes = panels(1, 2)
    several = len(runs) > 1
    for axis, key, low in ((axes[0, 0], "throughput_per_10min", 1), (axes[0, 1], "success_rate", 2)):
        for run, colour, label in _styles(runs):
            alone, helped = (_rolling(run.episodes, helped=flag) for flag in (False, True))
            axis.plot(alone[0], alone[low], color=colour, label=label if several else "alone")
            axis.plot(helped[0], helped[low], color=colour, lw=0.8, alpha=0.5, label=None if several else "with help")
        base = next((run.base for run in runs if run.base), None)
        if base:
            least, value, most = base[key]
            axis.axhspan(least, most, color=COLOURS["base"], alpha=0.15)
            axis.axhline(value, color=COLOURS["base"], ls="--", label=f"base VLA ({base['episodes']} episodes)")
        axis.set_xlabel("robot time, min")
        axis.set_ylim(0, None if low == 1 else 1.03)
    axes[0, 0].set_ylabel("successes per 10 min")
    axes[0, 1].set_ylabel("success rate")
    axes[0, 0].legend(fontsize=8)
    return figure


def _lengths(runs: Sequence[RunData]) -> Figure:
    groups: dict[str, list[EpisodeRecord]] = {}
    for run in runs:
        groups.setdefault(_group(run), []).extend(r for r in run.records if r.outcome is Outcome.SUCCESS)
    figure, axes = panels(len(groups), 1, width=8.0, height=2.6)
    longest = max((record.duration for records in groups.values() for record in records), default=1.0)
    bins = np.linspace(0.0, longest, _BINS + 1)
    for axis, (group, records) in zip(axes[:, 0], groups.items(), strict=True):
        for who, colour in COLOURS.items():
            seconds = [record.duration for record in records if record.flown_by == who]
            if seconds:
                weights = np.full(len(seconds), 100.0 / len(seconds))
                label = f"{who}: {len(seconds)}, median {np.median(seconds):.1f} s"
                axis.hist(seconds, bins, weights=weights, alpha=0.6, color=colour, label=label)
                axis.axvline(float(np.median(seconds)), color=colour, ls="--")
        axis.set_ylabel("% of each")
        _legend(axis)
        if len(groups) > 1:
            axis.set_title(group, fontsize=9)
    axes[-1, 0].set_xlabel("s from start to success")
    return figure


def _human(runs: Sequence[RunData]) -> Figure:
    figure, axes = panels(1, 1, width=8.0, height=2.4)
    for run, colour, label in _styles(runs):
        ticks, human = (np.array([getattr(r, name) for r in run.records], float) for name in ("ticks", "human_ticks"))
        window = np.ones(WINDOW)
        share = np.convolve(human, window)[: len(human)] / np.maximum(np.convolve(ticks, window)[: len(ticks)], 1.0)
        axes[0, 0].plot([e.minutes for e in run.episodes], 100.0 * share, color=colour, label=label)
    axes[0, 0].set(xlabel="robot time, min", ylabel="% flown by the human", ylim=(0, 103))
    if len(runs) > 1:
        axes[0, 0].legend(fontsize=8)
    return figure


def _candidates(runs: Sequence[RunData]) -> Figure:
    figure, axes = panels(len(runs), 1, width=8.0, height=2.4)
    for axis, run in zip(axes[:, 0], runs, strict=True):
        names = sorted(set().union(*(shares for _, shares in run.candidates)))
        values = np.array([[shares.get(name, 0.0) for name in names] for _, shares in run.candidates])
        window = np.ones(WINDOW)
        count = np.convolve(np.ones(len(values)), window)[: len(values)]
        rolling = [100.0 * np.convolve(column, window)[: len(values)] / count for column in values.T]
        colours = mpl.colormaps["viridis"](np.linspace(0.15, 0.95, max(1, len(names))))
        labels = ["own" if name == 0 else f"{name:g} x" for name in names]
        colours[[label == "own" for label in labels]] = mpl.colors.to_rgba("0.75")
        axis.stackplot([at for at, _ in run.candidates], rolling, labels=labels, colors=list(colours))
        axis.set(ylabel="% of the chunks", ylim=(0, 100))
        if len(runs) > 1:
            axis.set_title(run.name, fontsize=9)
    axes[0, 0].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes[-1, 0].set_xlabel("robot time, min")
    return figure


def _evaluations(runs: Sequence[RunData]) -> Figure:
    figure, axes = panels(1, 2)
    for axis, key in ((axes[0, 0], "throughput"), (axes[0, 1], "success")):
        for run, colour, label in _styles(runs):
            if run.curve:
                minutes, values = (np.array([entry[name] for entry in run.curve]) for name in ("minutes", key))
                bounds = np.array([entry[f"{key}_95"] for entry in run.curve])
                errors = np.maximum(0.0, np.abs(bounds.T - values))
                axis.errorbar(minutes, values, errors, fmt="o-", ms=4, capsize=3, color=colour, label=label)
        base = next((run.base for run in runs if run.base), None)
        if base:
            least, value, most = base["throughput_per_10min" if key == "throughput" else "success_rate"]
            axis.axhspan(least, most, color=COLOURS["base"], alpha=0.15)
            axis.axhline(value, color=COLOURS["base"], ls="--", label="base VLA")
        axis.set_xlabel("robot time, min")
        axis.set_ylim(0, None if key == "throughput" else 1.03)
    axes[0, 0].set_ylabel("successes per 10 min")
    axes[0, 1].set_ylabel("success rate")
    axes[0, 0].legend(fontsize=8)
    return figure


def _learner(runs: Sequence[RunData]) -> Figure:
    shown = (
        ("updates per second", ("updates_per_s",)),
        ("value of actions (dotted: targets)", ("q_mean", "target_mean")),
        ("TD error (critics' loss)", ("critic_loss",)),
        ("distance of actor and anchor", ("anchor_distance",)),
    )
    figure, axes = panels(2, 2, height=2.4)
    for axis, (title, names) in zip(axes.flat, shown, strict=True):
        for run, colour, label in _styles(runs):
            for style, name in zip(("-", ":"), names, strict=False):
                minutes, values = run.series.get(name, (_NONE, _NONE))
                axis.plot(minutes, values, style, color=colour, label=None if style == ":" else label)
        axis.set_title(title, fontsize=9)
    for axis in axes[1]:
        axis.set_xlabel("robot time, min")
    if len(runs) > 1:
        axes[0, 1].legend(fontsize=7)
    return figure


def _loop(runs: Sequence[RunData]) -> Figure:
    figure, axes = panels(1, 2, height=2.6)
    for axis, name, label in (
        (axes[0, 0], "period_errors", "period error, ms"),
        (axes[0, 1], "input_ages", "age of the input, ms"),
    ):
        for run, colour, _ in _styles(runs):
            values: Array = getattr(run, name)
            if values.size:
                shown = np.clip(values, 1e-3, None)
                low, high = float(shown.min()), float(shown.max())
                bins = np.geomspace(low, max(high, low * 1.01), _BINS)
                text = f"p50 {np.median(values):.2f}, p99 {np.percentile(values, 99):.2f}, max {high:.1f}"
                axis.hist(shown, bins, alpha=0.6, color=colour, label=text)
        axis.set(xscale="log", yscale="log", xlabel=label, ylabel="ticks")
        _legend(axis)
    return figure


def _legend(axis: Axes) -> None:
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8)
