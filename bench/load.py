"""A learner at work until it is killed: `load.py`. Paper sizes, one thread."""

import torch
from learner import filled_replay

from rlt_ros.rl.config import LearnerConfig
from rlt_ros.rl.learner import Learner
from rlt_ros.rl.replay import ReplaySpec
from rlt_ros.sim.names import JOINT_NAMES

PAPER_SIZES = LearnerConfig(hidden=(256, 256), critics=2, batch=256)

if __name__ == "__main__":
    torch.set_num_threads(1)
    learner = Learner(PAPER_SIZES, filled_replay(ReplaySpec(4000, 128, len(JOINT_NAMES)), 4000))
    print("working", flush=True)
    while True:
        learner.update()
