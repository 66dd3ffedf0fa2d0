"""`rlt up` and `rlt demo`: start the graph, watch it, stop it in order, sum it up."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.text import Text

from rlt_ros import endings
from rlt_ros.bringup.doctor import check_rendering
from rlt_ros.bringup.graph import Bringup, NodeSpec, check_domain
from rlt_ros.bringup.runner import MISCONFIGURED, Command, Restarts, Runner, node_environment
from rlt_ros.bringup.runs import new_run_dir, write_record, write_summary
from rlt_ros.config import ConfigError
from rlt_ros.control.realtime import wait_until
from rlt_ros.share import PACKAGE
from rlt_ros.vla.bundle import load_bundle

_COLOURS = ("cyan", "green", "magenta", "yellow", "blue")
_STATUS_EVERY = 10.0
_FIRST_EPISODE_WITHIN = 120.0
_WITHOUT = {True: "holds", False: "goes on without it"}


class Output:
    """Prefixed lines of many processes on one terminal."""

    def __init__(self, console: Console, names: list[str]) -> None:
        """Colour each of `names`."""
        self._console = console
        self._width = max(map(len, names))
        self._colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(names)}
        self._lock = threading.Lock()

    def line(self, name: str, text: str) -> None:
        """One line of a process."""
        out = Text(f"{name:<{self._width}} ", style=self._colours.get(name, "bold"))
        out.append("| ", style="dim")
        out.append(
            text.removeprefix("INFO "), style="red" if text.startswith(("ERROR", "FATAL", "error")) else "default"
        )
        with self._lock, suppress(OSError):  # the terminal may be closed; the robot goes on, and stops in order
            self._console.print(out, soft_wrap=True)

    def say(self, text: str) -> None:
        """One line of ours."""
        self.line("rlt", text)


def run_graph(bringup: Bringup, *, duration: float, argv: list[str], runs: Path) -> tuple[dict[str, Any], int]:
    """Run the graph until the time is over, Ctrl-C, or a required node's death.

    Args:
        bringup: what to start; a run directory is made for it unless it has one.
        duration: seconds from the first episode; 0: no end.
        argv: the command line, for the record.
        runs: where the directory is made, once nothing is wrong any more.

    Returns:
        The run's summary and the exit code.

    Raises:
        ConfigError: nothing was started: something is wrong with configuration, bundle or ROS domain.
    """
    specs = bringup.nodes()
    load_bundle(bringup.bundle_path)
    check_domain(os.environ)
    if bringup.target == "sim":
        _require_rendering()
    import rclpy  # slow, and only needed once everything else is in order
    from rclpy.signals import SignalHandlerOptions

    from rlt_ros.bringup.monitor import Monitor

    endings.listen()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    monitor = Monitor(bringup.namespace)
    try:
        _refuse_busy_domain(monitor, bringup, specs)
        if bringup.target != "learner":
            bringup.check_robot()
        run_dir = bringup.run_dir or new_run_dir(runs, f"{bringup.target}-{bringup.task_name}")
    except BaseException:
        monitor.close()
        rclpy.try_shutdown()
        raise
    bringup = dataclasses.replace(bringup, run_dir=run_dir)
    specs = bringup.nodes()
    output = Output(Console(stderr=True, highlight=False), ["rlt", *(spec.name for spec in specs)])
    runner = Runner(node_environment(run_dir), run_dir / "log", output.line)
    restarts = Restarts()
    code = 0
    try:
        write_record(bringup, specs, argv)
        output.say(f"run {run_dir}")
        if bringup.target != "learner" and not bringup.has_vla:
            output.say("the bundle has no VLA: a human flies, and nothing is learnt")
        for spec in reversed(specs):
            runner.start(_command(spec, bringup))
            restarts.started(spec.name, time.monotonic())
        flies = bringup.target != "learner"
        code = _watch(runner, restarts, monitor, output, duration, flies=flies)
        if code:
            output.say(f"go on with: rlt up {bringup.target} --resume {run_dir}")
    finally:
        try:
            summary = monitor.summary()
        finally:
            killed = runner.stop()
        for name in killed:
            output.say(f"ERROR {name} did not stop in time and was killed")
        monitor.close()
        rclpy.try_shutdown()
    summary["run_dir"] = str(run_dir)
    return summary, code


def _require_rendering() -> None:
    """The cell's cameras need OpenGL; its absence is clearer here than as a crash of sim_node."""
    check = check_rendering()
    if not check.ok:
        raise ConfigError(f"the cell cannot render its cameras ({check.detail}): {check.remedy}")


