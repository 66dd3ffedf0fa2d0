"""What poses of the arms' tips cost: proprioception of a tick, and a chunk of steps turned into joint targets.

The reference in the same run is the sticks' inverse kinematics (a quadratic program a row, by mink). Best of many runs:
what else the machine does is not meant.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import mujoco
import numpy as np

from rlt_ros.bringup.graph import CELL
from rlt_ros.robot.derive import teleop
from rlt_ros.robot.description import read_robot
from rlt_ros.sim.model import build_spec
from rlt_ros.sim.tasks import TASKS
from rlt_ros.teleop.kinematics import Arms, moved
from rlt_ros.teleop.tips import load_tips, skeleton

RUNS = 300


def best(call: Callable[[], object], runs: int = RUNS) -> float:
    """Shortest time of a call, s."""
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="rlt bench kinematics", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/skeleton.xml"), help="where the skeleton is put")
    arguments = parser.parse_args()
    given, spec = teleop(read_robot(CELL)), build_spec(next(iter(TASKS.values())))
    frames, joints = tuple(given["frames"]), tuple(given["model_joints"])
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(skeleton(spec.copy()))
    tips = load_tips(arguments.out, frames, joints)
    arms = Arms(mujoco.MjModel.from_xml_path(str(arguments.out)), frames, joints)
    position = np.full(len(joints), 0.2)
    steps = np.tile(np.random.default_rng(0).normal(0, 1e-3, tips.action_size), (50, 1))

    def row() -> None:
        poses = [moved(pose, steps[0, :3], steps[0, 3:6]) for pose in arms.poses(position)]
        arms.towards(position, poses)

    figures = {
        "joints": len(joints),
        "pose_us": round(1e6 * best(lambda: tips.numbers(position)), 1),
        "pose_and_rates_us": round(1e6 * best(lambda: (tips.numbers(position), tips.rates(position, position))), 1),
        "rows_10_ms": round(1e3 * best(lambda: tips.rows(position, steps[:10])), 3),
        "rows_50_ms": round(1e3 * best(lambda: tips.rows(position, steps)), 3),
        "sticks_row_ms": round(1e3 * best(row), 3),
    }
    figures["ratio"] = round(10 * figures["sticks_row_ms"] / figures["rows_10_ms"], 1)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
