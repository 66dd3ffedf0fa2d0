"""The packed, fused update is the plain one: after some updates both hold the same weights."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rlt_ros.rl.config import LearnerConfig
from rlt_ros.rl.learner import Learner
from rlt_ros.rl.replay import ReplaySpec

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
from eager import EagerLearner
from learner import filled_replay


@pytest.mark.parametrize("critics", [1, 2])
def test_the_update_equals_the_plain_one(critics: int) -> None:
    torch.set_num_threads(1)
    spec = ReplaySpec(1000, token_dim=8, joints=3)
    config = LearnerConfig(
        hidden=(16, 12),
        critics=critics,
        batch=32,
        burn_in_updates=0,
        reference_dropout=0.0,
        q_weight=0.3,
        q_weight_final=0.3,
        warmup_samples=1,
        actor_rate=1e-3,
        critic_rate=1e-3,
    )
    replay = filled_replay(spec, 400)
    fast, plain = Learner(config, replay, "b"), EagerLearner(config, spec)
    with torch.no_grad():
        layers = [*fast.actor.hidden_layers, fast.actor.last_layer]
        for mine, theirs in zip(layers, [m for m in plain.actor.net if hasattr(m, "weight")], strict=True):
            theirs.load_state_dict(mine.state_dict())
        for k, (critic, target) in enumerate(zip(plain.critics, plain.targets, strict=True)):
            for net in (critic, target):
                linear = [m for m in net.net if isinstance(m, torch.nn.Linear)]
                for index, layer in enumerate(linear):
                    layer.weight.copy_(fast.critics.weights[index][k].T)
                    layer.bias.copy_(fast.critics.biases[index][k, 0])
    rng = np.random.default_rng(config.seed)
    for _ in range(6):
        plain.update(replay.sample(config.batch, rng))
        if plain.updates % config.actor_every == 0:
            rng.random(config.batch)  # the fast one draws its dropout here
        fast.update()
    mine = fast.actor.last_layer.weight
    theirs = plain.actor.net[-1].weight
    assert torch.allclose(mine, theirs, atol=2e-5)
    for k, critic in enumerate(plain.critics):
        linear = [m for m in critic.net if isinstance(m, torch.nn.Linear)]
        for index, layer in enumerate(linear):
            assert torch.allclose(fast.critics.weights[index][k].T, layer.weight, atol=2e-5)
            assert torch.allclose(fast.targets.weights[index][k].T, _linear(plain.targets[k], index).weight, atol=2e-5)
    assert dataclasses.asdict(fast.report)["critic_loss"] > 0


def _linear(net: torch.nn.Module, index: int) -> torch.nn.Linear:
    return [m for m in net.modules() if isinstance(m, torch.nn.Linear)][index]