def _watch(
    runner: Runner,
    restarts: Restarts,
    monitor: Any,
    output: Output,
    duration: float,
    *,
    flies: bool,
) -> int:
    """Until the end; the exit code. Where something `flies`, the time counts from the first episode."""
    started = time.monotonic()
    next_status = started + _STATUS_EVERY
    deadline = None if flies else started + (duration or float("inf"))
    while not endings.asked():
        monitor.spin(0.2)
        now = time.monotonic()
        for command, code in runner.ended():
            worked = restarts.worked(command.name, now)
            again = command.restart and (code != MISCONFIGURED or worked)
            told = f"ERROR {command.name} ended with code {code}"
            if again:
                wait = restarts.died(command, now)
                output.say(f"{told}; the robot {_WITHOUT[command.required]}, it starts again in {wait:.1f} s")
            elif command.required:
                output.say(f"{told}: stopping")
                return 1
            else:
                output.say(f"{told}; the robot goes on without it")
        for command in restarts.due(now):
            runner.start(command)
            restarts.started(command.name, now)
        if deadline is None and monitor.session is not None and monitor.session.episode > 0:
            output.say(f"first episode after {now - started:.1f} s")
            deadline = now + duration if duration > 0 else float("inf")
        if deadline is not None and now >= deadline:
            return 0
        if deadline is None and duration > 0 and now - started > _FIRST_EPISODE_WITHIN + duration:
            output.say("ERROR no episode has begun; see the log files of the run")
            return 1
        if now >= next_status:
            next_status = now + _STATUS_EVERY
            output.say(_status(monitor.summary()))
    output.say("stopping")
    return 0


def _status(summary: dict[str, Any]) -> str:
    def milliseconds(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f} ms"

    return (
        f"{summary['episodes']} episodes, {summary['successes']} successes, "
        f"{summary['throughput_per_10min']:.0f} per 10 min | {summary['transitions']} samples, "
        f"{summary['updates']} updates, weights v{summary['policy_version']} | loop p99 "
        f"{milliseconds(summary['loop_p99_ms'])}, missed {summary['missed_ticks'] or 0}"
    )


def _refuse_busy_domain(monitor: Any, bringup: Bringup, specs: list[NodeSpec]) -> None:
    """Two graphs, under one name or on one robot's topics, would both command the robot."""
    ours = {f"{bringup.namespace.rstrip('/')}/{spec.name}" for spec in specs}
    topics = bringup.command_topics()
    monitor.spin(0.3)
    busy: set[str] = set()
    others: dict[str, str] = {}

    def found() -> bool:
        busy.update(ours & monitor.node_names())
        others.update({topic: name for topic in topics for name in monitor.publishers(topic)})
        return bool(busy or others)

    # Finding a node takes three seconds now and then; on a real robot they are worth waiting for.
    wait_until(found, 3.5 if topics else 1.0)
    if "somebody" in others.values():
        wait_until(lambda: found() and "somebody" not in others.values(), 4.0)
    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    if busy:
        raise ConfigError(
            f"{', '.join(sorted(busy))} already run on ROS domain {domain}: stop them, "
            "or choose another domain (export ROS_DOMAIN_ID=1) or --namespace"
        )
    for topic, name in others.items():
        raise ConfigError(
            f"{name} publishes on {topic} already, on ROS domain {domain}: two would command one robot. Stop it, or "
            "give each robot a domain (export ROS_DOMAIN_ID=1) or command topics of its own"
        )


def _command(spec: NodeSpec, bringup: Bringup) -> Command:
    from ament_index_python.packages import get_package_prefix

    program = Path(get_package_prefix(PACKAGE), "lib", PACKAGE, spec.name)
    arguments = [str(program), "--ros-args", "-r", f"__ns:={bringup.namespace}"]
    arguments += ["--params-file", str(bringup.config_path)]
    for name, value in spec.parameters.items():
        arguments += ["-p", f"{name}:={_ros_value(value)}"]
    for ours, theirs in spec.remappings.items():
        arguments += ["-r", f"{ours}:={theirs}"]
    return Command(spec.name, tuple(arguments), spec.required, spec.stop_seconds, spec.restart, spec.stage)


def _ros_value(value: Any) -> str:
    """A value for `-p name:=value`, which ROS parses as YAML."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).splitlines()[0]


def tell_summary(summary: dict[str, Any], as_json: bool) -> int:
    """Print the figures of a run, then write them; the exit code. Neither the terminal nor the disk must be there."""
    endings.deaf()
    try:
        print_summary(summary, as_json)
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in its buffer has nowhere to go
    try:
        write_summary(Path(summary["run_dir"]), summary)
    except OSError as error:
        with suppress(OSError):
            print(f"error: the summary could not be written: {error}; free some space", file=sys.stderr, flush=True)
        return 1
    return 0


def print_summary(summary: dict[str, Any], as_json: bool) -> None:
    """The figures of a run: a table for people, or one JSON object as the last line."""
    if as_json:
        print(json.dumps(summary), flush=True)
        return
    width = max(map(len, summary))
    for name, value in summary.items():
        if isinstance(value, dict):
            typical = "-" if value["median_s"] is None else f"{value['median_s']:.1f} s"
            value = (
                f"{value['successes']} of {value['episodes']} episodes, median {typical}, "
                f"{value['throughput_per_10min']:.0f} per 10 min"
            )
        print(f"{name:<{width}}  {'-' if value is None else value}", file=sys.stdout)
