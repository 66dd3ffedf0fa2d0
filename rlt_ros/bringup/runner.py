"""Runs a list of processes: prefixed output, one log file each, ordered stop.

Existing runners (honcho, circus) stop everything when any process ends and in no order; a graph must go on
without its learner, and must stop the session before the executor and the executor before the robot.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_SETPRIV = shutil.which("setpriv")
DIE_WITH_PARENT = (_SETPRIV, "--pdeathsig", "TERM", "--") if _SETPRIV else ()
"""By util-linux, not by code between fork and exec: there a thread of ours or of DDS may hold a lock, or worse."""
MISCONFIGURED = 2
"""Exit code of a node that would fail again: something is wrong with its configuration."""


@dataclass(frozen=True)
class Command:
    """A process to run.

    Attributes:
        name: prefix of its output and name of its log file.
        arguments: program and arguments.
        required: everything is in vain without it.
        stop_seconds: between SIGTERM and SIGKILL.
        restart: it is started again when it ends; a required one that is not stops everything.
        stage: lower ones stop first, and have stopped before the next begin to; those of one stage stop at once.
    """

    name: str
    arguments: tuple[str, ...]
    required: bool
    stop_seconds: float
    restart: bool = False
    stage: int = 0


class Restarts:
    """When what has died is started again: soon at first, later and later while it goes on dying."""

    proof = 10.0
    first, longest, calm = 0.5, 10.0, 60.0  # less than the 20 s that publishers keep for who comes late

    def __init__(self) -> None:
        """Nothing has died."""
        self._waits: dict[str, float] = {}
        self._started: dict[str, float] = {}
        self._due: dict[str, tuple[float, Command]] = {}
        self._proven: set[str] = set()

    def started(self, name: str, now: float) -> None:
        """A process begins to run."""
        self._started[name] = now

    def died(self, command: Command, now: float) -> float:
        """Seconds until it is to be started again."""
        lived = now - self._started.get(command.name, now)
        wait = self._waits.get(command.name, 0.0)
        wait = self.first if lived >= self.calm or not wait else min(2 * wait, self.longest)
        self._waits[command.name] = wait
        self._due[command.name] = (now + wait, command)
        return wait

    def worked(self, name: str, now: float) -> bool:
        """Whether a process has ever lived for a while: then its configuration is not what ended it."""
        if now - self._started.get(name, now) >= self.proof:
            self._proven.add(name)
        return name in self._proven

    def due(self, now: float) -> list[Command]:
        """What is to be started now; each is named once."""
        out = [command for at, command in self._due.values() if now >= at]
        for command in out:
            del self._due[command.name]
        return out


class Runner:
    """Starts commands in the given order and stops them in the order of their stages."""

    def __init__(self, environment: Mapping[str, str], log_dir: Path, write: Callable[[str, str], None]) -> None:
        """Prepare.

        Args:
            environment: of all processes.
            log_dir: one `<name>.log` each; created if absent.
            write: called with name and line for every line of output, from several threads.
        """
        self._environment = dict(environment)
        self._log_dir = log_dir
        self._write = write
        self._running: list[tuple[Command, subprocess.Popen[str], threading.Thread]] = []
        log_dir.mkdir(parents=True, exist_ok=True)

    def start(self, command: Command) -> None:
        """Start one process; it gets SIGTERM should this one die.

        Raises:
            OSError: the program cannot be started.
        """
        process = subprocess.Popen(
            (*DIE_WITH_PARENT, *command.arguments),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        reader = threading.Thread(target=self._read, args=(command.name, process), daemon=True)
        reader.start()
        self._running.append((command, process, reader))

    def _read(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with (self._log_dir / f"{name}.log").open("a", buffering=1) as log:
            for line in process.stdout:
                with contextlib.suppress(OSError):  # a full disk must not stop the robot
                    log.write(line)
                self._write(name, line.rstrip("\n"))

    def ended(self) -> list[tuple[Command, int]]:
        """Processes that ended since the last call, with their exit codes."""
        out = []
        for entry in list(self._running):
            command, process, reader = entry
            code = process.poll()
            if code is not None:
                reader.join(1.0)
                self._running.remove(entry)
                out.append((command, code))
        return out

    def stop(self) -> list[str]:
        """Stop everything, stage after stage; returns the names of those that had to be killed."""
        killed = []
        for stage in sorted({command.stage for command, _, _ in self._running}):
            ending = [entry for entry in self._running if entry[0].stage == stage]
            for _, process, _ in ending:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            for command, process, reader in ending:
                try:
                    process.wait(max(0.0, began + command.stop_seconds - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    killed.append(command.name)
                reader.join(1.0)
        self._running.clear()
        return killed


def node_environment(run_dir: Path) -> dict[str, str]:
    """Environment of the nodes: readable log lines, logs under the run."""
    return {
        **os.environ,
        "RCUTILS_CONSOLE_OUTPUT_FORMAT": "{severity} {message}",
        "RCUTILS_LOGGING_BUFFERED_STREAM": "0",
        "PYTHONUNBUFFERED": "1",
        "ROS_LOG_DIR": str(run_dir / "log" / "ros"),
    }
