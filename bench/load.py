"""A learner at work until it is killed: `load.py`. Paper sizes, one thread."""

import torch
from learner import filled_replay

from rlt_ros.rl.config import LearnerConfig
from rlt_ros.rl.learner import Learner
from rlt_ros.rl.replay import ReplaySpec

if __name__ == "__main__":
    torch.set_num_threads(1)
    learner = Learner(LearnerConfig(batch=256), filled_replay(ReplaySpec(4000, 128, 14), 4000), "bench")
    print("working", flush=True)
    while True:
        learner.update()
