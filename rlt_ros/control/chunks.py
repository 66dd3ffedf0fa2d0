"""Chunks of motion: made from a policy input at a boundary, played row by row."""

from __future__ import annotations

import time

import numpy as np

from rlt_ros.control.actor import OWN, Actor
from rlt_ros.control.config import ExecutorConfig
from rlt_ros.control.realtime import Histogram
from rlt_ros.control.timeline import reference_actions, row_at
from rlt_ros.normaliser import Normaliser
from rlt_ros.types import ActionChunk, Array, Array32, PolicyInput, SessionView, State


class ChunkPlayer:
    """Plays one chunk at a time, of the reference or of the actor."""

    def __init__(self, config: ExecutorConfig, normaliser: Normaliser) -> None:
        """Start with no chunk and no actor."""
        self.actor: Actor | None = None
        self.actor_time = Histogram()
        self._config = config
        self._normaliser = normaliser
        self._next_actor: Actor | None = None
        self._chunk: ActionChunk | None = None
        self._next_row = 0
        self._tail: Array32 | None = None
        self._ease_ticks = self._eased = 0
        self._noise = np.random.default_rng(config.seed)
        self._noise_episode, self._explored = -1, 0

    @property
    def has_actor(self) -> bool:
        """Whether one flies, or will from the next boundary on."""
        return self.actor is not None or self._next_actor is not None

    @property
    def candidate(self) -> float:
        """Of the running chunk; see `ActionChunk`."""
        return self._chunk.candidate if self._chunk is not None else OWN

    @property
    def row(self) -> int:
        """Of the running chunk, that was played last; 0 without one."""
        return self._next_row - 1 if self._chunk is not None else 0

    def offer(self, actor: Actor) -> None:
        """An actor that flies from the next boundary on."""
        self._next_actor = actor

    def stop(self) -> None:
        """Drop the running chunk."""
        self._chunk = None

    def ease_in(self, ticks: int) -> None:
        """Let the motion rise from rest over so many ticks; 0: no longer."""
        self._ease_ticks, self._eased = ticks, 0

    def due(self, now: float, source: State) -> bool:
        """Whether this tick needs a new chunk: there is none, it is done, or it belongs to another state."""
        running = self._chunk
        if running is None or running.source is not source:
            self._tail = None
            return True
        # A tick that came late by whole periods leaves out the rows that were meant for them.
        self._next_row = max(self._next_row, row_at(now, running.start, self._config.period))
        return self._next_row >= len(running.actions)

    def start(
        self, now: float, source: State, policy_input: PolicyInput, proprio: Array32, base: Array, session: SessionView
    ) -> tuple[str, ActionChunk | None]:
        """Make the chunk whose row 0 is meant for this tick.

        Args:
            now: time of the tick.
            source: REFERENCE or ACTOR; for the latter there must be an actor.
            policy_input: policy input to start from.
            proprio: normalised proprioception, shape (2 M,).
            base: the last command, shape (J,).
            session: whether to explore, and in which episode.

        Returns:
            What is wrong and None, or "" and the chunk.
        """
        config = self._config
        if self._next_actor is not None:
            self.actor, self._next_actor = self._next_actor, None
        rows = config.chunk if source is State.ACTOR else config.reference_rows
        reference = reference_actions(policy_input, now, rows, self._normaliser)
        if reference is None:
            return "reference_too_short", None
        actions, version, candidate = reference * np.float32(config.reference_speed), 0, OWN
        if source is State.ACTOR:
            assert self.actor is not None
            if policy_input.token.shape != (self.actor.spec.token_dim,):
                return "token_size", None
            began = time.perf_counter()
            noise = self._noise_of(session, self.actor.explores_for) if session.explore else None
            actions, candidate = self.actor.choose(policy_input.token, proprio, reference, noise)
            self.actor_time.add(time.perf_counter() - began)
            version = self.actor.version
        elif config.blend_ticks:
            actions = self._blended(actions)
            longer = reference_actions(policy_input, now, rows + config.blend_ticks, self._normaliser)
            self._tail = None if longer is None else longer[rows:] * np.float32(config.reference_speed)
        self._chunk = ActionChunk(
            start=now,
            source=source,
            actions=actions,
            reference=reference,
            proprio=proprio,
            input_sequence=policy_input.sequence,
            input_age=now - policy_input.captured,
            policy_version=version,
            base=base,
            candidate=candidate,
        )
        self._next_row = 0
        return "", self._chunk

    def target(self, previous: Array) -> Array:
        """Joint targets of this tick, shape (J,), from those of the one before."""
        assert self._chunk is not None
        row = self._chunk.actions[self._next_row : self._next_row + 1]
        self._next_row += 1
        target = np.asarray(self._normaliser.targets(row, previous)[0])
        if self._eased >= self._ease_ticks:
            return target
        self._eased += 1
        return np.asarray(previous + (target - previous) * (self._eased / self._ease_ticks))

    def ahead(self, command: Array, rows: int) -> Array:
        """The joint targets planned after `command`, at most `rows` of them; none while the motion rises from rest."""
        if self._chunk is None or self._eased < self._ease_ticks:
            return np.zeros((0, len(command)))
        return self._normaliser.targets(self._chunk.actions[self._next_row : self._next_row + rows], command)

    def _noise_of(self, session: SessionView, ticks: int) -> np.random.Generator:
        """What this episode's exploration is drawn from: the same for so many ticks, at least for a chunk."""
        seed, episode = self._config.seed, session.episode
        if episode != self._noise_episode:
            self._noise_episode, self._explored = episode, 0
            self._noise = np.random.default_rng([seed, episode])
        if self._config.chunk >= ticks:
            return self._noise
        kept = self._explored // ticks
        self._explored += self._config.chunk
        return np.random.default_rng([seed, episode, kept])

    def _blended(self, actions: Array32) -> Array32:
        """A reference chunk whose first rows come out of what the one before would have gone on with."""
        tail = self._tail
        if tail is None:
            return actions
        out, rows = actions.copy(), min(len(tail), len(actions))
        share = (np.arange(1, rows + 1, dtype=np.float32) / np.float32(len(tail) + 1))[:, None]
        out[:rows] = share * actions[:rows] + (1 - share) * tail[:rows]
        return out
