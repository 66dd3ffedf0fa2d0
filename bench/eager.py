"""A plain eager implementation of the same update, written for clarity: the reference of `rlt bench learner`.

Separate critics, one module each; autograd, Adam and target averaging as PyTorch's tutorials write them. It draws from
its generator what `rlt_ros.rl.learner` draws from its own, in the same order, so that both may be compared.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from rlt_ros.control.actor import SPEEDS
from rlt_ros.rl.config import LearnerConfig
from rlt_ros.rl.replay import Batch, ReplaySpec


class Critic(nn.Module):
    """One `Q(x, a_1..C)`."""

    def __init__(self, size: int, hidden: tuple[int, ...]) -> None:
        """Perceptron with layer norm."""
        super().__init__()
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(size, width), nn.LayerNorm(width, elementwise_affine=False), nn.ReLU()]
            size = width
        self.net = nn.Sequential(*layers, nn.Linear(size, 1))

    def forward(self, state: Tensor, actions: Tensor) -> Tensor:
        """Values (N,)."""
        out: Tensor = self.net(torch.cat([state, actions], 1))[:, 0]
        return out


class Actor(nn.Module):
    """`mu(x, ref)`, one head where the reference is shown and one where it is hidden."""

    def __init__(self, state: int, size: int, hidden: tuple[int, ...]) -> None:
        """Perceptron whose first head starts at zero."""
        super().__init__()
        layers: list[nn.Module] = []
        width = state + size
        for wider in hidden:
            layers += [nn.Linear(width, wider), nn.ReLU()]
            width = wider
        self.trunk = nn.Sequential(*layers)
        self.shown, self.hidden = nn.Linear(width, size), nn.Linear(width, size)
        for parameter in self.shown.parameters():
            nn.init.zeros_(parameter)

    def forward(self, state: Tensor, reference: Tensor, shown: Tensor) -> Tensor:
        """Chunks (N, K); `shown` is 1 or 0, shape (N, 1)."""
        seen = reference * shown
        features = self.trunk(torch.cat([state, seen], 1))
        out: Tensor = seen + shown * self.shown(features) + (1 - shown) * self.hidden(features)
        return out


class EagerLearner:
    """The update of Algorithm 1 with selection among candidates, one line after the other."""

    def __init__(self, config: LearnerConfig, spec: ReplaySpec, basis: Tensor, seed: int = 0) -> None:
        """Fresh networks on the directions `basis` (K, C J)."""
        state, size = spec.token_dim + 2 * spec.joints, len(basis)
        self.config, self.spec = config, spec
        self.basis, self.inverse = basis, torch.linalg.pinv(basis)
        self.read = torch.ones(state)
        if config.proprio == "position":
            self.read[-spec.joints :] = 0
        self.actor = Actor(state, size, config.hidden)
        self.flown = copy.deepcopy(self.actor)
        self.critics = [Critic(state + size, config.hidden) for _ in range(config.critics)]
        self.targets = copy.deepcopy(self.critics)
        self.actor_optimiser = torch.optim.Adam(self.actor.parameters(), lr=config.actor_rate)
        self.critic_parameters = [parameter for critic in self.critics for parameter in critic.parameters()]
        self.critic_optimiser = torch.optim.Adam(self.critic_parameters, lr=config.critic_rate)
        self.rng = np.random.default_rng(seed)
        self.updates = 0

    def update(self, batch: Batch) -> None:
        """Critics, then the actor every `actor_every`-th time, then the targets."""
        config = self.config
        state, next_state = batch.state * self.read, batch.next_state * self.read
        if config.state_noise:
            generator = torch.Generator().manual_seed(int(self.rng.integers(2**62)))
            for x in (state, next_state):
                x += config.state_noise * self.read * torch.empty_like(x).normal_(generator=generator)
        actions, reference = batch.actions.flatten(1) @ self.inverse, batch.reference.flatten(1) @ self.inverse
        next_reference = batch.next_reference.flatten(1) @ self.inverse
        with torch.no_grad():
            everything = torch.ones(len(state), 1)
            options = [next_reference]
            if self.updates >= config.burn_in_updates:
                options = [self.actor(next_state, next_reference, everything)]
                if config.selection:
                    options += [speed * next_reference for speed in SPEEDS]
            asked = self.targets
            if config.critics > 2:
                asked = [self.targets[i] for i in self.rng.choice(config.critics, 2, replace=False)]
            values = torch.stack([torch.stack([critic(next_state, a) for critic in asked]) for a in options])
            next_value = values.min(1).values.max(0).values
            target = (batch.rewards + batch.bootstrap * next_value).clamp(0.0, 1.0)
            known = torch.where(batch.returned.isnan(), target, batch.returned)
            target = (1 - config.return_share) * target + config.return_share * known
        loss = sum(((critic(state, actions) - target) ** 2).mean() for critic in self.critics)
        self._step(loss, self.critic_optimiser, self.critic_parameters)  # type: ignore[arg-type]
        self.updates += 1
        if self.updates % config.actor_every == 0:
            shown = torch.from_numpy(self.rng.random(len(state)) >= config.reference_dropout).float()[:, None]
            mine = self.actor(state, reference, shown)
            chunks = ((mine @ self.basis) - batch.anchor.flatten(1) @ self.inverse @ self.basis).view_as(batch.anchor)
            executed = (chunks * batch.executed[..., None]).flatten(1)
            actor_loss = ((executed @ self.inverse) ** 2).mean()
            if self.updates >= config.burn_in_updates:
                q = torch.stack([critic(state, mine) for critic in self.critics])
                q = q.mean(0) - q.std(0) if len(q) > 1 else q[0]
                unit = torch.maximum(q.detach(), 0.25 * q.detach().abs().mean().clamp_min(1e-3))
                actor_loss = config.anchor_weight * actor_loss - self._weight() * (q / unit).mean()
            self._step(actor_loss, self.actor_optimiser, list(self.actor.parameters()))
            share = max(0.002, 10 / (10 + self.updates / config.actor_every))
            self._follow(self.flown, self.actor, share)
        for critic, slow in zip(self.critics, self.targets, strict=True):
            self._follow(slow, critic, config.target_rate)

    def _weight(self) -> float:
        first, last = self.config.q_weight[0], self.config.q_weight[-1]
        burn_in = self.config.burn_in_updates
        share = min(1.0, (self.updates - burn_in) / (5 * burn_in)) if burn_in else 1.0
        return float(first * (last / first) ** share)

    @staticmethod
    def _step(loss: Tensor, optimiser: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> None:
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 10.0)
        optimiser.step()

    @staticmethod
    def _follow(slow: nn.Module, fast: nn.Module, share: float) -> None:
        with torch.no_grad():
            for old, new in zip(slow.parameters(), fast.parameters(), strict=True):
                old.mul_(1 - share).add_(share * new)
