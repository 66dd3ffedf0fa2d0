"""From the streams of a running robot to the replay: steps, policy inputs and outcomes, in whatever order they come."""

from __future__ import annotations

from collections import Counter

from rlt_ros.rl.replay import Replay
from rlt_ros.rl.samples import EpisodeBuilder
from rlt_ros.types import ControlStep, Outcome, Phase, PolicyInput


class Ingest:
    """Sorts steps into episodes of the current session and stores the critical phase.

    Steps and outcomes travel on different topics: an outcome is acted upon when a step later than it has arrived, and
    steps that the executor flew before it heard of the outcome are left out.
    """

    def __init__(self, builder: EpisodeBuilder, replay: Replay, *, takeover_fails: bool = False) -> None:
        """Fill `replay` through `builder`.

        Args:
            builder: of the samples.
            replay: that they go to.
            takeover_fails: where a human takes over the policy's part of the episode ends as a failure (as in RLIF, Luo
                et al., 2023); else what the human made of it counts for the policy too.
        """
        self._takeover_fails = takeover_fails
        self._builder = builder
        self._replay = replay
        self.counters: Counter[str] = builder.counters
        self.gaps = 0
        self._next_sequence: int | None = None
        self._epoch = 0
        self._episode = 0
        self._finished = 0
        self._ends: dict[int, tuple[float, Outcome]] = {}

    def session(self, epoch: int) -> None:
        """A session with this identity runs; a newer one makes what is unfinished belong to nobody."""
        if epoch > self._epoch:
            self._epoch, self._episode, self._finished = epoch, 0, 0
            self._ends.clear()
            self._builder.begin()

    def policy_input(self, message: PolicyInput) -> None:
        """What the steps refer to by sequence number."""
        self._builder.policy_input(message)

    def step(self, step: ControlStep) -> None:
        """One tick; stored if it belongs to a critical phase of this session."""
        if self._next_sequence is not None and step.sequence > self._next_sequence:
            self.gaps += step.sequence - self._next_sequence
        self._next_sequence = step.sequence + 1
        session = step.session
        if session.epoch != self._epoch:
            # Epoch 0 is an executor that has not heard of any session yet.
            self.counters["step_of_other_session"] += session.epoch != 0
            return
        self._finish_before(step.time)
        if session.phase is not Phase.CRITICAL or session.episode <= self._finished:
            return
        if session.episode != self._episode:
            if self._builder.ticks:
                self.counters["episode_without_end"] += 1
            self._builder.begin()
            self._replay.begin_episode()
            self._episode = session.episode
            self._ends = {episode: end for episode, end in self._ends.items() if episode >= self._episode}
        if self._takeover_fails and self._builder.takes_over(step):
            for segment in self._builder.end(self._builder.last_time, Outcome.FAILURE):
                self._replay.add(segment)
            self._replay.begin_episode(counted=False)
        for segment in self._builder.step(step):
            self._replay.add(segment)

    def end(self, epoch: int, episode: int, time: float, outcome: Outcome) -> None:
        """The outcome of an episode.

        Args:
            epoch: of the session.
            episode: that ended.
            time: when; the tick that contains it is the last one.
            outcome: how.
        """
        if epoch < self._epoch:
            self.counters["event_of_other_session"] += 1
            return
        self.session(epoch)
        if episode > self._finished:
            # Its steps may still be on their way; the one after the end says that all before it are here.
            self._ends[episode] = (time, outcome)
            self._finish_before(self._builder.last_time)

    def flush(self) -> None:
        """No further step of the running episode will come: close it if its outcome is known."""
        self._finish_before(float("inf"))

    def _finish_before(self, now: float) -> None:
        """Close the running episode if its outcome is known and lies before `now`."""
        if self._episode in self._ends and now > self._ends[self._episode][0]:
            time, outcome = self._ends.pop(self._episode)
            self._finished = self._episode
            for segment in self._builder.end(time, outcome):
                self._replay.add(segment)
