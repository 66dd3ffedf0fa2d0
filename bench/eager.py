"""A plain eager implementation of the same update, written for clarity: the reference of `rlt bench learner`.

Separate critics, one module each; autograd, Adam and target averaging as PyTorch's tutorials write them.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

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
        out: Tensor = self.net(torch.cat([state, actions.flatten(1)], 1))[:, 0]
        return out


class Actor(nn.Module):
    """`mu(x, ref)`, the masked reference plus a perceptron."""

    def __init__(self, size: int, chunk: int, joints: int, hidden: tuple[int, ...]) -> None:
        """Perceptron whose last layer starts small."""
        super().__init__()
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(size, width), nn.ReLU()]
            size = width
        last = nn.Linear(size, chunk * joints)
        nn.init.zeros_(last.bias)
        last.weight.data.mul_(0.01)
        self.net = nn.Sequential(*layers, last)

    def forward(self, state: Tensor, reference: Tensor) -> Tensor:
        """Chunk (N, C, J)."""
        flat = reference.flatten(1)
        out: Tensor = (flat + self.net(torch.cat([state, flat], 1))).view_as(reference)
        return out


class EagerLearner:
    """The update of Algorithm 1, one line after the other."""

    def __init__(self, config: LearnerConfig, spec: ReplaySpec) -> None:
        """Fresh networks."""
        size = spec.token_dim + 2 * spec.joints + spec.chunk * spec.joints
        self.config = config
        self.actor = Actor(size, spec.chunk, spec.joints, config.hidden)
        self.critics = [Critic(size, config.hidden) for _ in range(config.critics)]
        self.targets = copy.deepcopy(self.critics)
        self.actor_optimiser = torch.optim.Adam(self.actor.parameters(), lr=config.actor_rate)
        parameters = [parameter for critic in self.critics for parameter in critic.parameters()]
        self.critic_parameters = parameters
        self.critic_optimiser = torch.optim.Adam(parameters, lr=config.critic_rate)
        self.updates = 0

    def update(self, batch: Batch) -> None:
        """Critics, then the actor every `actor_every`-th time, then the targets."""
        config = self.config
        with torch.no_grad():
            next_actions = self.actor(batch.next_state, batch.next_reference)
            values = torch.stack([t(batch.next_state, next_actions) for t in self.targets])
            target = (batch.rewards + batch.bootstrap * values.min(0).values).clamp(0.0, 1.0)
        loss = sum(((critic(batch.state, batch.actions) - target) ** 2).mean() for critic in self.critics)
        self.critic_optimiser.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        torch.nn.utils.clip_grad_norm_(self.critic_parameters, config.gradient_clip)
        self.critic_optimiser.step()
        self.updates += 1
        if self.updates % config.actor_every == 0:
            shown = (torch.rand(len(batch.state)) >= config.reference_dropout).float()
            actions = self.actor(batch.state, batch.reference * shown[:, None, None])
            anchor = ((actions - batch.reference) ** 2 * batch.valid[..., None]).mean()
            q = torch.stack([c(batch.state, actions) for c in self.critics]).mean(0)
            actor_loss = anchor - config.q_weight * (q / q.detach().abs().mean().clamp_min(1e-3)).mean()
            self.actor_optimiser.zero_grad()
            actor_loss.backward()
            torch.nn.utils.clip_grad_norm_(self.actor.parameters(), config.gradient_clip)
            self.actor_optimiser.step()
        with torch.no_grad():
            for critic, slow in zip(self.critics, self.targets, strict=True):
                for new, old in zip(critic.parameters(), slow.parameters(), strict=True):
                    old.mul_(1 - config.target_rate).add_(config.target_rate * new)
