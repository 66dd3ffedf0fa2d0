"""The packed, fused update is the plain one: after some updates both hold the same weights."""

from __future__ import annotations

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


def twins(critics: int, precision: str) -> tuple[Learner, EagerLearner]:
    """A fast and a plain learner with the same weights."""
    torch.set_num_threads(1)
    spec = ReplaySpec(1000, token_dim=8, joints=3)
    config = LearnerConfig(
        hidden=(16, 12),
        critics=critics,
        batch=32,
        burn_in_updates=0,
        return_share=0.0,
        reference_dropout=0.0,
        q_weight=0.3,
        q_weight_final=0.3,
        warmup_samples=1,
        actor_rate=1e-3,
        critic_rate=1e-3,
        precision=precision,
    )
    fast, plain = Learner(config, filled_replay(spec, 400), "b"), EagerLearner(config, spec)
    with torch.no_grad():
        layers = [*fast.actor.hidden_layers, fast.actor.last_layer]
        for mine, theirs in zip(layers, linear(plain.actor), strict=True):
            theirs.load_state_dict(mine.state_dict())
        for k, pair in enumerate(zip(plain.critics, plain.targets, strict=True)):
            for net in pair:
                for index, layer in enumerate(linear(net)):
                    layer.weight.copy_(fast.critics.weights[index][k].T)
                    layer.bias.copy_(fast.critics.biases[index][k, 0])
    return fast, plain


def linear(net: torch.nn.Module) -> list[torch.nn.Linear]:
    return [m for m in net.modules() if isinstance(m, torch.nn.Linear)]


def run(fast: Learner, plain: EagerLearner, updates: int) -> None:
    """The same updates on the same batches."""
    config, rng = fast.config, np.random.default_rng(fast.config.seed)
    for _ in range(updates):
        plain.update(fast.replay.sample(config.batch, rng))
        if plain.updates % config.actor_every == 0:
            rng.random(config.batch)  # the fast one draws its dropout here
        fast.update()


def weights(learner: Learner | EagerLearner) -> dict[str, torch.Tensor]:
    """All weights by name, each as one vector."""
    if isinstance(learner, Learner):
        actor = [layer.weight for layer in (*learner.actor.hidden_layers, learner.actor.last_layer)]
        nets = {"critics": learner.critics, "targets": learner.targets}
        lists = {name: [w.transpose(1, 2) for w in net.weights] for name, net in nets.items()}
    else:
        actor = [layer.weight for layer in linear(learner.actor)]
        nets = {"critics": learner.critics, "targets": learner.targets}
        lists = {
            name: [torch.stack(layers) for layers in zip(*([m.weight for m in linear(n)] for n in net), strict=True)]
            for name, net in nets.items()
        }
    return {
        name: torch.cat([w.detach().flatten() for w in tensors]) for name, tensors in {"actor": actor, **lists}.items()
    }


@pytest.mark.parametrize("critics", [1, 2])
def test_the_update_equals_the_plain_one(critics: int) -> None:
    fast, plain = twins(critics, "float32")
    run(fast, plain, 20)
    theirs = weights(plain)
    for name, mine in weights(fast).items():
        assert torch.allclose(mine, theirs[name], atol=2e-5), name


def test_in_bfloat16_it_goes_the_same_way() -> None:
    """What 40 updates change: within a tenth in length and 15 degrees in direction of the plain update's."""
    fast, plain = twins(2, "bfloat16")
    start = weights(plain)
    run(fast, plain, 40)
    theirs = weights(plain)
    for name, mine in weights(fast).items():
        moved, wanted = mine - start[name], theirs[name] - start[name]
        assert torch.nn.functional.cosine_similarity(moved, wanted, dim=0) > 0.966, name
        assert moved.norm() == pytest.approx(float(wanted.norm()), rel=0.1), name
