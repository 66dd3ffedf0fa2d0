"""What leaves a learner: weights that an executor flies."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np
from torch import Tensor

from rlt_ros.control.actor import SPEEDS, ActorSpec, Weights, pack_actor
from rlt_ros.control.critics import Layer
from rlt_ros.rl.dagger import Dagger
from rlt_ros.rl.learner import Learner
from rlt_ros.rl.method import Method
from rlt_ros.rl.networks import ActorNetwork
from rlt_ros.rl.sac import GaussianActor, Sac


def export_actor(learner: Method[Any], bundle_id: str, version: int) -> bytes:
    """Serialise for `rlt_ros.control.actor.unpack_actor`.

    Args:
        learner: whose actor it is; it must be `ready`.
        bundle_id: stamped on the weights.
        version: of the weights.
    """
    return pack_actor(*_flown(learner, bundle_id), version)


@singledispatch
def _flown(learner: Method[Any], bundle_id: str) -> tuple[ActorSpec, Weights]:
    """Of each kind of learner what an executor needs."""
    raise TypeError(f"{type(learner).__name__} of bundle {bundle_id} has nothing that an executor flies")


@_flown.register
def _rlt(learner: Learner, bundle_id: str) -> tuple[ActorSpec, Weights]:
    """RLT: the averaged actor, and the critics where they choose."""
    config, spec, actor, critics = learner.config, learner.replay.spec, learner.flown.network, learner.critics.network
    layers = [_layer(layer.weight.T, layer.bias) for layer in (*actor.hidden_layers, actor.head)]
    of_critics = [_layer(w, b.squeeze(1)) for w, b in zip(critics.weights, critics.biases, strict=True)]
    # What is not read was noise to the first layers.
    read, size = learner.view.read.cpu().numpy()[:, None], learner.view.state_size
    for first in (layers[0], of_critics[0]):
        first[0][..., :size, :] *= read
    told = ActorSpec(
        bundle_id,
        spec.token_dim,
        spec.joints,
        spec.chunk,
        noise=config.noise,
        speeds=SPEEDS if config.selection else (),
        selects=config.selection and learner.burnt_in,
        random_share=config.random_candidates,
        pass_through=config.pass_through,
        measured=spec.measured,
    )
    basis = learner.view.directions.basis.cpu().numpy()
    return told, Weights(basis, layers, of_critics if config.selection else [])


@_flown.register
def _clone(learner: Dagger, bundle_id: str) -> tuple[ActorSpec, Weights]:
    """DAgger: the actor, without noise."""
    spec, actor = learner.replay.spec, learner.actor.network
    told = ActorSpec(bundle_id, spec.token_dim, spec.joints, spec.chunk, pass_through=actor.pass_through)
    return told, _weights(learner, actor)


@_flown.register(Sac)
def _squashed(learner: Sac[Any], bundle_id: str) -> tuple[ActorSpec, Weights]:
    """Soft actor-critic: means and deviations."""
    spec, actor = learner.replay.spec, learner.actor.network
    told = ActorSpec(
        bundle_id, spec.token_dim, spec.joints, spec.chunk, pass_through=actor.residual, bound=learner.bound
    )
    return told, _weights(learner, actor)


def _weights(learner: Method[Any], actor: ActorNetwork | GaussianActor) -> Weights:
    """An actor without critics; what is not read was noise to the first layer."""
    layers = [_layer(layer.weight.T, layer.bias) for layer in (*actor.hidden_layers, actor.head)]
    layers[0][0][: learner.view.state_size] *= learner.view.read.cpu().numpy()[:, None]
    return Weights(learner.view.directions.basis.cpu().numpy(), layers)


def _layer(weight: Tensor, bias: Tensor) -> Layer:
    """Copies: what is exported stays as it was."""
    return np.array(weight.detach().cpu(), order="C"), np.array(bias.detach().cpu())
