"""`rlt eval`: policies on the same starts."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from rlt_ros.bringup.graph import Bringup
from rlt_ros.cli.options import BundlePath, Clearance, Json, Seed, Setting, progress_bars
from rlt_ros.config import ConfigError
from rlt_ros.sim.tasks import get_task
from rlt_ros.vla.bundle import load_bundle, shipped_actor

DEFAULT_TASK = "ethernet"
EvaluatedTask = Annotated[str | None, typer.Option(help=f"Task; default: the run's, or {DEFAULT_TASK}.")]


def evaluate(
    task: EvaluatedTask = None,
    setting: Setting = "controlled",
    base: Annotated[bool, typer.Option("--base", help="The base VLA alone, beside its best static variants.")] = False,
    run: Annotated[Path | None, typer.Option(help="Directory of a run: its newest actor against the base.")] = None,
    trained: Annotated[bool, typer.Option("--trained", help="The actor that ships with the bundle.")] = False,
    episodes: Annotated[int, typer.Option(min=1, help="Seeded starts, the same for every policy.")] = 100,
    seed: Seed = 0,
    clearance: Clearance = None,
    bundle: BundlePath = None,
    variants: Annotated[bool, typer.Option(help="Also the base sped up and with other replan lengths.")] = True,
    vla_rate: Annotated[
        float | None,
        typer.Option(min=2, max=50, help="Passes of the VLA a second, 12 or 5 for a slow one; default: the run's, 25."),
    ] = None,
    blind: Annotated[bool, typer.Option("--blind", help="Evaluate the base with grey pictures too.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
    as_json: Json = False,
) -> None:
    """Fly seeded episodes of the cell without ROS: success, speed and throughput with 95 % intervals."""
    from rlt_ros.offline.report import compare, print_comparison, read_run
    from rlt_ros.offline.rollout import VLA_RATE

    if base + trained + (run is not None) != 1:
        raise ConfigError("say what to evaluate: --base, --trained, or --run DIR")
    bundle_path, actor, encoder = Bringup(bundle=bundle).bundle_path, None, False
    if run is not None:
        found = read_run(run)
        if task not in (None, found.task) or clearance not in (None, found.clearance):
            raise ConfigError(f"{run} was trained on {found.task}, clearance {found.clearance or 'of the task'}")
        task, clearance, actor = found.task, found.clearance, found.actor
        bundle_path, encoder = bundle or found.bundle, found.encoder
        vla_rate = vla_rate or found.vla_rate
    if trained:
        actor = shipped_actor(bundle_path, task or DEFAULT_TASK)
    name = get_task(task or DEFAULT_TASK).name
    if told := load_bundle(bundle_path).unknown(name):
        print(f"warning: {told}", file=sys.stderr)
    with progress_bars() as progress:
        report = compare(
            bundle_path,
            name,
            setting=setting,
            clearance=clearance,
            actor=actor,
            episodes=episodes,
            seed=seed,
            variants=variants,
            blind=blind,
            encoder=encoder,
            vla_rate=vla_rate or VLA_RATE,
            workers=workers,
            progress=progress,
        )
    if as_json:
        print(json.dumps(report))
    else:
        print_comparison(report)
