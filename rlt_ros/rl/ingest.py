"""From the streams of a running robot to the replay: steps, policy inputs and outcomes, in whatever order they come."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from rlt_ros.rl.backfill import Backfill
from rlt_ros.rl.replay import Replay
from rlt_ros.rl.samples import EpisodeBuilder, Segment
from rlt_ros.types import ControlStep, Outcome, Phase, PolicyInput, State

_SAME_CLOCK = 60.0
"""Seconds that the end of an episode and its newest step may be apart."""


class Ingest:
    """Sorts steps into episodes of the current session and stores the critical phase.

    Steps and outcomes travel on different topics. The end of an episode is stored when the first step of a later one
    arrives: until then all steps before it are here, and a label may still be changed.
    """

    def __init__(
        self,
        builder: EpisodeBuilder,
        replay: Replay,
        *,
        whole_episodes: bool = False,
        patience: float = 25.0,
    ) -> None:
        """Fill `replay` through `builder`.

        Args:
            builder: of the samples.
            replay: that they go to.
            whole_episodes: others fill this replay too: an episode is stored when it is over, in one piece.
            patience: seconds of steps that are kept while the policy input they name, or the end of the episode before,
                is on its way. A node that starts again is given the last 20 s of each topic, one topic after another.
        """
        self._builder = builder
        self._replay = replay
        self.refusals = builder.refusals
        self.backfill = Backfill(replay, builder.bundle_id, builder.refusals)
        self.gaps = 0
        self.duplicates = 0
        self._first = True
        self._patience = patience
        self._whole_episodes = whole_episodes
        self._waiting: list[tuple[bool, list[Segment]]] = []
        self._next_sequence: int | None = None
        self._newest, self._newest_episode = -float("inf"), -1
        self._queue: deque[tuple[ControlStep, int]] = deque()
        self._epoch = 0
        self._episode = 0
        self._finished = 0
        self._ends: dict[int, tuple[float, Outcome]] = {}

    @property
    def counters(self) -> Counter[str]:
        """What was left out, and how often."""
        return self.refusals.counts

    def session(self, epoch: int) -> None:
        """A session with this identity runs; a newer one makes what is unfinished belong to nobody."""
        if epoch > self._epoch:
            self.flush()
            self._epoch, self._episode, self._finished = epoch, 0, 0
            self._ends.clear()
            self._builder.begin()

    def policy_input(self, message: PolicyInput) -> None:
        """What the steps refer to by sequence number."""
        self._builder.policy_input(message)
        self._advance()

    def step(self, step: ControlStep) -> None:
        """One tick; stored if it belongs to a critical phase of this session, and did not come before."""
        expected = self._next_sequence
        # The clock may be set back, and an executor that starts again counts anew: neither alone tells.
        if expected is not None and step.sequence < expected and step.time <= self._newest:
            self.duplicates += 1
            return
        self._next_sequence, self._newest = step.sequence + 1, step.time
        self._newest_episode = step.session.episode
        missing = max(0, step.sequence - expected) if expected is not None else 0
        self.gaps += 0 if self._first else missing
        self._first = False
        self.session(step.session.epoch)
        self._queue.append((step, missing))
        self._advance()

    def _advance(self, *, wait: bool = True) -> None:
        """Take the steps that everything is here for, in order; without `wait` all."""
        while self._queue:
            step, missing = self._queue[0]
            if wait and not self._complete(step) and abs(self._newest - step.time) < self._patience:
                return
            self._queue.popleft()
            self._take(step, missing)

    def _complete(self, step: ControlStep) -> bool:
        session = step.session
        open_end = session.episode > self._episode and self._builder.ticks and self._episode not in self._ends
        return not open_end and (session.phase is not Phase.CRITICAL or self._builder.knows(step.input_sequence))

    def _take(self, step: ControlStep, missing: int) -> None:
        session = step.session
        if session.epoch != self._epoch:
            # Epoch 0 is an executor that has not heard of any session yet.
            if session.epoch:
                self.refusals.refuse("step_of_other_session", f"epoch {session.epoch}, now is {self._epoch}")
            return
        if session.episode > self._episode:
            self._flush()
        if session.phase is not Phase.CRITICAL or session.episode <= self._finished:
            return
        if session.episode != self._episode:
            if self._builder.ticks:
                self.refusals.refuse("episode_without_end", f"episode {self._episode}")
            self._builder.begin()
            self._begin(counted=True)
            self._episode = session.episode
            self._ends = {episode: end for episode, end in self._ends.items() if episode >= self._episode}
        if step.time > self._ends.get(self._episode, (float("inf"), Outcome.NONE))[0]:
            self.refusals.refuse("step_after_end", f"episode {self._episode}")
            return  # flown before the executor heard of the end
        held = step.state in (State.HOLD, State.ESTOP)
        if (missing or held) and self._builder.ticks:
            # Rows are a period apart: nothing may reach over what is missing, or over a robot that is held.
            self.refusals.refuse("episode_cut_by_hold" if held else "episode_cut_by_gap", step.reason)
            self._add(self._builder.end(self._builder.last_time, Outcome.ABORT))
            self._begin(counted=False)
        if held:
            return
        self._add(self._builder.step(step))

    def end(self, epoch: int, episode: int, time: float, outcome: Outcome) -> None:
        """The outcome of an episode.

        Args:
            epoch: of the session.
            episode: that ended.
            time: when; the tick that contains it is the last one.
            outcome: how.
        """
        if epoch < self._epoch:
            self.refusals.refuse("event_of_other_session", f"epoch {epoch}, now is {self._epoch}")
            return
        self.session(epoch)
        if episode > self._finished:
            if episode == self._newest_episode and abs(time - self._newest) > _SAME_CLOCK:
                self.refusals.refuse("event_clock", f"{time - self._newest:.0f} s off")
                time = self._newest
            self._ends[episode] = (time, outcome)
            self._advance()

    def label(self, epoch: int, episode: int, outcome: Outcome) -> None:
        """The outcome of an ended episode is another one; its last tick stays the same."""
        if epoch < self._epoch:
            self.refusals.refuse("event_of_other_session", f"epoch {epoch}, now is {self._epoch}")
        elif episode in self._ends:
            self._ends[episode] = (self._ends[episode][0], outcome)
        else:
            self.refusals.refuse("label_too_late", f"episode {episode}")

    def flush(self) -> None:
        """No further step of the running episode will come: close it if its outcome is known."""
        self._advance(wait=False)
        self._flush()

    def _flush(self) -> None:
        if self._episode in self._ends:
            time, outcome = self._ends.pop(self._episode)
            self._finished = self._episode
            self._add(self._builder.end(time, outcome))
            self._store()

    def rebuilt(self) -> None:
        """What came so far was read back from a journal, which leaves out steps between episodes."""
        self.gaps = self.duplicates = 0
        self._first = True

    def _begin(self, *, counted: bool) -> None:
        if self._whole_episodes:
            if counted:
                self._store()  # of an episode whose end is not known, what is there
            self._waiting.append((counted, []))
        else:
            self._replay.begin_episode(counted=counted)

    def _add(self, segments: Iterable[Segment]) -> None:
        if self._whole_episodes:
            self._waiting[-1][1].extend(segments)
            return
        for segment in segments:
            self._to_replay(segment)

    def _to_replay(self, segment: Segment) -> None:
        self._replay.add(segment)
        self.backfill.stored(self._replay.written - 1, segment.state)

    def _store(self) -> None:
        """Whole episodes, one after the other: a state's successor stands next to it."""
        for counted, segments in self._waiting:
            self._replay.begin_episode(counted=counted)
            for segment in segments:
                self._to_replay(segment)
        self._waiting.clear()
