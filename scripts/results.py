"""Tables and plots of docs/results.md from runs of `rlt train` of RLT: one for each seed, of one task or of ablations.

Usage: ./rlt exec python scripts/results.py RUN_DIR... [--out docs/images]   (needs the extra `report`)
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

from rlt_ros.report.tables import pooled


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        task: it learnt.
        without: what was switched off, or "".
        seed: of the run.
        base: figures of the base, or None.
        curve: one entry an evaluation.
        episodes: lines of episodes.csv.
    """

    task: str
    without: str
    seed: int
    base: dict[str, Any] | None
    curve: list[dict[str, Any]]
    episodes: list[dict[str, str]]


def read(directory: Path) -> Run:
    """What `rlt train` left in a directory."""
    settings = json.loads((directory / "config.json").read_text())
    train = settings["train"]
    with (directory / "episodes.csv").open() as file:
        episodes = list(csv.DictReader(file))
    base, curve = (json.loads((directory / name).read_text()) for name in ("base.json", "curve.json"))
    return Run(train["task"], train["without"], train["seed"], base, curve, episodes)


def row(name: str, figures: dict[str, Any], base: float | None) -> str:
    """A line of a table."""
    low, high = figures["success_95"]
    least, most = figures["throughput_95"]
    each = " ".join(f"{x:.0f}" for x in figures["each"])
    times = "" if not base else f" {figures['throughput'] / base:.1f} x |"
    return (
        f"| {name} | {figures['success']:.0%} ({low:.0%}-{high:.0%}) | {figures['stopped']:.0%} "
        f"| {figures['median']:.0f} | **{figures['throughput']:.0f}** ({least:.0f}-{most:.0f}) "
        f"| {each} |{times} {figures['human']:.0%} |"
    )


def plot_curves(full: dict[str, list[Run]], out: Path) -> None:
    """Success and throughput over robot time, a line a seed."""
    figure, axes = plt.subplots(2, len(full), figsize=(4.2 * len(full), 5.6), sharex=True, squeeze=False)
    for column, (task, runs) in enumerate(sorted(full.items())):
        for run in runs:
            minutes = [entry["minutes"] for entry in run.curve]
            for axis, key in zip(axes[:, column], ("throughput", "success"), strict=True):
                axis.plot(minutes, [entry[key] for entry in run.curve], "o-", ms=4, label=f"seed {run.seed}")
        base = next((run.base for run in runs if run.base), None)
        for axis, key in zip(axes[:, column], ("throughput", "success"), strict=True):
            if base:
                axis.axhline(base[key], color="grey", ls="--", label="base VLA")
            axis.grid(alpha=0.3)
            axis.set_ylim(0, None if key == "throughput" else 1.02)
        axes[0, column].set_title(task)
        axes[1, column].set_xlabel("robot time, min")
        axes[0, column].legend(loc="lower right")
    axes[0, 0].set_ylabel("successes per 10 min")
    axes[1, 0].set_ylabel("success")
    figure.tight_layout()
    figure.savefig(out / "learning.png", dpi=110)


def plot_values(full: dict[str, list[Run]], out: Path) -> None:
    """What the critics expected of an episode beside what came of it."""
    figure, axes = plt.subplots(1, len(full), figsize=(4.2 * len(full), 4.0), squeeze=False)
    for axis, (task, runs) in zip(axes[0], sorted(full.items()), strict=True):
        told = [e for run in runs for e in run.episodes if e["q"] and e["actor"] == "True" and e["human_ticks"] == "0"]
        minutes, expected, returned = (np.array([float(e[k]) for e in told]) for k in ("minutes", "q", "return"))
        points = axis.scatter(returned, expected, c=minutes, s=6, cmap="viridis")
        axis.plot([0, 1], [0, 1], color="grey", lw=1)
        axis.set(title=task, xlabel="return, mean over the episode")
        print(
            f"{task}: Q {expected.mean():.2f}, return {returned.mean():.2f} in {len(told)} episodes of the actor alone"
        )
    axes[0, 0].set_ylabel("Q, mean over the episode")
    figure.colorbar(points, ax=axes[0].tolist(), label="robot time, min")
    figure.savefig(out / "q_against_return.png", dpi=110, bbox_inches="tight")


def main() -> None:
    """Print the tables, write the plots."""
    mpl.use("Agg")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "images")
    arguments = parser.parse_args()
    groups: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in sorted((read(path) for path in arguments.runs), key=lambda run: run.seed):
        groups[run.task, run.without].append(run)
    head = "| | success (95 %) | stopped | median ticks | per 10 min (95 %) | each seed | of base | human |\n"
    for task in sorted({task for task, _ in groups}):
        print(f"\n{task}\n{head}|" + "---|" * 8)
        base = next((run.base for group in groups.values() for run in group if run.task == task and run.base), None)
        for (of, without), runs in sorted(groups.items()):
            if of != task:
                continue
            for index, entry in enumerate(runs[0].curve):
                name = f"{entry['due']:.0f} min" + (f", without {without}" if without else "")
                evaluations = [run.curve[index] for run in runs if len(run.curve) > index]
                print(row(name, pooled(evaluations, task), base["throughput"] if base else None))
    full = {task: runs for (task, without), runs in groups.items() if not without}
    plot_curves(full, arguments.out)
    plot_values(full, arguments.out)


if __name__ == "__main__":
    main()
