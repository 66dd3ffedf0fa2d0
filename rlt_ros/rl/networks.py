"""Networks of the RL Token method: an actor that outputs chunks, an ensemble of critics (section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class ActorNetwork(nn.Module):
    """`mu(x, ref)`: reads token, proprioception and reference, gives the chunk.

    Where the reference is shown, the chunk is the reference plus what a first head adds: nothing, until it is trained.
    Where it is hidden (reference dropout, section 3.2), a second head must give the whole chunk. One head for both
    would count the reference twice: nothing tells it whether its sum already holds it.
    """

    def __init__(
        self, state_size: int, action_size: int, hidden: tuple[int, ...], *, pass_through: bool = True
    ) -> None:
        """Perceptron with `hidden` layers and two heads; the untrained one flies the reference where it sees it.

        Args:
            state_size: numbers of a state x = (token, proprioception), D + 2 M.
            action_size: coordinates of a chunk, K.
            hidden: sizes of the hidden layers.
            pass_through: without it the reference is hidden always, at training and in flight.
        """
        super().__init__()
        self.state_size, self.pass_through = state_size, pass_through
        sizes = [state_size + action_size, *hidden]
        self.hidden_layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.shown_head = nn.Linear(sizes[-1], action_size)
        self.hidden_head = nn.Linear(sizes[-1], action_size)
        with torch.no_grad():
            for parameter in self.shown_head.parameters():
                parameter.zero_()

    @property
    def head(self) -> nn.Linear:
        """The one that flies."""
        return self.shown_head if self.pass_through else self.hidden_head

    def forward(self, state: Tensor, reference: Tensor, shown: Tensor | None = None) -> Tensor:
        """Coordinates of chunks (N, K) in states (N, S), of references (N, K).

        Args:
            state: token and normalised proprioception.
            reference: coordinates of the VLA's chunk.
            shown: which references the actor sees, shape (N,) of bool; default: all.
        """
        if not self.pass_through:
            shown = torch.zeros(len(state), dtype=torch.bool, device=state.device)
        seen = reference if shown is None else reference * shown[:, None]
        x = torch.cat([state, seen], dim=1).to(self.shown_head.weight.dtype)
        for layer in self.hidden_layers:
            x = functional.relu(layer(x))
        if shown is None:
            added: Tensor = self.shown_head(x)
        else:
            added = torch.where(shown[:, None], self.shown_head(x), self.hidden_head(x))
        return seen + added.to(reference.dtype)


class CriticEnsemble(nn.Module):
    """E critics `Q(x, a_1..C)` evaluated as one batched product; layer norm keeps their slopes bounded.

    The norm has no gain and shift of its own: the bias before it and the weights after it do the same.
    """

    def __init__(
        self,
        state_size: int,
        action_size: int,
        hidden: tuple[int, ...],
        critics: int,
        activation: Callable[[Tensor], Tensor] = functional.relu,
    ) -> None:
        """`critics` independent perceptrons with `hidden` layers; sizes as of `ActorNetwork`."""
        super().__init__()
        self.critics, self.state_size, self._activation = critics, state_size, activation
        sizes = [state_size + action_size, *hidden, 1]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):
            bound = 1 / math.sqrt(fan_in)
            self.weights.append(nn.Parameter(torch.empty(critics, fan_in, fan_out).uniform_(-bound, bound)))
            self.biases.append(nn.Parameter(torch.empty(critics, 1, fan_out).uniform_(-bound, bound)))

    def forward(self, state: Tensor, actions: Tensor, members: Tensor | None = None) -> Tensor:
        """Values of chunks in states (N, S).

        Args:
            state: token and normalised proprioception.
            actions: coordinates of a chunk, shape (N, K), or of M candidates, shape (N, M, K).
            members: which critics to ask; default: all.

        Returns:
            Shape (E, N) or (E, N, M), where E are those that are asked; in float32.
        """
        weights, biases = list(self.weights), list(self.biases)
        if members is not None:
            weights, biases = [w[members] for w in weights], [b[members] for b in biases]
        state, actions = state.to(weights[0].dtype), actions.to(weights[0].dtype)
        count, shape = len(weights[0]), actions.shape[:-1]
        if actions.ndim == 2:
            x = torch.cat([state, actions], dim=1).expand(count, -1, -1)
            x = torch.baddbmm(biases[0], x, weights[0])
        else:  # a state's part of the first product is the same for all of its candidates
            of_state, of_action = weights[0].split([self.state_size, actions.shape[-1]], dim=1)
            x = torch.baddbmm(biases[0], state.expand(count, -1, -1), of_state)[:, :, None]
            added = torch.bmm(actions.flatten(0, 1).expand(count, -1, -1), of_action)
            x = (x + added.view(count, *shape, -1)).flatten(1, 2)
        for weight, bias in zip(weights[1:], biases[1:], strict=True):
            x = self._activation(functional.layer_norm(x, x.shape[-1:]))
            # Values near 1 differ by less than what bfloat16 resolves there.
            kind = torch.float32 if weight.shape[-1] == 1 else weight.dtype
            x = torch.baddbmm(bias.to(kind), x.to(kind), weight.to(kind))
        return x.squeeze(-1).float().view(count, *shape)


def lower_bound(values: Tensor) -> Tensor:
    """What an ensemble's values (E, ...) agree on at least: their mean less one standard deviation."""
    return values.mean(0) - values.std(0) if len(values) > 1 else values[0]


def candidates(reference: Tensor, own: Tensor, speeds: tuple[float, ...]) -> Tensor:
    """What may fly (EXPO, Dong et al., 2025): references (N, K) at each of M speeds, and the actor's own (N, K).

    Returns:
        Shape (N, M + 1, K), in the order of `rlt_ros.control.actor.Actor.candidates`.
    """
    scales = torch.tensor(speeds, dtype=reference.dtype, device=reference.device)
    return torch.cat([scales[:, None] * reference[:, None], own[:, None]], dim=1)
