"""Plots of a sweep: bars, learning curves, ablations, and how long critical phases take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from rlt_ros.report.data import CELL_PERIOD
from rlt_ros.report.figures import panels
from rlt_ros.report.sweep import OURS, SweepData, bars_of, curve_of, speeds_of

_KEYS = (("throughput", "successes per 10 min"), ("success", "success rate"))
_GREY = {"base": "0.45", "best static": "0.65", "human": "#d08a1d"}


def figures(sweep: SweepData) -> dict[str, tuple[str, Figure]]:
    """Every plot that there is something for: name -> (caption, figure)."""
    out: dict[str, tuple[str, Figure]] = {}
    ablated = [label for label in sweep.labels if label == OURS or label.startswith(f"{OURS}, ")]
    methods = [label for label in sweep.labels if label == OURS or label not in ablated]
    out["bars"] = (
        "Throughput and success at the end of each run, with 95 % intervals over seeds and episodes.",
        _bars(sweep),
    )
    if any(arm.dues and arm.label in methods for arm in sweep.arms):
        out["curves"] = (
            "Learning: evaluations over robot time, mean of the seeds with the 95 % interval over seeds and episodes.",
            _curves(sweep, methods),
        )
    if len(ablated) > 1:
        out["ablations"] = (f"{OURS} without some of its parts, or with other settings.", _curves(sweep, ablated))
    if any(speeds_of(sweep, task) for task in sweep.tasks):
        out["speeds"] = (
            "How long successful critical phases take: the human's demonstrations, the base, each method at its end. "
            "Box: the middle half; whiskers: 5 to 95 %; line: the median.",
            _speeds(sweep),
        )
    return out


def _colour(sweep: SweepData, label: str) -> str:
    return _GREY[label] if label in _GREY else f"C{sweep.labels.index(label) % 10}"


def _bars(sweep: SweepData) -> Figure:
    figure, axes = panels(len(sweep.tasks), 2, height=0.9 + 0.28 * (2 + len(sweep.labels)))
    for row, task in zip(axes, sweep.tasks, strict=True):
        for axis, (key, label) in zip(row, _KEYS, strict=True):
            bars = bars_of(sweep, task, key)[::-1]
            names, low, value, high = (list(column) for column in zip(*bars, strict=True)) if bars else ([], [], [], [])
            errors = np.maximum(0.0, [np.subtract(value, low), np.subtract(high, value)])
            axis.barh(names, value, xerr=errors, capsize=2, color=[_colour(sweep, name) for name in names])
            axis.set_xlabel(label)
        row[0].set_title(task, fontsize=9, loc="left")
        row[1].set_xlim(0, 1.02)
        row[1].set_yticklabels([])
    return figure


def _curves(sweep: SweepData, labels: Sequence[str]) -> Figure:
    tasks = [task for task in sweep.tasks if any(sweep.arm(task, label) for label in labels)]
    figure, axes = panels(len(tasks), 2)
    for row, task in zip(axes, tasks, strict=True):
        for axis, (key, name) in zip(row, _KEYS, strict=True):
            for label in labels:
                arm = sweep.arm(task, label)
                if arm is not None and arm.dues:
                    minutes, low, value, high = curve_of(arm, key)
                    axis.plot(minutes, value, "o-", ms=4, color=_colour(sweep, label), label=label)
                    axis.fill_between(minutes, low, high, color=_colour(sweep, label), alpha=0.15)
            if task in sweep.base:
                axis.axhline(sweep.base[task]["base"][key], color=_GREY["base"], ls="--", label="base")
            axis.set(xlabel="robot time, min", ylabel=name)
            axis.set_ylim(0, None if key == "throughput" else 1.03)
        row[0].set_title(task, fontsize=9, loc="left")
    axes[0, 0].legend(fontsize=7)
    return figure


def _speeds(sweep: SweepData) -> Figure:
    tasks = [task for task in sweep.tasks if speeds_of(sweep, task)]
    most = max(len(speeds_of(sweep, task)) for task in tasks)
    figure, axes = panels(len(tasks), 1, width=8.0, height=0.9 + 0.3 * most)
    for axis, task in zip(axes[:, 0], tasks, strict=True):
        speeds = dict(reversed(speeds_of(sweep, task).items()))
        seconds = [ticks * CELL_PERIOD for ticks in speeds.values()]
        boxes = axis.boxplot(
            seconds, vert=False, whis=(5, 95), showfliers=False, patch_artist=True, tick_labels=list(speeds), widths=0.6
        )
        for box, name in zip(boxes["boxes"], speeds, strict=True):
            box.set(facecolor=_colour(sweep, name), alpha=0.5)
        axis.set_title(task, fontsize=9, loc="left")
        axis.set_xlim(0, None)
    axes[-1, 0].set_xlabel("s from start to success")
    return figure
