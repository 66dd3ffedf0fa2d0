"""`rlt sweep`: a table of trainings and evaluations, run as processes here or on a Ray cluster."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlt_ros.cli.options import BundlePath, Json, progress_bars
from rlt_ros.config import ConfigError

if TYPE_CHECKING:
    from rlt_ros.offline.sweep import Status


def sweep(
    file: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="Tasks x methods x ablations x seeds x minutes.")],
    jobs: Annotated[int, typer.Option(min=1, help="Processes at a time.")] = os.cpu_count() or 1,
    nice: Annotated[int, typer.Option(min=0, max=19, help="How far they step back for others.")] = 10,
    runs: Annotated[
        Path | None, typer.Option(help="Where the runs are; default: runs/sweep-FILE. Not needed once all is done.")
    ] = None,
    results: Annotated[Path | None, typer.Option(help="Where the records are kept; default: results/FILE.")] = None,
    bundle: BundlePath = None,
    ray: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Ray cluster that does the work: HOST:PORT, ray://HOST:PORT or auto.")
    ] = "",
    show: Annotated[bool, typer.Option("--list", help="Only say what would be run, and what is finished.")] = False,
    as_json: Json = False,
) -> None:
    """Train and evaluate what a file says; given again it goes on, and trains nothing twice."""
    from rlt_ros.offline.plan import read_plan
    from rlt_ros.offline.sweep import Sweep, SweepConfig

    table = read_plan(file)
    config = SweepConfig(
        (runs or Path("runs") / f"sweep-{file.stem}").absolute(),
        (results or Path("results") / file.stem).absolute(),
        jobs,
        nice,
        bundle.absolute() if bundle is not None else None,
        ray,
    )
    work = Sweep(table, config)
    if show:
        for job in table:
            print(f"{'finished' if job.name in work.status.finished else 'to do':9}{job.name}")
        return
    with progress_bars() as progress:
        total = max(1, round(60 * work.status.minutes))
        bar = progress.add_task("robot time, s", total=total, figures="")
        told: set[str] = set()

        def tell(status: Status) -> None:
            progress.update(bar, completed=min(total, round(60 * status.done)), figures=_figures(status))
            for name in [*status.finished, *status.failed]:
                if name not in told:
                    told.add(name)
                    progress.console.print(
                        f"failed twice: {name}, see {status.failed[name]}"
                        if name in status.failed
                        else f"done: {name}",
                        highlight=False,
                        soft_wrap=True,
                    )

        status = work.run(tell)
        tell(status)
    if as_json:
        print(json.dumps({**dataclasses.asdict(status), "results": str(config.results)}))
    else:
        print(f"{len(status.finished)} of {status.total} runs are in {config.results}")
    if status.failed:
        raise ConfigError(f"{len(status.failed)} of {status.total} runs failed: {', '.join(status.failed)}")


def _figures(status: Status) -> str:
    eta = "" if status.eta is None else f", about {_span(status.eta)} left"
    failed = f", {len(status.failed)} failed" if status.failed else ""
    return f"{len(status.finished)} of {status.total} done, {len(status.running)} running{failed}{eta}"


def _span(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
