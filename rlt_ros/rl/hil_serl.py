"""HIL-SERL (Luo et al., 2024, arXiv 2410.21845): soft actor-critic on prior data (RLPD), a human, no VLA in the action.

One tick is one action. Half of each batch is what a human flew, demonstrations and interventions alike.
"""

from __future__ import annotations

from rlt_ros.rl.baseline_config import HilSerlConfig
from rlt_ros.rl.sac import Sac


class HilSerl(Sac[HilSerlConfig]):
    """The learner's side of the paper's Algorithm 1; the actor's side flies, and the human takes over."""

    def update(self) -> None:
        """The critics, and every second time the actor and the temperature."""
        if not self.view.directions.known:
            self._find_directions()
        batch = self._seen(self.replay.sample(self.config.batch, self._generator, self.config.human_mix))
        self._update_critics(*self._temporal_difference(batch))
        self.updates += 1
        if self.updates % self.config.actor_every == 0:
            self._update_actor(batch)
