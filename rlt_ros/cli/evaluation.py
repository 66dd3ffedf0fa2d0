"""`rlt eval`: policies on the same starts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from rlt_ros.bringup import Bringup
from rlt_ros.cli.options import BundlePath, Clearance, Json, Seed, Setting, Task, progress_bars
from rlt_ros.config import ConfigError


def evaluate(
    task: Task = "ethernet",
    setting: Setting = "controlled",
    base: Annotated[bool, typer.Option("--base", help="The base VLA alone, beside its best static variants.")] = False,
    run: Annotated[Path | None, typer.Option(help="Directory of a run: its newest actor against the base.")] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Seeded starts, the same for every policy.")] = 100,
    seed: Seed = 0,
    clearance: Clearance = None,
    bundle: BundlePath = None,
    variants: Annotated[bool, typer.Option(help="Also the base sped up and with other replan lengths.")] = True,
    blind: Annotated[bool, typer.Option("--blind", help="Evaluate the base with grey pictures too.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
    as_json: Json = False,
) -> None:
    """Fly seeded episodes of the cell without ROS: success, speed and throughput with 95 % intervals."""
    from rlt_ros.offline.report import compare, newest_actor, print_comparison

    if base == (run is not None):
        raise ConfigError("say what to evaluate: --base, or --run DIR")
    with progress_bars() as progress:
        report = compare(
            Bringup(bundle=bundle).bundle_path,
            task,
            setting=setting,
            clearance=clearance,
            actor=None if run is None else newest_actor(run),
            episodes=episodes,
            seed=seed,
            variants=variants,
            blind=blind,
            workers=workers,
            progress=progress,
        )
    if as_json:
        print(json.dumps(report))
    else:
        print_comparison(report)
