"""`rlt bench`: figures against a reference in the same run."""

from __future__ import annotations

import runpy
import sys
from typing import Annotated

import typer

from rlt_ros.config import ConfigError
from rlt_ros.share import share_directory

BENCHMARKS = (
    "cameras",
    "console",
    "eyes",
    "heads",
    "ingest",
    "kinematics",
    "latency",
    "learner",
    "loop",
    "memory",
    "stop",
    "takeover",
    "vla",
)


def bench(
    context: typer.Context, what: Annotated[str, typer.Argument(help=f"What to measure: {', '.join(BENCHMARKS)}.")]
) -> None:
    """Measure; prints one JSON object as the last line. `rlt bench WHAT --help` lists the options of WHAT."""
    if what in ("-h", "--help"):
        print(context.get_help())
        return
    if what not in BENCHMARKS:
        raise ConfigError(f"unknown benchmark '{what}': choose {', '.join(BENCHMARKS)}")
    sys.argv = [f"rlt bench {what}", *(argument for argument in context.args if argument != "--json")]
    directory = share_directory() / "bench"
    sys.path.insert(0, str(directory))  # as for a script that is run by itself
    runpy.run_path(str(directory / f"{what}.py"), run_name="__main__")
