"""What a learner says of itself."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class UpdateReport:
    """Running means over the last updates, for people."""

    critic_loss: float = 0.0
    actor_loss: float = 0.0
    q_mean: float = 0.0
    target_mean: float = 0.0
    anchor_distance: float = 0.0

    def mix(self, **values: Tensor) -> None:
        """Move each running mean a fifth towards a new value; called for every tenth update."""
        for name, value in values.items():
            old = getattr(self, name)
            setattr(self, name, old + 0.2 * (float(value) - old))
