"""`rlt report`: what came of runs, as a page to send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from rlt_ros.cli.options import Json
from rlt_ros.config import ConfigError
from rlt_ros.journal.journal import size_of


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Runs of 'rlt up' or 'rlt train', or a sweep's records."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="HTML file; default: report.html in the run, or here for several.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML page of a run, of several or of a sweep, and its plots as PNG."""
    try:
        from rlt_ros.report.data import read
        from rlt_ros.report.page import write_report
        from rlt_ros.report.sweep import is_sweep, read_sweep
        from rlt_ros.report.sweep_page import write_sweep
    except ModuleNotFoundError as error:
        if error.name in ("matplotlib", "scipy"):
            raise ConfigError(f"plots need {error.name}: pip install 'rlt_ros[report]'") from error
        raise
    sweeps = [run for run in runs if is_sweep(run)]
    if sweeps and len(runs) > 1:
        raise ConfigError(f"{sweeps[0]} holds records of a sweep: give it alone")
    if out is None and sweeps:
        out = Path(f"{runs[0].resolve().name}.html")
    if out is None:
        out = runs[0] / "report.html" if len(runs) == 1 else Path("report.html")
    if not out.parent.is_dir():
        raise ConfigError(f"there is no directory {out.parent}")
    if sweeps:
        written = write_sweep(read_sweep(runs[0]), out)
        told = {"html": str(out), "tables": str(written[1]), "figures": [str(path) for path in written[2:]]}
        print(json.dumps(told) if as_json else f"{out}, {written[1]}, and {len(written) - 2} plots")
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        found = []
        for run in runs:
            bar = progress.add_task(run.name, total=size_of(run / "journal") or None)
            found.append(read(run, lambda size, bar=bar: progress.advance(bar, size)))  # type: ignore[misc]
    written = write_report(found, out)
    if as_json:
        print(json.dumps({"html": str(out), "figures": [str(path) for path in written[1:]]}))
    else:
        print(f"{out}, and {len(written) - 1} plots in {out.with_name(f'{out.stem}_figures')}")
