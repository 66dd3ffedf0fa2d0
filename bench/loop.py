"""`rlt bench loop`: how well the executor keeps 50 Hz, alone and beside learners that saturate every core.

Three loops run side by side: executor_node with real-time priority (`loop`), executor_node without (`plain`), and a
plain rclpy timer (`timer`), which is the reference.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as every node does
import argparse
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from running import JOINTS, PERIOD, RestOfTheRobot, node, own_domain, paper_sized_actor, process, sized_actor

from rlt_ros import msg
from rlt_ros.bringup.graph import Bringup
from rlt_ros.control.actor import Actor
from rlt_ros.control.realtime import raise_priority
from rlt_ros.rl.config import LearnerConfig
from rlt_ros.ros.fields import from_stamp
from rlt_ros.ros.qos import RECORD_QOS
from rlt_ros.vla.bundle import load_bundle


def figures(times: list[float], prefix: str) -> dict[str, float]:
    """Of the ticks' times: how far their distances are from the period, and how many ticks were left out."""
    gaps = np.diff(times)
    error = np.abs(gaps - PERIOD) * 1e3
    return {
        f"{prefix}_p50_ms": round(float(np.percentile(error, 50)), 3),
        f"{prefix}_p99_ms": round(float(np.percentile(error, 99)), 3),
        f"{prefix}_max_ms": round(float(error.max()), 3),
        f"{'missed_ticks' if prefix == 'loop' else prefix + '_missed_ticks'}": int(
            np.maximum(np.round(gaps / PERIOD) - 1, 0).sum()
        ),
    }


def decision_ms(token_dim: int, hidden: tuple[int, ...], critics: int, passes: int = 500) -> dict[str, float]:
    """Median and 99th percentile of what is decided at a chunk's beginning, with the executor's priority."""
    raise_priority(50)
    rng, rows = np.random.default_rng(0), 10
    actor = Actor(*sized_actor("bench", token_dim, JOINTS, hidden, critics), 1)
    token, proprio, reference = (rng.normal(size=n).astype(np.float32) for n in (token_dim, 2 * JOINTS, rows * JOINTS))
    times = []
    for _ in range(passes):
        began = time.perf_counter()
        actor.choose(token, proprio, reference.reshape(rows, JOINTS))
        times.append(time.perf_counter() - began)
    return {f"p{level}_ms": round(float(np.percentile(times, level)) * 1e3, 3) for level in (50, 99)}


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(prog="rlt bench loop", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="time under load; a quarter of it alone before")
    arguments = parser.parse_args()
    own_domain()
    bundle = load_bundle(Bringup().bundle_path)
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        logs = Path(directory)
        actor = logs / "actor.safetensors"
        paper_sized_actor(bundle, actor)
        common = {"bundle": bundle.directory, "actor": actor}
        robot = RestOfTheRobot(bundle, ["/loop", "/plain"])
        stack.callback(robot.close)
        steps: dict[str, list[msg.ControlStep]] = {"loop": [], "plain": []}
        for name, seen in steps.items():
            robot.node.create_subscription(msg.ControlStep, f"/{name}/step", seen.append, RECORD_QOS)
        robot.start()
        for name, priority in (("loop", 50), ("plain", 0)):
            stack.enter_context(
                node("executor_node", {**common, "priority": priority}, logs / name, namespace=f"/{name}")
            )
        stack.enter_context(process([sys.executable, str(Path(__file__).with_name("timer.py"))], logs / "timer"))
        acting = msg.ControlStep.STATE_ACTOR
        robot.wait(lambda: all(s and s[-1].state == acting for s in steps.values()), 30, "flying executors")
        marks = [time.monotonic()]
        time.sleep(arguments.seconds / 4)
        marks.append(time.monotonic())
        for core in range(os.cpu_count() or 1):
            load = [sys.executable, str(Path(__file__).with_name("load.py"))]
            stack.enter_context(process(load, logs / f"load{core}"))
        loads = [logs / f"load{core}" for core in range(os.cpu_count() or 1)]
        robot.wait(lambda: all("working" in path.read_text() for path in loads), 60, "learners at work")
        marks.append(time.monotonic())
        time.sleep(arguments.seconds)
        marks.append(time.monotonic())
        granted = "no real-time priority" not in (logs / "loop").read_text()
        shift = time.time() - time.monotonic()
        stack.close()
        times = {name: [from_stamp(step.header.stamp) - shift for step in seen] for name, seen in steps.items()}
        times["timer"] = [float(line) for line in (logs / "timer").read_text().split() if line.count(".") == 1]
        report: dict[str, object] = {"seconds": arguments.seconds, "cores": os.cpu_count(), "sched_fifo": granted}
        for name, all_times in times.items():
            report |= figures([t for t in all_times if marks[2] <= t < marks[3]], name)
            report[f"alone_{name}_p99_ms"] = figures([t for t in all_times if marks[0] <= t < marks[1]], "x")[
                "x_p99_ms"
            ]
    report["actor_2048_p99_ms"] = decision_ms(2048, (256, 256), critics=0)["p99_ms"]
    selection = decision_ms(2048, LearnerConfig.hidden, LearnerConfig.critics)
    report |= {f"selection_2048_{name}": value for name, value in selection.items()}
    report["ratio"] = round(report["timer_p99_ms"] / max(report["loop_p99_ms"], 1e-3), 1)  # type: ignore[operator]
    print(json.dumps(report))


if __name__ == "__main__":
    main()
