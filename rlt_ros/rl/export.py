"""What leaves the learner: weights that an executor flies."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from rlt_ros.control.actor import SPEEDS, ActorSpec, Weights, pack_actor
from rlt_ros.control.critics import Layer
from rlt_ros.rl.learner import Learner


def export_actor(learner: Learner, bundle_id: str, version: int) -> bytes:
    """Serialise for `rlt_ros.control.actor.unpack_actor`: the averaged actor, and the critics where they choose.

    Args:
        learner: whose actor it is; it must be `ready`.
        bundle_id: stamped on the weights.
        version: of the weights.
    """
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
    return pack_actor(told, Weights(basis, layers, of_critics if config.selection else []), version)


def _layer(weight: Tensor, bias: Tensor) -> Layer:
    """Copies: what is exported stays as it was."""
    return np.array(weight.detach().cpu(), order="C"), np.array(bias.detach().cpu())
