"""Soft actor-critic (Haarnoja et al., 2018): what HIL-SERL and PLD have in common. What is theirs is in their files."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rlt_ros.control.actor import LOG_DEVIATIONS
from rlt_ros.rl.baseline_config import SacConfig
from rlt_ros.rl.method import Method, Part
from rlt_ros.rl.networks import CriticEnsemble
from rlt_ros.rl.packed import Packed
from rlt_ros.rl.replay import Batch, Replay
from rlt_ros.rl.view import Seen

SacSettings = TypeVar("SacSettings", bound=SacConfig)
_REPORT_EVERY = 10
_SMALLEST_SLOPE = 1e-6
"""Of tanh, in the logarithm of a density."""


class GaussianActor(nn.Module):
    """Mean and deviation of what is squashed by tanh, from layers with layer norm and tanh (`SquashedActor`)."""

    def __init__(self, state_size: int, action_size: int, hidden: tuple[int, ...], *, residual: bool) -> None:
        """`residual`: it reads the base's action too, and adds to it; sizes as of `ActorNetwork`."""
        super().__init__()
        self.residual = residual
        sizes = [state_size + action_size, *hidden]
        self.hidden_layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.head = nn.Linear(sizes[-1], 2 * action_size)
        with torch.no_grad():
            self.head.weight.mul_(0.01)  # begins near the middle of what it may do
            self.head.bias.zero_()

    def forward(self, state: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the deviation, (N, K) each, in states (N, S) with references (N, K)."""
        x = torch.cat([state, reference if self.residual else torch.zeros_like(reference)], dim=1)
        for layer in self.hidden_layers:
            x = layer(x)
            x = torch.tanh(functional.layer_norm(x, x.shape[-1:]))
        mean, log_deviation = self.head(x).chunk(2, dim=1)
        return mean, log_deviation.clamp(*LOG_DEVIATIONS)


class Temperature(nn.Module):
    """Weight of the entropy, as its logarithm."""

    def __init__(self, start: float) -> None:
        """Begin with `start`."""
        super().__init__()
        self.logarithm = nn.Parameter(torch.tensor([max(start, 1e-8)]).log())

    def forward(self) -> Tensor:
        """The weight, shape (1,)."""
        return self.logarithm.exp()


class Sac(Method[SacSettings]):
    """A squashed Gaussian actor, an ensemble of critics, and a temperature that keeps the entropy at -K / 2."""

    residual = False
    """Whether the actor sees the base's action and adds to it."""
    largest_gradient = 10.0
    """Norm that gradients are clipped to."""

    def __init__(self, config: SacSettings, replay: Replay, motion: np.ndarray[Any, Any] | None = None) -> None:
        """Arguments and errors as of `Method`."""
        super().__init__(config, replay, motion)
        sizes = (self.view.state_size, self.view.coordinates, config.hidden)
        actor = GaussianActor(*sizes, residual=self.residual)
        critics = CriticEnsemble(*sizes, config.critics, torch.tanh)
        self.targets = Packed(copy.deepcopy(critics).to(self.device), torch.float32)
        trained = (torch.float32, config.rate, self.largest_gradient)
        self.actor = Packed(actor.to(self.device), *trained)
        self.critics = Packed(critics.to(self.device), *trained)
        self.temperature = Packed(Temperature(config.temperature).to(self.device), *trained)

    @property
    def bound(self) -> float:
        """How far the actor moves along each direction, in their units."""
        return self.config.action_range

    @torch.no_grad()
    def values(self, batch: Batch) -> Tensor:
        """See `Method`."""
        seen = self.view(batch)
        values: Tensor = self.critics.network(seen.state, seen.actions).mean(0).cpu()
        return values

    @property
    def parts(self) -> Mapping[str, Part]:
        """See `Method`."""
        return {name: getattr(self, name) for name in ("actor", "critics", "targets", "temperature")}

    @property
    def schedule(self) -> dict[str, float]:
        """See `Method`."""
        return {"temperature": float(self.temperature.network().detach())}

    def _act(self, state: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Actions drawn in states, as coordinates (N, K), and the logarithms of their densities (N,)."""
        mean, log_deviation = self.actor.compute(state, reference)
        noise = self._normal(mean.shape)
        squashed = torch.tanh(mean + log_deviation.exp() * noise)
        density = -0.5 * noise.square() - log_deviation - 0.5 * np.log(2 * np.pi)
        density = density - (1 - squashed.square() + _SMALLEST_SLOPE).log()
        action = self.bound * squashed + (reference if self.residual else 0.0)
        return action, density.sum(1)

    def _target(self, batch: Seen) -> Tensor:
        """`r + gamma min Q'(s', a')`, without the entropy, as HIL-SERL's code has it; shape (N,)."""
        with torch.no_grad():
            action, _ = self._act(batch.next_state, batch.next_reference)
            after: Tensor = self.targets.compute(batch.next_state, action).amin(0)
            return batch.rewards + batch.bootstrap * after

    def _temporal_difference(self, batch: Seen) -> tuple[Tensor, Tensor, Tensor]:
        """Loss of all critics, their values (E, N), and the targets (N,)."""
        target = self._target(batch)
        values = self.critics.compute(batch.state, batch.actions)
        return functional.mse_loss(values, target.expand_as(values)) * self.config.critics, values, target

    def _update_critics(self, loss: Tensor, values: Tensor, target: Tensor) -> None:
        """Down the gradient of `loss`; the targets follow. The others are for people."""
        self.critics.descend(loss)
        self.targets.follow(self.critics, self.config.target_rate)
        if self.updates % _REPORT_EVERY == 0:
            self.report.mix(critic_loss=loss.detach(), q_mean=values.detach().mean(), target_mean=target.mean())

    def _update_actor(self, batch: Seen) -> None:
        """`alpha log pi(a|s) - Q(s, a)`, Q the critics' mean, and the temperature that follows the entropy."""
        action, density = self._act(batch.state, batch.reference)
        loss = (
            self.temperature.network().detach() * density - self.critics.compute(batch.state, action).mean(0)
        ).mean()
        self.actor.descend(loss)
        wanted = -0.5 * self.view.coordinates
        self.temperature.descend(-(self.temperature.compute() * (density.detach() + wanted).mean()).sum())
        if self.updates % (_REPORT_EVERY * self.config.actor_every) == 0:
            distance = (action.detach() - batch.reference).square().mean()
            self.report.mix(actor_loss=loss.detach(), anchor_distance=distance)

    def _seen(self, batch: Batch) -> Seen:
        """A batch as the networks see it."""
        return self.view.disturbed(self.view(batch), self._generator)

    def _normal(self, shape: torch.Size) -> Tensor:
        """Numbers drawn from the generator that a checkpoint keeps."""
        return torch.from_numpy(self._generator.standard_normal(shape, dtype=np.float32)).to(self.device)
