"""The learner: Algorithm 1 of RL Token without its robot - replay in, weights out."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rlt_ros.control.actor import SPEEDS
from rlt_ros.rl.config import LearnerConfig
from rlt_ros.rl.method import Method
from rlt_ros.rl.networks import ActorNetwork, CriticEnsemble, candidates, lower_bound
from rlt_ros.rl.packed import Packed, precision_of
from rlt_ros.rl.replay import Batch, Replay
from rlt_ros.rl.view import Seen

_REPORT_EVERY = 10
_RAMP = 5
"""Burn-ins over which the weight of Q rises after the first one."""
_VALUE_FLOOR = 0.25
"""Smallest unit of a value that the actor climbs, as a share of the batch's mean."""
_AVERAGE_RATE, _AVERAGED_SHARE = 0.002, 10
"""What flies averages the last 500 updates of the actor; while there were fewer than 5000, the last tenth of them."""


class Learner(Method[LearnerConfig]):
    """An ensemble of critics, an anchored actor, and the budget that keeps them from over-training."""

    def update(self) -> None:
        """One turn of Algorithm 1: the critics, every second time the actor, and the targets that follow."""
        batch = self._draw()
        self._update_critics(batch)
        self.updates += 1
        if self.updates % self.config.actor_every == 0:
            self._update_actor(batch)
        self.targets.follow(self.critics, self.config.target_rate)

    def _update_critics(self, batch: Seen) -> None:
        """`target = sum gamma^(k-1) r_k + gamma^C Q'(x')`, clamped to what a sparse reward can give."""
        with torch.no_grad():
            target = (batch.rewards + batch.bootstrap * self._next_values(batch)).clamp(0.0, 1.0)
            known = torch.where(batch.returned.isnan(), target, batch.returned)
            target = target.lerp(known, self.config.return_share)
        values = self.critics.compute(batch.state, batch.actions)
        loss = functional.mse_loss(values, target.expand_as(values)) * self.config.critics
        self.critics.descend(loss)
        if self.updates % _REPORT_EVERY == 0:
            self.report.mix(critic_loss=loss.detach(), q_mean=values.detach().mean(), target_mean=target.mean())

    def _next_values(self, batch: Seen) -> Tensor:
        """Value of what flies next, the smaller one of two target critics; shape (N,).

        While burning in that is the reference; then the actor's chunk, or the best of the candidates.
        """
        actions = batch.next_reference
        if self.burnt_in:
            actions = self.actor.compute(batch.next_state, batch.next_reference)
            if self.config.selection:
                actions = candidates(batch.next_reference, actions, SPEEDS)
        pair = None
        if self.config.critics > 2:
            pair = torch.from_numpy(self._generator.choice(self.config.critics, 2, replace=False))
        smaller: Tensor = self.targets.compute(batch.next_state, actions, pair).amin(0)
        return smaller.amax(1) if smaller.ndim == 2 else smaller

    def _update_actor(self, batch: Seen) -> None:
        """`-w Q(x, a) + || a - anchor ||^2` over executed rows; w is 1 / beta of the paper."""
        shown = torch.from_numpy(self._generator.random(len(batch.state)) >= self.config.reference_dropout)
        shown = shown.to(self.device)
        actions = self.actor.compute(batch.state, batch.reference, shown)
        distance = self.view.distance(actions, batch)
        # While burning in the actor clones the anchor, whatever its later weight.
        loss = distance.mean() * (self.config.anchor_weight if self.burnt_in else 1.0)
        if self.burnt_in and self.q_weight:
            values = lower_bound(self.critics.compute(batch.state, actions))
            # In units of itself: far from the goal values are small, and by their mean nothing would pull there.
            unit = values.detach().clamp_min(_VALUE_FLOOR * float(values.detach().abs().mean().clamp_min(1e-3)))
            loss = loss - self.q_weight * (values / unit).mean()
        self.actor.descend(loss)
        young = _AVERAGED_SHARE / (_AVERAGED_SHARE + self.updates / self.config.actor_every)
        self.flown.follow(self.actor, max(_AVERAGE_RATE, young))
        if self.updates % (_REPORT_EVERY * self.config.actor_every) == 0:
            of_shown = (distance.detach() * shown).sum() / shown.sum().clamp_min(1)
            self.report.mix(actor_loss=loss.detach(), anchor_distance=of_shown)

    def _draw(self) -> Seen:
        """A batch as the networks see it."""
        if not self.view.directions.known:
            self._find_directions()
        drawn = self.replay.sample(self.config.batch, self._generator, self.config.human_mix)
        return self.view.disturbed(self.view(drawn), self._generator)

    # -- around the algorithm ------------------------------------------------------------------------------

    def __init__(self, config: LearnerConfig, replay: Replay, motion: np.ndarray[Any, Any] | None = None) -> None:
        """Start with an actor that equals the reference; arguments and errors as of `Method`."""
        super().__init__(config, replay, motion)
        sizes = (self.view.state_size, self.view.coordinates, config.hidden)
        actor = ActorNetwork(*sizes, pass_through=config.pass_through).to(self.device)
        critics = CriticEnsemble(*sizes, config.critics).to(self.device)
        precision = precision_of(config.precision, self.device)
        self.flown = Packed(copy.deepcopy(actor), torch.float32)
        self.targets = Packed(copy.deepcopy(critics), precision)
        self.actor = Packed(actor, precision, config.actor_rate)
        self.critics = Packed(critics, precision, config.critic_rate)

    @property
    def burnt_in(self) -> bool:
        """Whether the critics have seen enough to be asked."""
        return self.updates >= self.config.burn_in_updates

    @property
    def q_weight(self) -> float:
        """Weight of Q now: the anchor is strong first and gives way as the critics have seen more."""
        weights, burn_in = self.config.q_weight, self.config.burn_in_updates
        share = min(1.0, max(0.0, (self.updates - burn_in) / (_RAMP * burn_in))) if burn_in else 1.0
        return float(weights[0] if len(weights) == 1 else weights[0] ** (1 - share) * weights[1] ** share)

    @property
    def schedule(self) -> dict[str, float]:
        """See `Method`."""
        return {"q_weight": self.q_weight}

    @torch.no_grad()
    def values(self, batch: Batch) -> Tensor:
        """What the critics expect of the executed chunks, on average over the ensemble; shape (N,)."""
        seen = self.view(batch)
        values: Tensor = self.critics.network(seen.state, seen.actions).mean(0).cpu()
        return values

    @property
    def parts(self) -> dict[str, Packed[Any]]:
        """What is kept of it, by name."""
        return {"actor": self.actor, "flown": self.flown, "critics": self.critics, "targets": self.targets}
