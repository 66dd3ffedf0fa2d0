"""The learner: Algorithm 1 of RL Token without its robot - replay in, weights out."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rlt_ros.control.actor import ActorSpec
from rlt_ros.rl.actor_critic import ActorNetwork, CriticEnsemble, export_actor
from rlt_ros.rl.config import LearnerConfig
from rlt_ros.rl.replay import Batch, Replay


@dataclass
class UpdateReport:
    """Running means over the last updates, for people."""

    critic_loss: float = 0.0
    actor_loss: float = 0.0
    q_mean: float = 0.0
    target_mean: float = 0.0
    anchor_distance: float = 0.0

    def mix(self, **values: Tensor) -> None:
        """Move each running mean 2 % towards a new value."""
        for name, value in values.items():
            old = getattr(self, name)
            setattr(self, name, old + 0.02 * (float(value) - old))


class Learner:
    """Twin (or K) critics, an anchored actor, and the budget that keeps them from over-training."""

    def __init__(self, config: LearnerConfig, replay: Replay, bundle_id: str) -> None:
        """Start with an actor that equals the reference.

        Args:
            config: how to train.
            replay: filled by the caller.
            bundle_id: stamped on the weights.
        """
        spec = replay.spec
        torch.manual_seed(config.seed)
        self.config = config
        self.replay = replay
        self.actor = ActorNetwork(
            spec.token_dim, spec.joints, spec.chunk, config.hidden, pass_through=config.pass_through
        )
        self.critics = CriticEnsemble(spec.token_dim, spec.joints, spec.chunk, config.hidden, config.critics)
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self._actor_optimiser = torch.optim.Adam(self.actor.parameters(), lr=config.actor_rate, fused=True)
        self._critic_optimiser = torch.optim.Adam(self.critics.parameters(), lr=config.critic_rate, fused=True)
        self._generator = np.random.default_rng(config.seed)
        self._spec = ActorSpec(
            bundle_id,
            spec.token_dim,
            spec.joints,
            spec.chunk,
            config.noise_chunk,
            config.noise_tick,
            config.pass_through,
        )
        if not config.use_token:
            with torch.no_grad():
                self.actor.first_layer.weight[:, : spec.token_dim] = 0.0
        self.update_ratio = config.update_ratio
        self.updates = 0
        self.report = UpdateReport()

    @property
    def budget(self) -> int:
        """Updates that may be done now: `ratio * samples` after the warm-up, less those done."""
        if self.replay.samples < self.config.warmup_samples:
            return 0
        return max(0, int(self.update_ratio * self.replay.samples) - self.updates)

    @property
    def q_weight(self) -> float:
        """Weight of Q now: the anchor is strong first and gives way as the critics have seen more."""
        config = self.config
        done = self.updates - config.burn_in_updates
        share = min(1.0, max(0.0, done / config.q_ramp_updates)) if config.q_ramp_updates else float(done >= 0)
        return config.q_weight + share * (config.q_weight_final - config.q_weight)

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """By the network they train."""
        return {"actor": self._actor_optimiser, "critics": self._critic_optimiser}

    def update(self) -> None:
        """One gradient update of the critics, and of the actor every `actor_every`-th time."""
        batch = self.replay.sample(self.config.batch, self._generator)
        if not self.config.use_token:
            batch = batch._replace(token=torch.zeros_like(batch.token), next_token=torch.zeros_like(batch.next_token))
        self._update_critics(batch)
        self.updates += 1
        if self.updates % self.config.actor_every == 0:
            self._update_actor(batch)
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.targets.parameters()), list(self.critics.parameters()), self.config.target_rate
            )

    def _update_critics(self, batch: Batch) -> None:
        """`target = sum gamma^(k-1) r_k + gamma^C min Q'(x', a')`, clamped to what a sparse reward can give."""
        with torch.no_grad():
            # During burn-in the reference itself is the policy that is evaluated.
            next_actions = batch.next_reference
            if self.updates >= self.config.burn_in_updates:
                next_actions = self.actor(batch.next_token, batch.next_proprio, batch.next_reference)
            next_values = self.targets(batch.next_token, batch.next_proprio, next_actions)
            if self.config.critics > 2:
                pair = torch.from_numpy(self._generator.choice(self.config.critics, 2, replace=False))
                next_values = next_values[pair]
            target = (batch.rewards + batch.bootstrap * next_values.amin(0)).clamp(0.0, 1.0)
        values = self.critics(batch.token, batch.proprio, batch.actions)
        loss = functional.mse_loss(values, target.expand_as(values)) * self.config.critics
        self._descend(loss, self.critics, self._critic_optimiser)
        self.report.mix(critic_loss=loss.detach(), q_mean=values.detach().mean(), target_mean=target.mean())

    def _update_actor(self, batch: Batch) -> None:
        """`-Q(x, a) + beta || a - ref ||^2` on executed rows, in the form `-w Q / mean|Q| + mean (a - ref)^2`."""
        shown = torch.from_numpy(self._generator.random(len(batch.token)) >= self.config.reference_dropout)
        masked = batch.reference * shown[:, None, None]
        actions = self.actor(batch.token, batch.proprio, masked)
        distance = (actions - batch.reference).square().mean(-1)
        anchor = (distance * batch.valid).sum() / batch.valid.sum()
        burnt_in, weight = self.updates >= self.config.burn_in_updates, self.q_weight
        # While burning in the actor clones the reference, whatever its later weight.
        loss = anchor * (self.config.anchor_weight if burnt_in else 1.0)
        if burnt_in and weight > 0:
            values = self.critics(batch.token, batch.proprio, actions).mean(0)
            loss = loss - weight * (values / values.detach().abs().mean().clamp_min(1e-3)).mean()
        self._descend(loss, self.actor, self._actor_optimiser)
        shown_distance = (distance * batch.valid * shown[:, None]).sum() / (
            batch.valid * shown[:, None]
        ).sum().clamp_min(1)
        self.report.mix(actor_loss=loss.detach(), anchor_distance=shown_distance.detach())

    def _descend(self, loss: Tensor, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """One clipped step; gradients of no other network are computed, of the critics while the actor climbs, say."""
        parameters = list(network.parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        torch.nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip)
        optimiser.step()

    def export(self, version: int) -> bytes:
        """The actor's weights for the executor."""
        return export_actor(self.actor, self._spec, version)
