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


def twins(precision: str = "float32", **changes: object) -> tuple[Learner, EagerLearner]:
    """A fast and a plain learner of the shipped path with the same weights; smaller, and quicker through its phases."""
    torch.set_num_threads(1)
    spec = ReplaySpec(1000, token_dim=8, joints=3)
    small = {"hidden": (16, 12), "batch": 32, "burn_in_updates": 4, "directions": 10, "warmup_samples": 1}
    rates = {"actor_rate": 1e-3, "critic_rate": 1e-3, "precision": precision}
    config = LearnerConfig(**{**small, **rates, **changes})  # type: ignore[arg-type]
    moment = np.diag(np.linspace(4.0, 0.1, 30)).astype(np.float32)
    fast = Learner(config, filled_replay(spec, 400), moment)
    plain = EagerLearner(config, spec, fast.view.directions.basis)
    with torch.no_grad():
        network, critics = fast.actor.network, fast.critics.network
        for net in (plain.actor, plain.flown):
            layers = [*network.hidden_layers, network.shown_head, network.hidden_head]
            for mine, theirs in zip(layers, linear(net), strict=True):
                theirs.load_state_dict(mine.state_dict())
        for k, pair in enumerate(zip(plain.critics, plain.targets, strict=True)):
            for net in pair:
                for index, layer in enumerate(linear(net)):
                    layer.weight.copy_(critics.weights[index][k].T)
                    layer.bias.copy_(critics.biases[index][k, 0])
    return fast, plain


def linear(net: torch.nn.Module) -> list[torch.nn.Linear]:
    return [m for m in net.modules() if isinstance(m, torch.nn.Linear)]


def run(fast: Learner, plain: EagerLearner, updates: int) -> None:
    """The same updates on the same batches."""
    config = fast.config
    for _ in range(updates):
        plain.update(fast.replay.sample(config.batch, plain.rng, config.human_mix))
        fast.update()


def weights(learner: Learner | EagerLearner) -> dict[str, torch.Tensor]:
    """All weights by name, each as one vector."""
    if isinstance(learner, Learner):
        nets = {"actor": learner.actor.network, "flown": learner.flown.network}
        actors = {
            name: [layer.weight for layer in (*net.hidden_layers, net.shown_head, net.hidden_head)]
            for name, net in nets.items()
        }
        ensembles = {"critics": learner.critics.network, "targets": learner.targets.network}
        lists = {name: [w.transpose(1, 2) for w in net.weights] for name, net in ensembles.items()}
    else:
        actors = {name: [layer.weight for layer in linear(getattr(learner, name))] for name in ("actor", "flown")}
        lists = {
            name: [
                torch.stack(layers)
                for layers in zip(*([m.weight for m in linear(n)] for n in getattr(learner, name)), strict=True)
            ]
            for name in ("critics", "targets")
        }
    return {name: torch.cat([w.detach().flatten() for w in tensors]) for name, tensors in {**actors, **lists}.items()}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"critics": 1},
        {"critics": 2, "selection": False, "q_weight": (0.3,)},
        {"burn_in_updates": 0, "proprio": "all"},
    ],
    ids=["as it is shipped", "one critic", "two critics without selection", "without burn-in"],
)
def test_the_update_equals_the_plain_one(changes: dict[str, object]) -> None:
    fast, plain = twins(**changes)
    run(fast, plain, 20)
    theirs = weights(plain)
    for name, mine in weights(fast).items():
        assert torch.allclose(mine, theirs[name], atol=2e-5), name


def test_in_bfloat16_it_goes_the_same_way() -> None:
    """What 40 updates change: within a tenth in length and 15 degrees in direction of the plain update's."""
    fast, plain = twins("bfloat16", selection=False, critics=2, state_noise=0.0)
    start = weights(plain)
    run(fast, plain, 40)
    theirs = weights(plain)
    for name, mine in weights(fast).items():
        moved, wanted = mine - start[name], theirs[name] - start[name]
        assert torch.nn.functional.cosine_similarity(moved, wanted, dim=0) > 0.966, name
        assert moved.norm() == pytest.approx(float(wanted.norm()), rel=0.1), name
