"""Networks of the RL Token method: an actor that outputs chunks, an ensemble of critics (section 3.2)."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rlt_ros.control.actor import ActorSpec, pack_actor


class ActorNetwork(nn.Module):
    """`mu(x, ref)`: reads token, proprioception and reference, gives the chunk.

    The output is the *masked* reference plus what the perceptron adds: with the reference present the untrained
    actor equals the VLA, with the reference dropped the perceptron must produce the chunk by itself.
    """

    def __init__(
        self, token_dim: int, joints: int, chunk: int, hidden: tuple[int, ...], *, pass_through: bool = True
    ) -> None:
        """Perceptron with `hidden` layers; the last layer starts small.

        Args:
            token_dim: size of the RL token (D).
            joints: number of joints (J).
            chunk: rows of a chunk (C).
            hidden: sizes of the hidden layers.
            pass_through: without it the reference is hidden always, at training and in flight.
        """
        super().__init__()
        self.chunk, self.joints, self.pass_through = chunk, joints, pass_through
        sizes = [token_dim + 2 * joints + chunk * joints, *hidden, chunk * joints]
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

    def forward(self, token: Tensor, proprio: Tensor, reference: Tensor) -> Tensor:
        """Chunk (N, C, J) from token (N, D), proprioception (N, 2 J) and a possibly masked reference (N, C, J)."""
        flat = reference.flatten(1)
        if not self.pass_through:
            flat = torch.zeros_like(flat)
        x = torch.cat([token, proprio, flat], dim=1)
        for layer in self.hidden_layers:
            x = functional.relu(layer(x))
        chunk: Tensor = flat + self.last_layer(x)
        return chunk.view(-1, self.chunk, self.joints)


class CriticEnsemble(nn.Module):
    """K critics `Q(x, a_1..C)` evaluated as one batched product; layer norm keeps their slopes bounded."""

    def __init__(self, token_dim: int, joints: int, chunk: int, hidden: tuple[int, ...], critics: int) -> None:
        """`critics` independent perceptrons with `hidden` layers."""
        super().__init__()
        self.critics = critics
        sizes = [token_dim + 2 * joints + chunk * joints, *hidden, 1]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.gains = nn.ParameterList()
        self.shifts = nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):
            bound = 1 / math.sqrt(fan_in)
            self.weights.append(nn.Parameter(torch.empty(critics, fan_in, fan_out).uniform_(-bound, bound)))
            self.biases.append(nn.Parameter(torch.empty(critics, 1, fan_out).uniform_(-bound, bound)))
            if fan_out != 1:
                self.gains.append(nn.Parameter(torch.ones(critics, 1, fan_out)))
                self.shifts.append(nn.Parameter(torch.zeros(critics, 1, fan_out)))

    def forward(self, token: Tensor, proprio: Tensor, actions: Tensor) -> Tensor:
        """Values, shape (K, N), of chunks (N, C, J) in states token (N, D), proprioception (N, 2 J)."""
        x = torch.cat([token, proprio, actions.flatten(1)], dim=1).expand(self.critics, -1, -1)
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            if index < len(self.gains):
                x = functional.layer_norm(x, x.shape[-1:])
                x = functional.relu(x * self.gains[index] + self.shifts[index])
        return x.squeeze(-1)


def export_actor(actor: ActorNetwork, spec: ActorSpec, version: int) -> bytes:
    """Serialise for `rlt_ros.control.actor.unpack_actor`."""
    layers = [
        (np.ascontiguousarray(layer.weight.detach().cpu().numpy().T), layer.bias.detach().cpu().numpy())
        for layer in (*actor.hidden_layers, actor.last_layer)
    ]
    return pack_actor(spec, layers, version)
