"""A batch as the networks see it: what they read of a state, chunks as coordinates, distances along directions.

Two things are left out, and have two words: a reference is *shown* to the actor or hidden from it (dropout), and a
chunk's rows were *executed* or came after the episode's end.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rlt_ros.rl.baseline_config import BaselineConfig
from rlt_ros.rl.config import LearnerConfig
from rlt_ros.rl.directions import Directions
from rlt_ros.rl.replay import Batch, ReplaySpec


class Seen(NamedTuple):
    """A batch of N samples; the meaning of each column is that in `Batch`, chunks are coordinates (N, K)."""

    state: Tensor  # (N, S)
    actions: Tensor
    reference: Tensor
    anchor: Tensor
    executed: Tensor  # (N, C)
    rewards: Tensor  # (N,)
    bootstrap: Tensor  # (N,)
    next_state: Tensor  # (N, S)
    next_reference: Tensor
    returned: Tensor  # (N,)


class View:
    """Between the replay and the networks.

    Attributes:
        read: 1 for the numbers of a state that the networks read, 0 for others, shape (S,).
        directions: of chunks; they must be known before a batch is looked at.
    """

    def __init__(self, config: LearnerConfig | BaselineConfig, spec: ReplaySpec, device: torch.device) -> None:
        """A view without directions."""
        self.device, self.state_size = device, spec.state_size
        self.read = torch.ones(self.state_size, device=device)
        if config.proprio == "position":
            self.read[(spec.token_dim + spec.state_size) // 2 :] = 0.0
        size = spec.chunk * spec.joints
        self.coordinates = min(config.directions, size)
        self.directions = Directions(torch.zeros(self.coordinates, size, device=device))
        self._state_noise, self._generator = config.state_noise, torch.Generator(device)

    def __call__(self, batch: Batch) -> Seen:
        """Without noise."""
        on_device = [tensor.to(self.device, non_blocking=True) for tensor in batch]
        seen = Batch(*on_device)
        of = self.directions.coordinates
        return Seen(
            state=seen.state * self.read,
            actions=of(seen.actions),
            reference=of(seen.reference),
            anchor=of(seen.anchor),
            executed=seen.executed,
            rewards=seen.rewards,
            bootstrap=seen.bootstrap,
            next_state=seen.next_state * self.read,
            next_reference=of(seen.next_reference),
            returned=seen.returned,
        )

    def disturbed(self, seen: Seen, draw: np.random.Generator) -> Seen:
        """With noise on what is read of the states: networks of this size learn single episodes by heart."""
        if not self._state_noise:
            return seen
        self._generator.manual_seed(int(draw.integers(2**62)))
        states = []
        for state in (seen.state, seen.next_state):
            noise = torch.empty_like(state).normal_(generator=self._generator)
            states.append(state.addcmul(noise, self.read, value=self._state_noise))
        return seen._replace(state=states[0], next_state=states[1])

    def distance(self, actions: Tensor, seen: Seen) -> Tensor:
        """Mean squared distance of actions (N, K) from the anchor in executed rows, along the directions; (N,)."""
        difference = actions - seen.anchor
        if not seen.executed.all():
            chunks = self.directions.chunks(difference).view(*seen.executed.shape, -1)
            difference = self.directions.coordinates(chunks * seen.executed[..., None])
        return difference.square().mean(1)
