"""`rlt bench learner`: updates a second against a plain eager implementation, in the same run, on one thread."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import torch
from eager import EagerLearner

from rlt_ros.rl.config import LearnerConfig
from rlt_ros.rl.learner import Learner
from rlt_ros.rl.replay import Replay, ReplaySpec
from rlt_ros.rl.samples import Segment, StateRecord
from rlt_ros.sim.names import JOINT_NAMES


def filled_replay(spec: ReplaySpec, states: int) -> Replay:
    """Random episodes of 100 states."""
    rng = np.random.default_rng(0)
    replay = Replay(spec)
    for index in range(states):
        if index % 100 == 0:
            replay.begin_episode()
        last = index % 100 == 99
        replay.add(
            Segment(
                StateRecord(
                    True,
                    rng.standard_normal(spec.token_dim, dtype=np.float32),
                    rng.standard_normal(2 * spec.joints, dtype=np.float32),
                    rng.standard_normal((spec.chunk, spec.joints), dtype=np.float32),
                ),
                rng.standard_normal((spec.stride, spec.joints), dtype=np.float32),
                np.full(spec.stride, 2, np.uint8),
                np.full(spec.stride, float(last), np.float32),
                spec.stride if last else spec.chunk,
                last,
            )
        )
    return replay


def measure(update: Callable[[], None], seconds: float) -> float:
    """Updates a second over `seconds`."""
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        update()
        count += 1
    return count / (time.perf_counter() - start)


def main() -> None:
    """Measure both in turns and print one JSON object."""
    parser = argparse.ArgumentParser(prog="rlt bench learner", description=__doc__)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--hidden", type=int, nargs="+", default=[256, 256])
    parser.add_argument("--critics", type=int, default=2)
    parser.add_argument("--selection", action="store_true", help="targets select among candidates")
    parser.add_argument("--token", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each; the median counts")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a turn")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    spec = ReplaySpec(20_000, arguments.token, len(JOINT_NAMES))
    config = LearnerConfig(
        hidden=tuple(arguments.hidden),
        critics=arguments.critics,
        batch=arguments.batch,
        burn_in_updates=0,
        selection=arguments.selection,
    )
    replay = filled_replay(spec, 5000)
    learner = Learner(config, replay)
    learner.update()
    eager, rng = EagerLearner(config, spec, learner.view.directions.basis), np.random.default_rng(0)
    ours: list[float] = []
    reference: list[float] = []
    measure(learner.update, 1.0)
    measure(lambda: eager.update(replay.sample(arguments.batch, rng)), 1.0)
    for _ in range(arguments.rounds):
        ours.append(measure(learner.update, arguments.seconds))
        reference.append(measure(lambda: eager.update(replay.sample(arguments.batch, rng)), arguments.seconds))
    report = {
        "ratio": round(float(np.median(np.array(ours) / np.array(reference))), 3),
        "updates_per_s": round(float(np.median(ours)), 1),
        "reference_updates_per_s": round(float(np.median(reference)), 1),
        **{name: getattr(arguments, name) for name in ("batch", "hidden", "critics", "selection", "token")},
        "threads": 1,
        "bytes_per_sample": round(replay.bytes_per_sample),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
