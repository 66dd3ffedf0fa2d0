"""Networks of the RL Token method: an actor that outputs chunks, an ensemble of critics (section 3.2)."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rlt_ros.control.actor import ActorSpec, pack_actor
from rlt_ros.rl.directions import Directions


class ActorNetwork(nn.Module):
    """`mu(x, ref)`: reads token, proprioception and reference, gives the chunk.

    The output is the *masked* reference plus what the perceptron adds: with the reference present the untrained
    actor equals the VLA, with the reference dropped the perceptron must produce the chunk by itself.
    """

    def __init__(
        self, state_size: int, action_size: int, hidden: tuple[int, ...], *, pass_through: bool = True
    ) -> None:
        """Perceptron with `hidden` layers; the last layer starts small.

        Args:
            state_size: numbers of a state x = (token, proprioception), D + 2 J.
            action_size: numbers of a chunk: C J, or its coordinates along K directions.
            hidden: sizes of the hidden layers.
            pass_through: without it the reference is hidden always, at training and in flight.
        """
        super().__init__()
        self.state_size, self.pass_through = state_size, pass_through
        sizes = [state_size + action_size, *hidden, action_size]
        linear = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        self.hidden_layers = nn.ModuleList(linear[:-1])
        self.last_layer = linear[-1]
        with torch.no_grad():
            self.last_layer.weight.mul_(0.01)
            self.last_layer.bias.zero_()

    @property
    def first_layer(self) -> nn.Linear:
        """The layer that reads token, proprioception and reference."""
        layer = next(iter(self.hidden_layers), self.last_layer)
        assert isinstance(layer, nn.Linear)
        return layer

    def forward(self, state: Tensor, reference: Tensor) -> Tensor:
        """Chunks (N, A) in states (N, S), of possibly masked references (N, A)."""
        if not self.pass_through:
            reference = torch.zeros_like(reference)
        x = torch.cat([state, reference], dim=1).to(self.last_layer.weight.dtype)
        for layer in self.hidden_layers:
            x = functional.relu(layer(x))
        chunk: Tensor = reference + self.last_layer(x).to(reference.dtype)
        return chunk


class CriticEnsemble(nn.Module):
    """K critics `Q(x, a_1..C)` evaluated as one batched product; layer norm keeps their slopes bounded.

    The norm has no gain and shift of its own: the bias before it and the weights after it do the same.
    """

    def __init__(
        self,
        state_size: int,
        action_size: int,
        hidden: tuple[int, ...],
        critics: int,
        *,
        layer_norm: bool = True,
    ) -> None:
        """`critics` independent perceptrons with `hidden` layers; sizes as of `ActorNetwork`."""
        super().__init__()
        self.critics, self.layer_norm = critics, layer_norm
        sizes = [state_size + action_size, *hidden, 1]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):
            bound = 1 / math.sqrt(fan_in)
            self.weights.append(nn.Parameter(torch.empty(critics, fan_in, fan_out).uniform_(-bound, bound)))
            self.biases.append(nn.Parameter(torch.empty(critics, 1, fan_out).uniform_(-bound, bound)))

    def forward(self, state: Tensor, actions: Tensor, members: Tensor | None = None) -> Tensor:
        """Values of chunks (N, A) in states (N, S).

        Args:
            state: token and normalised proprioception.
            actions: normalised action chunks, or their coordinates.
            members: which critics to ask; default: all.

        Returns:
            Shape (K, N), or (len(members), N); in float32.
        """
        weights, biases = list(self.weights), list(self.biases)
        if members is not None:
            weights, biases = [w[members] for w in weights], [b[members] for b in biases]
        x = torch.cat([state, actions], dim=1).to(weights[0].dtype).expand(len(weights[0]), -1, -1)
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            x = torch.baddbmm(bias, x, weight)
            if self.layer_norm:
                x = functional.layer_norm(x, x.shape[-1:])
            x = functional.relu(x)
        # Values near 1 differ by less than what bfloat16 resolves there.
        return torch.baddbmm(biases[-1].float(), x.float(), weights[-1].float()).squeeze(-1)


def export_actor(
    actor: ActorNetwork,
    spec: ActorSpec,
    version: int,
    directions: Directions | None = None,
    noise: Tensor | None = None,
    state_mask: Tensor | None = None,
) -> bytes:
    """Serialise for `rlt_ros.control.actor.unpack_actor`, which reads and gives whole chunks.

    Args:
        actor: to export.
        spec: what the executor must know.
        version: of the weights.
        directions: those whose coordinates the actor reads and gives: they become part of its outer layers.
        noise: shape (K, C * J), see `Actor`.
        state_mask: shape (S,), 0 for the numbers of a state that the actor was trained without: it ignores them.
    """
    weights = [layer.weight.detach().cpu().T for layer in (*actor.hidden_layers, actor.last_layer)]
    biases = [layer.bias.detach().cpu() for layer in (*actor.hidden_layers, actor.last_layer)]
    if state_mask is not None:
        weights[0] = weights[0].clone()
        weights[0][: actor.state_size] *= state_mask.cpu()[:, None]
    if directions is not None:
        state, reference = weights[0].split([actor.state_size, len(weights[0]) - actor.state_size])
        weights[0] = torch.cat([state, directions.inverse.cpu() @ reference])
        basis = directions.basis.cpu()
        weights[-1], biases[-1] = weights[-1] @ basis, biases[-1] @ basis
    layers = [
        (np.ascontiguousarray(weight.numpy()), np.ascontiguousarray(bias.numpy()))
        for weight, bias in zip(weights, biases, strict=True)
    ]
    return pack_actor(spec, layers, version, None if noise is None else noise.cpu().numpy())
