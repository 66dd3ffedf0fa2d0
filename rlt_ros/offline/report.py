"""A policy against its base and the base's static variants, on the same starts: what `rlt eval` prints."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from rlt_ros.config import ConfigError
from rlt_ros.offline.ablations import by_encoder
from rlt_ros.offline.evaluate import STATIC_VARIANTS, Policy, evaluate, ratio, summarise
from rlt_ros.offline.rollout import VLA_RATE, Trial, make_executor
from rlt_ros.sim.tasks import get_task
from rlt_ros.vla.bundle import load_bundle


@dataclass(frozen=True)
class Run:
    """What a directory of `rlt train` or `rlt up` holds.

    Attributes:
        actor: file of the newest actor.
        task: what it was trained on.
        clearance: in metres; None for the task's own.
        bundle: directory of the bundle it was trained with.
        encoder: see `Policy`.
        vla_rate: see `Policy`.
    """

    actor: Path
    task: str
    clearance: float | None
    bundle: Path
    encoder: bool = False
    vla_rate: float = VLA_RATE


def read_run(directory: Path) -> Run:
    """Look into a run's directory.

    Raises:
        ConfigError: it holds no checkpoint, or not what it was trained on.
    """
    found = sorted((directory / "checkpoints").glob("step-*/actor.safetensors"))
    if not found:
        raise ConfigError(f"{directory} holds no checkpoint (checkpoints/step-*/actor.safetensors)")
    for name in ("config.json", "run.json"):
        if (directory / name).is_file():
            try:
                described = json.loads((directory / name).read_text())
                trained = described.get("train", {})
                return Run(
                    found[-1],
                    described["task"],
                    described.get("clearance"),
                    Path(described["bundle"]),
                    by_encoder(trained.get("without", "")),
                    float(trained.get("vla_rate", VLA_RATE)),
                )
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ConfigError(f"{directory / name} does not say what was trained: {error!r}") from error
    raise ConfigError(f"{directory} holds neither config.json nor run.json: what was it trained on?")


def compare(
    bundle: Path,
    task: str,
    *,
    setting: str,
    clearance: float | None,
    actor: Path | None,
    episodes: int,
    seed: int,
    variants: bool,
    blind: bool,
    encoder: bool = False,
    vla_rate: float = VLA_RATE,
    workers: int,
    progress: Progress,
) -> dict[str, Any]:
    """Evaluate and sum up; see `rlt eval --help`.

    Returns:
        `base` and `final` (None without an actor) as in `summarise`, `speedup` (of median ticks) and `throughput_ratio`
        of final against base with 95 % intervals, `static` with every variant, `best_static`, `blind`.
    """
    chosen = get_task(task, clearance=clearance, setting=setting)
    limit = chosen.limit

    def fly(name: str, **changes: Any) -> list[Trial]:
        bar = progress.add_task(name, total=episodes, figures="")
        policy = Policy(bundle, task, setting, clearance, vla_rate=vla_rate, **changes)
        return evaluate(
            policy,
            episodes=episodes,
            seed=seed,
            workers=workers,
            progress=lambda done: progress.update(bar, completed=done),
        )

    base = fly("base")
    report: dict[str, Any] = {
        "task": task,
        "setting": setting,
        "clearance": chosen.clearance,
        "bundle": str(bundle),
        "seed": seed,
        "vla_rate": vla_rate,
        "base": summarise(base, limit),
        "final": None,
        "speedup": None,
        "throughput_ratio": None,
    }
    if actor is not None:
        final = fly("final", actor=actor, encoder=encoder)
        report["final"] = summarise(final, limit)
        report["speedup"], report["throughput_ratio"] = ratio(base, final, limit)
    if variants:
        report["static"] = []
        defaults = dataclasses.asdict(make_executor(load_bundle(bundle)).config)
        for variant in STATIC_VARIANTS:
            name = f"speed {variant['reference_speed']:g}, {variant['reference_rows']} rows"
            # One of them is the base itself.
            trials = base if variant.items() <= defaults.items() else fly(name, executor=variant)
            figures = summarise(trials, limit)
            report["static"].append({**variant, **figures})
        report["best_static"] = max(report["static"], key=lambda figures: figures["throughput"])
    if blind:
        report["blind"] = summarise(fly("blind base", blind=True), limit)
    return report


def print_comparison(report: dict[str, Any], console: Console | None = None) -> None:
    """The report as a table."""
    table = Table(title=f"{report['task']}, {report['setting']}, clearance {report['clearance'] * 1000:g} mm a side")
    for heading in ("policy", "success", "median", "fastest 10 %", "per 10 min"):
        table.add_column(heading, justify="left" if heading == "policy" else "right")
    rows = [(name, report.get(name)) for name in ("base", "final", "blind")]
    for variant in report.get("static", []):
        rows.append((f"speed {variant['reference_speed']:g}, {variant['reference_rows']} rows", variant))
    for name, figures in rows:
        if figures is not None:
            table.add_row(name, *_cells(figures))
    console = console or Console()
    console.print(table)
    for name in ("speedup", "throughput_ratio"):
        if report[name]:
            value, (low, high) = report[name]["value"], report[name]["95"]
            console.print(f"{name}: {value:.2f} ({low:.2f} to {high:.2f})")
    note = "ticks of 20 ms; successes per 10 minutes; in brackets the 95 % interval"
    console.print(f"{report['base']['episodes']} episodes each; {note}", style="dim")
    for name in ("base", "final", "blind"):
        figures = report.get(name)
        if figures and "critical" in figures:
            low, high = figures["critical_95"]
            console.print(
                f"{name}: the critical phase began with both parts in {figures['critical']:.0%} ({low:.0%} to "
                f"{high:.0%}); of the episodes without, the phase head began {figures['switched_in_vain']}"
            )


def _cells(figures: dict[str, Any]) -> list[str]:
    low, high = figures["success_95"]
    success = f"{figures['success']:.0%} ({low:.0%} to {high:.0%})"
    slow, fast = figures["throughput_95"]
    throughput = f"{figures['throughput']:.0f} ({slow:.0f} to {fast:.0f})"
    if figures["median_ticks"] is None:
        return [success, "-", "-", throughput]
    few, many = np.round(figures["median_ticks_95"]).astype(int)
    return [
        success,
        f"{figures['median_ticks']:.0f} ({few} to {many})",
        f"{figures['fastest_tenth_ticks']:.0f}",
        throughput,
    ]
