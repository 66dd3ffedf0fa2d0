"""HG-DAgger (Kelly et al., 2019, arXiv 1810.02890): the actor clones the human where the human took over.

No critic, no reward: who flies decides what is right. The actor is RLT's, on the same token and in the same chunks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from rlt_ros.rl.baseline_config import DaggerConfig
from rlt_ros.rl.method import Method, Part
from rlt_ros.rl.networks import ActorNetwork
from rlt_ros.rl.packed import Packed
from rlt_ros.rl.replay import Batch, Replay

_REPORT_EVERY = 10


class Dagger(Method[DaggerConfig]):
    """The novice; the session is the expert's gate."""

    def update(self) -> None:
        """`|| a - a_human ||^2` on demonstrations and interventions; before that on the base's actions too."""
        if not self.view.directions.known:
            self._find_directions()
        only_human = float(self.updates >= self.config.pretrain_updates)
        drawn = self.view(self.replay.sample(self.config.batch, self._generator, only_human))
        batch = self.view.disturbed(drawn, self._generator)
        distance = self.view.distance(self.actor.compute(batch.state, batch.reference), batch)
        self.actor.descend(distance.mean())
        self.updates += 1
        if self.updates % _REPORT_EVERY == 0:
            self.report.mix(actor_loss=distance.detach().mean(), anchor_distance=distance.detach().mean())

    def __init__(self, config: DaggerConfig, replay: Replay, motion: np.ndarray[Any, Any] | None = None) -> None:
        """Start with an actor that equals the reference, if it sees it; arguments and errors as of `Method`."""
        super().__init__(config, replay, motion)
        actor = ActorNetwork(
            self.view.state_size, self.view.coordinates, config.hidden, pass_through=config.pass_through
        )
        self.actor = Packed(actor.to(self.device), torch.float32, config.rate)

    def values(self, batch: Batch) -> None:
        """None: nothing is expected of anything."""

    @property
    def parts(self) -> Mapping[str, Part]:
        """See `Method`."""
        return {"actor": self.actor}
