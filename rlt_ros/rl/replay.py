"""The replay buffer: every tick and every state is stored once; chunks are gathered when sampling."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlt_ros.rl.samples import Segment
from rlt_ros.types import Array32, State


@dataclass(frozen=True)
class ReplaySpec:
    """Sizes of what is stored.

    Attributes:
        capacity: states (samples) kept; the oldest are overwritten.
        token_dim: size of the RL token (D).
        joints: number of joints (J).
        chunk: rows of an action chunk (C).
        stride: ticks between states.
        discount: gamma, per tick.
        measured: numbers of proprioception (2 M); 0: positions and velocities of all joints, 2 J.
    """

    capacity: int
    token_dim: int
    joints: int
    chunk: int = 10
    stride: int = 2
    discount: float = 0.998
    measured: int = 0

    @property
    def state_size(self) -> int:
        """Numbers of a state x = (token, proprioception)."""
        return self.token_dim + (self.measured or 2 * self.joints)


_DIGEST = 16


class Batch(NamedTuple):
    """A batch of samples, in float32; N is the batch size.

    `rewards` is the discounted sum within the chunk, `bootstrap` is gamma^C, or 0 after an episode's end.
    """

    state: Tensor  # (N, D + 2 M): x = (token, proprioception)
    actions: Tensor  # (N, C, J)
    reference: Tensor  # (N, C, J)
    anchor: Tensor  # (N, C, J): what the actor is held to: the reference, in rows that a human flew the human's action
    executed: Tensor  # (N, C): rows that were; the others would have come after the end
    rewards: Tensor  # (N,)
    bootstrap: Tensor  # (N,)
    next_state: Tensor  # (N, D + 2 M)
    next_reference: Tensor  # (N, C, J)
    returned: Tensor  # (N,): discounted rewards from here to the episode's end; NaN while it is not known


class _Serials:
    """Serial numbers of states that may start a sample, rising, in a ring."""

    def __init__(self, capacity: int) -> None:
        self._ring = np.zeros(capacity, dtype=np.int64)
        self._from = 0
        self._to = 0

    def __len__(self) -> int:
        return self._to - self._from

    def append(self, serial: int) -> None:
        self._ring[self._to % len(self._ring)] = serial
        self._to += 1

    def drop_before(self, oldest: int) -> None:
        while len(self) and self._ring[self._from % len(self._ring)] < oldest:
            self._from += 1

    def draw(self, size: int, generator: np.random.Generator) -> NDArray[np.int64]:
        return self._ring[generator.integers(self._from, self._to, size) % len(self._ring)]

    def all(self) -> NDArray[np.int64]:
        return self._ring[np.arange(self._from, self._to) % len(self._ring)]

    def replace(self, serials: NDArray[np.int64]) -> None:
        self._ring[: len(serials)] = serials
        self._from, self._to = 0, len(serials)


class Replay:
    """A ring of states; state p owns the ticks `[p * stride, (p + 1) * stride)` of a ring of ticks."""

    def __init__(self, spec: ReplaySpec) -> None:
        """Allocate everything at once."""
        self.spec = spec
        n, joints = spec.capacity, spec.joints
        self._state = torch.zeros(n, spec.state_size, dtype=torch.float16)
        self._reference = torch.zeros(n, spec.chunk, joints, dtype=torch.float16)
        self._rows = torch.zeros(n, dtype=torch.int64)
        self._terminal = torch.zeros(n, dtype=torch.bool)
        self._actions = torch.zeros(n * spec.stride, joints, dtype=torch.float16)
        self._human = torch.zeros(n * spec.stride, dtype=torch.bool)
        self._reward = torch.zeros(n * spec.stride)
        self._returned = torch.full((n,), torch.nan)
        for tensor in (self._state, self._reference, self._actions):
            tensor.fill_(0)  # have the memory now, or fail now: zeros alone are only promised by the system
        self._episode_from = 0
        self._discounts = spec.discount ** torch.arange(spec.chunk, dtype=torch.float32)
        self._tick_offsets = torch.arange(spec.chunk)
        self._ahead = spec.chunk // spec.stride
        self._written = 0
        self._usable = _Serials(n)
        self._usable_human = _Serials(n)
        self._pending: list[tuple[int, bool]] = []
        self.samples = 0
        self.episodes = 0
        self.samples_by_source = np.zeros(5, dtype=np.int64)
        self.digest = bytes(_DIGEST)
        self._marked = -1
        self.marked_digest = b""

    def mark(self, written: int) -> None:
        """Keep the digest as it is when `written` states are stored, in `marked_digest`."""
        self._marked = written
        self.marked_digest = self.digest if written == self._written else b""

    def __len__(self) -> int:
        """Samples that can be drawn now."""
        return len(self._usable)

    @property
    def bytes_per_sample(self) -> float:
        """Memory of one stored state with its ticks."""
        tensors = [
            t for t in vars(self).values() if isinstance(t, Tensor) and t.shape[:1].numel() >= self.spec.capacity
        ]
        return sum(t.numel() * t.element_size() for t in tensors) / self.spec.capacity

    def begin_episode(self, *, counted: bool = True) -> None:
        """States added from here on do not continue the ones before; `counted` unless they are of the same episode."""
        self._pending.clear()
        self._episode_from = self._written
        self.episodes += counted

    def add(self, segment: Segment) -> None:
        """Store a state with its ticks; samples become usable as soon as the state C ticks later is stored."""
        spec, serial = self.spec, self._written
        p = serial % spec.capacity
        self._evict(serial)
        self._state[p, : spec.token_dim] = torch.from_numpy(np.asarray(segment.state.token))
        self._state[p, spec.token_dim :] = torch.from_numpy(segment.state.proprio)
        self._reference[p] = torch.from_numpy(segment.state.reference)
        ticks = slice(p * spec.stride, (p + 1) * spec.stride)
        self._actions[ticks] = torch.from_numpy(segment.actions)
        self._reward[ticks] = torch.from_numpy(segment.reward)
        self._human[ticks] = torch.from_numpy(segment.sources == State.HUMAN)
        self._rows[p] = segment.rows
        self._terminal[p] = segment.terminal
        self._returned[p] = torch.nan
        self._digest(segment, p)
        self.samples_by_source += np.bincount(segment.sources[: segment.rows], minlength=5)
        self._written += 1
        self._pending.append((serial, segment.state.valid))
        # In the order they were written, because eviction relies on it.
        if len(self._pending) > self._ahead:
            self._complete_sample(next_valid=segment.state.valid)
        if segment.terminal and segment.rows <= spec.stride:
            while self._pending:
                self._complete_sample(next_valid=False)
            self._look_back()

    def replace_token(self, serial: int, token: Array32) -> bool:
        """Give state `serial` another token; False: it is not here any more. `digest` stays that of what was added."""
        if not self._written - self.spec.capacity <= serial < self._written:
            return False
        self._state[serial % self.spec.capacity, : self.spec.token_dim] = torch.from_numpy(token)
        return True

    def _digest(self, segment: Segment, p: int) -> None:
        """Chain the hash of everything that was ever stored: two replays with the same one hold the same."""
        ticks = slice(p * self.spec.stride, (p + 1) * self.spec.stride)
        hashed = hashlib.blake2b(self.digest, digest_size=_DIGEST)
        for tensor in (self._state[p], self._reference[p], self._actions[ticks], self._reward[ticks]):
            hashed.update(tensor.numpy().data)
        hashed.update(segment.sources.astype(np.uint8).data)
        hashed.update(bytes([segment.rows, segment.terminal, segment.state.valid]))
        self.digest = hashed.digest()
        if self._written + 1 == self._marked:
            self.marked_digest = self.digest

    def _look_back(self) -> None:
        """The episode is over: what every state of it was worth."""
        spec = self.spec
        first = max(self._episode_from, self._written - spec.capacity)
        positions = np.arange(first, self._written) % spec.capacity
        within = self._reward.view(-1, spec.stride).numpy()[positions] @ self._discounts[: spec.stride].numpy()
        returned, worth, discount = np.zeros(len(positions), np.float32), 0.0, spec.discount**spec.stride
        for index in range(len(positions) - 1, -1, -1):
            worth = within[index] + discount * worth
            returned[index] = worth
        self._returned[torch.from_numpy(positions)] = torch.from_numpy(returned)

    def _complete_sample(self, next_valid: bool) -> None:
        """The oldest pending state becomes a sample if it ends its episode or its next state is known."""
        serial, valid = self._pending.pop(0)
        if valid and (next_valid or bool(self._terminal[serial % self.spec.capacity])):
            self._usable.append(serial)
            self.samples += 1
            if self._by_human(serial):
                self._usable_human.append(serial)

    def _by_human(self, serial: int) -> bool:
        """Whether a human flew from this state on."""
        return bool(self._human[serial % self.spec.capacity * self.spec.stride])

    def _evict(self, serial: int) -> None:
        """Drop samples that reach into the slot about to be overwritten."""
        oldest = serial - self.spec.capacity + 1
        self._usable.drop_before(oldest)
        self._usable_human.drop_before(oldest)

    def stored(self) -> dict[str, Tensor]:
        """Everything between two episodes, for `restore`."""
        used, stride = min(self._written, self.spec.capacity), self.spec.stride
        return {
            "state": self._state[:used],
            "reference": self._reference[:used],
            "rows": self._rows[:used],
            "terminal": self._terminal[:used],
            "actions": self._actions[: used * stride],
            "human": self._human[: used * stride],
            "reward": self._reward[: used * stride],
            "returned": self._returned[:used],
            "usable": torch.from_numpy(self._usable.all()),
            "samples_by_source": torch.from_numpy(self.samples_by_source),
            "counts": torch.tensor([self._written, self.samples, self.episodes]),
            "digest": torch.tensor(list(self.digest), dtype=torch.uint8),
        }

    def restore(self, stored: Mapping[str, Tensor]) -> None:
        """Take over what `stored` gave; the next thing must be a new episode.

        Raises:
            ValueError: it came from a replay of other sizes.
        """
        kept = {"state", "reference", "rows", "terminal", "human", "actions", "reward", "returned"}
        for name in kept:
            mine, theirs = getattr(self, f"_{name}"), stored[name]
            if mine.shape[1:] != theirs.shape[1:] or len(theirs) > len(mine) or mine.dtype != theirs.dtype:
                raise ValueError(f"stored {name} is {tuple(theirs.shape)}, this replay holds {tuple(mine.shape)}")
            mine[: len(theirs)] = theirs
        usable = stored["usable"].numpy()
        self._usable.replace(usable)
        self._usable_human.replace(usable[[self._by_human(serial) for serial in usable.tolist()]])
        self.samples_by_source = stored["samples_by_source"].numpy().copy()
        self._written, self.samples, self.episodes = (int(count) for count in stored["counts"])
        self.digest = bytes(stored["digest"].tolist())
        self._pending.clear()

    def references(self) -> Tensor:
        """Stored references of whole chunks, shape (n, C, J)."""
        positions = torch.from_numpy(self._usable.all() % self.spec.capacity)
        return self._reference[positions[self._rows[positions] == self.spec.chunk]].float()

    def human_chunks(self) -> Tensor:
        """Whole chunks that a human flew from the first row to the last, shape (n, C, J)."""
        spec = self.spec
        positions = torch.from_numpy(self._usable_human.all() % spec.capacity)
        positions = positions[self._rows[positions] == spec.chunk]
        ticks = (positions[:, None] * spec.stride + self._tick_offsets) % (spec.capacity * spec.stride)
        return self._actions[ticks[self._human[ticks].all(1)]].float()

    def sample(self, size: int, generator: np.random.Generator, human_mix: float = 0.0) -> Batch:
        """Draw with replacement, uniformly but for `human_mix`.

        Args:
            size: of the batch.
            generator: that draws.
            human_mix: share of the batch that is drawn from what a human flew, as soon as there is any; the rest is
                drawn from everything.

        Raises:
            ValueError: the replay is empty.
        """
        if not len(self):
            raise ValueError("the replay holds no sample yet")
        of_human = round(human_mix * size) if len(self._usable_human) else 0
        serials = [self._usable_human.draw(of_human, generator)] if of_human else []
        return self.gather(np.concatenate([*serials, self._usable.draw(size - of_human, generator)]))

    def draw(self, size: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """Serial numbers of samples, drawn evenly and with replacement."""
        return self._usable.draw(size, generator)

    @property
    def written(self) -> int:
        """States stored so far: the serial number of the next one."""
        return self._written

    def usable_since(self, serial: int) -> NDArray[np.int64]:
        """Serial numbers of the samples that start at state `serial` or later, in order."""
        usable = self._usable.all()
        return np.asarray(usable[usable >= serial])

    def gather(self, serials: NDArray[np.int64]) -> Batch:
        """The samples that start at these states."""
        spec = self.spec
        start = torch.from_numpy(serials % spec.capacity)
        after = (start + self._ahead) % spec.capacity
        ticks = (start[:, None] * spec.stride + self._tick_offsets) % (spec.capacity * spec.stride)
        executed = self._tick_offsets < self._rows[start][:, None]
        reference = self._reference[start].float()
        # Rows after the end were never executed: the critic sees there what the VLA would have done.
        actions = torch.where(executed[..., None], self._actions[ticks].float(), reference)
        rewards = (self._reward[ticks] * executed * self._discounts).sum(1)
        bootstrap = torch.where(self._terminal[start], 0.0, spec.discount**spec.chunk)
        return Batch(
            state=self._state[start].float(),
            actions=actions,
            reference=reference,
            anchor=torch.where((self._human[ticks] & executed)[..., None], actions, reference),
            executed=executed,
            rewards=rewards,
            bootstrap=bootstrap,
            next_state=self._state[after].float(),
            next_reference=self._reference[after].float(),
            returned=self._returned[start],
        )
