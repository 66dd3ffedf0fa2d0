"""The residual of PLD (Xiao et al., 2025, arXiv 2511.00091), its stage 1: a small correction of a frozen VLA.

The base flies alone first. Its successes stay half of every batch for good, and the critics learn from them what they
are worth (Cal-QL, Nakamoto et al., 2023, arXiv 2303.05479) before any residual is trained. Stages 2 and 3, which gather
data with the residual and distil it into the VLA, are not here: the VLA stays frozen for every method.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlt_ros.rl.baseline_config import PldConfig
from rlt_ros.rl.method import Part
from rlt_ros.rl.replay import Replay
from rlt_ros.rl.sac import Sac
from rlt_ros.rl.view import Seen


class Pld(Sac[PldConfig]):
    """Soft actor-critic on `a = a_base + a_residual`; the actor sees `a_base`, the critics judge `a`."""

    residual = True
    largest_gradient = 1.0

    def update(self) -> None:
        """At first the critics on the base's successes; then critics, every second time residual and temperature."""
        if not self.view.directions.known:
            self._find_directions()
        if not self.offline.known:
            self.offline.gather(self.replay)
        pretraining = self.updates < self.config.pretrain_updates
        batch = self._draw(1.0 if pretraining else self.config.offline_mix)
        loss, values, target = self._temporal_difference(batch)
        if pretraining:
            loss = loss + self.config.conservative_weight * self._conservative(batch, values)
        self._update_critics(loss, values, target)
        self.updates += 1
        if not pretraining and self.updates % self.config.actor_every == 0:
            self._update_actor(batch)

    def _conservative(self, batch: Seen, values: Tensor) -> Tensor:
        """Cal-QL: values of what was not done fall below those of what was, but not below what the base returned.

        `log sum exp Q(s, a) - Q(s, a_done)` over actions drawn evenly and by the residual here and at the next state,
        where the residual's count as at least the return that was observed.
        """
        drawn: list[Tensor] = []
        with torch.no_grad():
            for _ in range(self.config.conservative_draws):
                evenly = self._generator.uniform(-1, 1, batch.reference.shape).astype(np.float32)
                drawn.append(batch.reference + self._largest * torch.from_numpy(evenly).to(self.device))
            for state, reference in ((batch.state, batch.reference), (batch.next_state, batch.next_reference)):
                drawn += [self._act(state, reference)[0] for _ in range(self.config.conservative_draws)]
        scores = self.critics.compute(batch.state, torch.stack(drawn, 1))  # (E, N, M)
        evenly, by_residual = scores.split([self.config.conservative_draws, 2 * self.config.conservative_draws], 2)
        floor = batch.returned.nan_to_num(0.0)[None, :, None]
        scores = torch.cat([evenly, torch.maximum(by_residual, floor)], 2)
        return (scores.logsumexp(2) - values).mean(1).sum()

    def _draw(self, offline_mix: float) -> Seen:
        of_base = self.offline.draw(round(offline_mix * self.config.batch), self.replay, self._generator)
        rest = self.replay.draw(self.config.batch - len(of_base), self._generator)
        return self._seen(self.replay.gather(np.concatenate([of_base, rest])))

    # -- around the algorithm ------------------------------------------------------------------------------

    def __init__(self, config: PldConfig, replay: Replay, motion: np.ndarray[Any, Any] | None = None) -> None:
        """Start with a residual that is next to nothing; arguments and errors as of `Method`."""
        super().__init__(config, replay, motion)
        self.offline = Successes()

    @property
    def base_episodes(self) -> int:
        """See `Method`."""
        return self.config.base_episodes

    @property
    def budget(self) -> int:
        """None while the base flies alone; then the pre-training, and the ratio of the samples that came since."""
        if not self.offline.known:
            begins = self.replay.episodes > self.base_episodes and self.replay.samples >= self.config.warmup_samples
            return self.config.pretrain_updates + 1 if begins else 0
        since = self.update_ratio * (self.replay.samples - self.offline.since)
        return max(0, self.config.pretrain_updates + int(since) - self.updates)

    @property
    def bound(self) -> float:
        """The largest residual now (xi of the paper), along each direction, in their units."""
        low, high = self.config.residual
        grown = (self.updates - self.config.pretrain_updates) / self.config.residual_updates
        return self.config.action_range * (low + (high - low) * min(1.0, max(0.0, grown)))

    @property
    def _largest(self) -> float:
        return self.config.action_range * self.config.residual[1]

    @property
    def parts(self) -> Mapping[str, Part]:
        """See `Method`."""
        return {**super().parts, "offline": self.offline}

    @property
    def schedule(self) -> dict[str, float]:
        """See `Method`."""
        return {**super().schedule, "residual": self.bound / self.config.action_range}


class Successes:
    """The samples of episodes that succeeded before the first update: the base's own, and a human's.

    Attributes:
        since: samples that were stored then; -1: not known yet.
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        self.since = -1
        self._serials: NDArray[np.int64] = np.zeros(0, np.int64)

    @property
    def known(self) -> bool:
        """Whether they were gathered."""
        return self.since >= 0

    def gather(self, replay: Replay) -> None:
        """Take those that the replay holds now."""
        serials = replay.usable_since(0)
        self._serials = serials[(replay.gather(serials).returned > 0).numpy()]
        self.since = replay.samples

    def draw(self, size: int, replay: Replay, generator: np.random.Generator) -> NDArray[np.int64]:
        """Serial numbers of `size` of them that are still there; none if there are none."""
        kept = self._serials[self._serials > replay.written - replay.spec.capacity]
        return kept[generator.integers(0, len(kept), size)] if len(kept) else kept

    def stored(self) -> dict[str, Tensor]:
        """See `Part`."""
        return {"serials": torch.from_numpy(self._serials), "since": torch.tensor([self.since])}

    def restore(self, stored: dict[str, Tensor]) -> None:
        """See `Part`."""
        self._serials, self.since = stored["serials"].numpy().copy(), int(stored["since"])
