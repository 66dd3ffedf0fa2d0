"""What the learner says of itself, once a second."""

from __future__ import annotations

import time

from rlt_ros import msg
from rlt_ros.rl.learner import Learner
from rlt_ros.ros.learner_inputs import LearnerInputs


class Pace:
    """How many updates a second are done, by the clock and while there is something to do."""

    def __init__(self) -> None:
        """Nothing was done yet."""
        self._busy_seconds, self._busy_updates = 0.0, 0
        self._looked = time.monotonic()
        self._updates = 0
        self.next_look = self._looked + 1.0

    def worked(self, updates: int, seconds: float) -> None:
        """So many updates were done in so many seconds."""
        self._busy_seconds += seconds
        self._busy_updates += updates
        self._updates += updates

    def look(self) -> tuple[float, float]:
        """Updates a second since the last look, and while it was busy."""
        now = time.monotonic()
        rate = self._updates / max(1e-3, now - self._looked)
        self._looked, self._updates, self.next_look = now, 0, now + 1.0
        return rate, self._busy_updates / self._busy_seconds if self._busy_updates else 0.0


def learner_status(learner: Learner, inputs: LearnerInputs, pace: Pace) -> msg.LearnerStatus:
    """All but what only the node knows: stamp, version and age of the weights, whether it is paused."""
    report, replay = learner.report, learner.replay
    message = msg.LearnerStatus()
    message.samples = replay.samples
    message.updates = learner.updates
    message.updates_per_s, message.updates_per_s_busy = pace.look()
    message.update_ratio = learner.updates / max(1, replay.samples)
    message.critic_loss = report.critic_loss
    message.actor_loss = report.actor_loss
    message.q_mean = report.q_mean
    message.target_mean = report.target_mean
    message.anchor_distance = report.anchor_distance
    message.episodes = replay.episodes
    message.backfilled = inputs.backfilled
    message.samples_by_source = [int(count) for count in replay.samples_by_source]
    message.gaps, message.duplicates = inputs.gaps, inputs.duplicates
    counters = inputs.counters
    message.counter_names, message.counter_values = list(counters), list(counters.values())
    return message
