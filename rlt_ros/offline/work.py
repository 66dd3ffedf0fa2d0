"""One job of a sweep, from its directory to its record, wherever it is done."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlt_ros.bringup.runner import DIE_WITH_PARENT
from rlt_ros.config import ConfigError
from rlt_ros.offline.ablations import ablated
from rlt_ros.offline.plan import BASE, Job
from rlt_ros.offline.train import read_settings
from rlt_ros.provenance import provenance
from rlt_ros.report.records import facts, record_of_run
from rlt_ros.rl.checkpoint import REPLAY_FILE
from rlt_ros.sim.cell import CONTROL_PERIOD

_POLL = 0.2
_LOCKED = 30.0
"""Seconds in which processes of a sweep that was killed have ended."""


@dataclass(frozen=True)
class Workshop:
    """Where jobs are done; the same on every machine that does some.

    Attributes:
        runs: directory of the runs.
        nice: how far they step back for others.
        bundle: of the VLA; None: the shipped one.
    """

    runs: Path
    nice: int = 10
    bundle: Path | None = None


def do(
    job: Job,
    workshop: Workshop,
    locks: tuple[int, ...] = (),
    started: Callable[[subprocess.Popen[bytes]], None] = lambda _: None,
) -> dict[str, Any]:
    """Do a job, or go on with it, in a process of its own.

    Args:
        job: what is to be done.
        workshop: where.
        locks: open files whose locks its process holds too, for as long as it lives.
        started: is given the process.

    Returns:
        Its record.

    Raises:
        ConfigError: it failed; its log says why.
        ValueError, IndexError, OSError: what it left cannot be read.
    """
    directory = workshop.runs / job.name
    with locked(directory) as lock:
        if (directory / "job.json").is_file():
            same(job, json.loads((directory / "job.json").read_text()), directory)
        (directory / "job.json").write_text(json.dumps(job.described()))
        run = newest(directory)
        if run is None or not (run / "summary.json").is_file():  # else only the record was missing
            code = _train(job, directory, run, workshop, (*locks, lock), started)
            if code:
                raise ConfigError(f"it ended with code {code}")
        if job.method == BASE:
            record = {"facts": facts(provenance(["rlt", *job.arguments(directory, workshop.bundle)]))}
            return record | json.loads((directory / "out.json").read_text().strip().splitlines()[-1])
        run = newest(directory)
        record = record_of_run(run if run is not None else directory)
        assert run is not None
        _, config, learner = read_settings(run)
        record["reaction_ms"] = round(1e3 * CONTROL_PERIOD * ablated(config.without, learner)[1].chunk)
        return record


def _train(
    job: Job,
    directory: Path,
    run: Path | None,
    workshop: Workshop,
    locks: tuple[int, ...],
    started: Callable[[subprocess.Popen[bytes]], None],
) -> int:
    """The process's exit code; `run` is what an earlier one left."""
    arguments = job.arguments(directory, workshop.bundle)
    if run is not None and any(run.glob(f"checkpoints/step-*/{REPLAY_FILE}")):
        arguments = ["train", "--resume", str(run), "--minutes", f"{job.minutes:g}"]
    elif run is not None:
        shutil.rmtree(run)  # it did not come as far as its first checkpoint
    nice = ("nice", "-n", str(workshop.nice)) if workshop.nice else ()
    command = [*DIE_WITH_PARENT, *nice, sys.executable, "-m", "rlt_ros.cli", *arguments]
    with (directory / "log.txt").open("a") as log, (directory / "out.json").open("w") as out:
        print("$ rlt", *arguments, file=log, flush=True)
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            pass_fds=locks,
        )
        started(process)
        return process.wait()


def same(job: Job, made: dict[str, Any], path: Path) -> None:
    """Refuse what was made of another job with the same name.

    Raises:
        ConfigError: it was.
    """
    differ = [key for key, value in job.described().items() if made.get(key) != value]
    if differ:
        raise ConfigError(f"{path} was made with another {', '.join(differ)}: move it away, or set them back")


def newest(directory: Path) -> Path | None:
    """The newest run in a job's directory."""
    return max((path.parent for path in directory.glob("*/config.json")), default=None)


@contextmanager
def locked(directory: Path) -> Iterator[int]:
    """A directory in which nobody else works, nor a process that somebody has left behind: they hold the lock too.

    Raises:
        ConfigError: somebody else has it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as file:
        until = time.monotonic() + _LOCKED
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise ConfigError(f"another sweep works in {directory}") from None
                time.sleep(_POLL)
        yield file.fileno()
