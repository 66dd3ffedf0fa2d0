"""Tokens that come late: between episodes a slow VLA looks at the pictures for which it had no time in flight.

In flight a state holds the token of the newest pass, whose pictures are up to a pass and its latency old; several
states share one. Here each gets the token of its own moment (RL Token, section 3.2: chunks are sampled at a stride that
is shorter than the chunk, and the states in between need tokens too).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

import numpy as np

from rlt_ros.refusals import Refusals
from rlt_ros.rl.replay import Replay
from rlt_ros.rl.samples import StateRecord
from rlt_ros.types import Array32, PolicyInput

REACH = 1.0
"""Seconds that a token may be older than the state that it is given to."""
_STATES, _TOKENS = 15_000, 3_000
"""That are remembered: ten minutes of states at 25 a second; of tokens those whose states may not be stored yet."""


class Backfill:
    """One robot's states and late tokens, in whatever order they come: a state ends with the newest before it."""

    def __init__(self, replay: Replay, bundle_id: str, refusals: Refusals) -> None:
        """Replace tokens in `replay`; those of another bundle than `bundle_id` are refused."""
        self._replay, self._bundle_id, self._refusals = replay, bundle_id, refusals
        self._times: list[float] = []
        self._states: list[tuple[int, float]] = []  # serial number, when the pictures of its token were taken
        self._tokens: dict[float, Array32] = {}
        self._taken: list[float] = []  # keys of `_tokens`, rising
        self.filled = 0

    def stored(self, serial: int, state: StateRecord) -> None:
        """A state that the replay has got, with the serial number that it has there."""
        if not state.valid:
            return
        if self._times and state.time < self._times[-1]:  # a clock was set back
            self._times, self._states = [], []
        if len(self._times) >= 2 * _STATES:
            del self._times[:_STATES], self._states[:_STATES]
        self._times.append(state.time)
        self._states.append((serial, state.seen))
        place = bisect_right(self._taken, state.time) - 1
        if place >= 0:
            self._fill(len(self._times) - 1, self._taken[place])

    def policy_input(self, message: PolicyInput) -> None:
        """What the VLA says, later, of a moment of flight."""
        if message.bundle_id != self._bundle_id or message.token.shape != (self._replay.spec.token_dim,):
            self._refusals.refuse("input_wrong_bundle", message.bundle_id)
            return
        if not np.isfinite(message.token).all():
            self._refusals.refuse("input_not_finite", "backfill")
            return
        taken = message.captured
        if taken not in self._tokens:
            insort(self._taken, taken)
        self._tokens[taken] = message.token
        if len(self._taken) > _TOKENS:
            del self._tokens[self._taken.pop(0)]
        for index in range(bisect_left(self._times, taken), len(self._times)):
            if self._times[index] >= taken + REACH:
                break
            self._fill(index, taken)

    def _fill(self, index: int, taken: float) -> None:
        serial, seen = self._states[index]
        if seen < taken and self._times[index] - taken < REACH and taken in self._tokens:
            self._states[index] = (serial, taken)
            self.filled += self._replay.replace_token(serial, self._tokens[taken])
