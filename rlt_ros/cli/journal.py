"""`rlt runs`, `rlt replay` and `rlt export`: what was recorded."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from rlt_ros.bringup.runs import JOURNAL, list_runs, read_record
from rlt_ros.cli.options import BundlePath, Json
from rlt_ros.config import ConfigError
from rlt_ros.vla.bundle import load_bundle

Run = Annotated[Path, typer.Argument(help="Directory of a run of 'rlt up'.")]


def runs(
    root: Annotated[Path, typer.Argument(help="Directory that holds runs.")] = Path("runs"), as_json: Json = False
) -> None:
    """List runs: episodes, success, checkpoints, size."""
    found = list_runs(root)
    if as_json:
        print(json.dumps({"runs": [{**dataclasses.asdict(run), "path": str(run.path)} for run in found]}))
        return
    if not found:
        print(f"there are no runs in {root}")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "lives", "episodes", "successes", "per 10 min", "updates", "size"):
        table.add_column(heading, justify="left" if heading == "run" else "right", no_wrap=True)
    for run in found:
        table.add_row(
            f"{run.path.name}{' (running)' if run.running else ''}",
            str(run.lives),
            *("-" if value is None else f"{value:.0f}" for value in (run.episodes, run.successes, run.per_10min)),
            "-" if run.updates is None else str(run.updates),
            f"{run.size / 1e6:.1f} MB",
        )
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(table)


def replay(
    run: Run,
    rate: Annotated[float, typer.Option(min=0.01, max=100, help="Times the recorded speed.")] = 1.0,
    namespace: Annotated[str, typer.Option(help="Put before every topic, for example /replay.")] = "",
    longest_pause: Annotated[float, typer.Option(min=0, help="Pauses between episodes are cut to this, in s.")] = 2.0,
    as_json: Json = False,
) -> None:
    """Publish a run's journal again: the topics of the robot, with their old stamps."""
    from rlt_ros.cli.journal_replay import replay as play

    console = Console(stderr=True)
    with console.status("reading") as status:
        count = play(
            _journal(run),
            rate=rate,
            namespace=namespace,
            longest_pause=longest_pause,
            tell=lambda count, seconds: status.update(f"{count} messages, {seconds:.0f} s"),
        )
    print(json.dumps({"messages": count}) if as_json else f"{count} messages")


def export(
    run: Run,
    out: Annotated[Path, typer.Argument(help="Directory of the dataset; must not exist or be empty.")],
    form: Annotated[str, typer.Option("--format", help="Of the dataset: lerobot (v3).")] = "lerobot",
    bundle: BundlePath = None,
    as_json: Json = False,
) -> None:
    """Write a run's episodes as a dataset: states, actions, labels, and video where images were recorded."""
    if form != "lerobot":
        raise ConfigError(f"unknown format '{form}': choose lerobot")
    from rlt_ros.cli.journal_export import export as write

    record = read_record(run)
    console = Console(stderr=True)
    with console.status("reading") as status:
        counts = write(
            _journal(run),
            out,
            load_bundle(bundle or record.get("bundle", "")),
            str(record.get("task", "")),
            damaged=lambda damage: console.print(f"{damage.path}: {damage.lost} bytes cannot be read"),
            told=lambda count: status.update(f"{count} episodes"),
        )
    if as_json:
        print(json.dumps({**counts, "dataset": str(out)}))
        return
    left_out = {name: count for name, count in counts.items() if name not in ("episodes", "frames")}
    print(f"{counts['episodes']} episodes, {counts['frames']} frames in {out}")
    for name, count in left_out.items():
        print(f"{name.replace('_', ' ')}: {count}")


def _journal(run: Path) -> Path:
    if not (run / JOURNAL).is_dir():
        raise ConfigError(f"{run} has no journal")
    return run / JOURNAL
