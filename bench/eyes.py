"""`rlt bench eyes`: how well the RL token tells where the plug is, by task, on new demonstrations of the cell.

Of the demonstrations two thirds are what a ridge regression and a small perceptron learn from; the lateral offset of
plug and socket in the others is what they must read. The errors are the length of (y, z), root mean square, for
distances of tip and mouth below 70 mm, and below 20 mm; `spread` is that of guessing the mean. `readout_mm_by_axis` are
the errors in y and in z by themselves.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from rlt_ros.bringup.graph import Bringup
from rlt_ros.sim.demonstrate import Order, collect_parallel, demonstration_seed
from rlt_ros.vla.bundle import load_bundle
from rlt_ros.vla.demos import prepare
from rlt_ros.vla.loaded import LoadedVla
from rlt_ros.vla.probe import NEAR, mlp_readout, ridge_readout, rms

_AT_THE_MOUTH = 0.020


def main() -> None:
    """Demonstrate, look, read, print one JSON object."""
    parser = argparse.ArgumentParser(prog="rlt bench eyes", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=None)
    parser.add_argument("--demonstrations", type=int, default=90, help="a task")
    parser.add_argument("--stride", type=int, default=12, help="ticks between two pictures")
    parser.add_argument("--randomisation", type=float, default=0.0, help="of the looks, 0 to 1")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle or Bringup().bundle_path)
    vla = LoadedVla(bundle)
    count, looks = arguments.demonstrations, arguments.randomisation
    orders = [
        Order(
            task,
            "controlled",
            count,
            arguments.stride,
            demonstration_seed(arguments.seed + 24, task, "controlled"),
            looks,
        )
        for task in bundle.tasks
    ]
    demos = prepare(collect_parallel(orders), bundle.horizon)
    tokens, seconds = [], []
    for images, position, told in zip(demos.images, demos.position, demos.instruction, strict=True):
        vla.set_instruction(list(demos.tasks.values())[told])
        started = time.perf_counter()
        tokens.append(vla.infer(images, position).token)
        seconds.append(time.perf_counter() - started)
    near = np.isfinite(demos.grounding).all(1) & (np.abs(demos.grounding[:, 0]) < NEAR)
    episodes = np.random.default_rng(arguments.seed).permutation(np.unique(demos.episode))
    test = np.isin(demos.episode, episodes[: len(episodes) // 3]) & near
    fit = near & ~test
    print(f"{fit.sum()} observations to fit, {test.sum()} to read", file=sys.stderr)
    features, offset = np.array(tokens, np.float64), 1e3 * demos.grounding[:, 1:3].astype(np.float64)
    said = {
        "token": ridge_readout(features[fit], features[test], offset[fit]),
        "mlp": mlp_readout(features[fit], features[test], offset[fit]),
        "spread": np.broadcast_to(offset[fit].mean(0), offset[test].shape),
    }
    groups = {"all": np.ones(test.sum(), np.bool_)}
    groups |= {task: demos.instruction[test] == number for number, task in enumerate(demos.tasks)}
    at_the_mouth = np.abs(demos.grounding[test, 0]) < _AT_THE_MOUTH
    report = {
        "demonstrations": len(episodes),
        "randomisation": looks,
        "readout_mm": {
            name: {kind: round(rms((offset[test] - read)[group]), 3) for kind, read in said.items()}
            for name, group in groups.items()
        },
        "readout_mm_by_axis": {
            kind: [round(float(axis), 3) for axis in np.sqrt(((offset[test] - read) ** 2).mean(0))]
            for kind, read in said.items()
        },
        "readout_mm_at_the_mouth": {
            kind: round(rms((offset[test] - read)[at_the_mouth]), 3) for kind, read in said.items()
        },
        "pass_ms": round(1000 * float(np.median(seconds)), 2),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
