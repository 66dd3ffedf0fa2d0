"""Episodes of a running robot as demonstrations: what a person flies becomes data for stage 1."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rlt_ros.cameras.camera import Frame
from rlt_ros.cameras.sets import MAX_SKEW, SetBuilder
from rlt_ros.refusals import Refusals
from rlt_ros.types import GROUNDING, ControlStep, Episode, Outcome, Phase, State
from rlt_ros.vla.dataset import Contents

MAX_IMAGE_AGE = 0.2
"""Seconds after which a camera set no longer shows what the robot does."""
_SAME_CLOCK = 60.0
"""Seconds that the end of an episode and its newest step may be apart."""
_SETS = 50
"""Camera sets that are remembered: steps may arrive later than pictures of after them."""


@dataclass
class _Running:
    number: tuple[int, int]
    steps: list[ControlStep] = field(default_factory=list)
    images: list[NDArray[np.uint8]] = field(default_factory=list)
    outcome: Outcome = Outcome.NONE
    end: float = np.inf
    broken: bool = False


class LiveEpisodes:
    """Joins pictures, steps and outcomes; an episode is given out when the next one starts.

    Until then its label can still be changed or undone.
    """

    def __init__(
        self, contents: Contents, task: str, instruction: str, human_share: float, skew: float = MAX_SKEW
    ) -> None:
        """Record for a dataset of `contents`.

        Args:
            contents: cameras, joints and image size.
            task: name of the task.
            instruction: what the robot is told.
            human_share: smallest share of ticks flown by a person; episodes below it are skipped and counted.
            skew: largest time between two pictures of a set, s.
        """
        self._contents, self._task, self._instruction, self._human_share = contents, task, instruction, human_share
        self._builder = SetBuilder(contents.cameras, skew)
        self._sets: deque[tuple[float, NDArray[np.uint8]]] = deque(maxlen=_SETS)
        self._running: _Running | None = None
        self.refusals = Refusals()

    @property
    def counters(self) -> Counter[str]:
        """What was left out, and how often."""
        return self.refusals.counts

    def image(self, camera: str, time: float, picture: NDArray[np.uint8]) -> None:
        """A picture of one camera; a set is complete when all were taken at about the same time."""
        size = self._contents.image_size
        if picture.shape != (size, size, 3):
            self.refusals.refuse("image_shape", f"{camera}: {picture.shape}, expected {(size, size, 3)}")
            return
        made = self._builder.add(camera, Frame(picture, time, time, 0))
        if made is not None:
            seen = [made.frames[name].image for name in self._contents.cameras]
            self._sets.append((made.captured, np.stack(seen)))

    def step(self, step: ControlStep) -> None:
        """A tick of the control loop."""
        running = self._running
        if step.session.phase not in (Phase.BASE, Phase.CRITICAL) or running is None:
            return
        if (step.session.epoch, step.session.episode) != running.number or step.time > running.end:
            return
        captured, seen = next((pair for pair in reversed(self._sets) if pair[0] <= step.time), (-np.inf, None))
        if not self._contents.cameras:
            captured, seen = step.time, np.zeros((0, self._contents.image_size, self._contents.image_size, 3), np.uint8)
        if seen is None or step.time - captured > MAX_IMAGE_AGE:
            if not running.broken:
                self.refusals.refuse("episode_without_images", f"episode {running.number[1]}")
            running.broken = True
            return
        if running.steps and step.sequence != running.steps[-1].sequence + 1 and not running.broken:
            self.refusals.refuse("episode_with_gap", f"episode {running.number[1]}")
            running.broken = True
        running.steps.append(step)
        running.images.append(seen)

    def started(self, epoch: int, episode: int) -> Episode | None:
        """An episode starts; the one before it, if it is a demonstration."""
        done = self.finish()
        self._running = _Running((epoch, episode))
        return done

    def ended(self, epoch: int, episode: int, time: float, outcome: Outcome) -> None:
        """The outcome of the running episode is known, was changed or undone."""
        running = self._running
        if running is not None and running.number == (epoch, episode):
            newest = running.steps[-1].time if running.steps else time
            if abs(time - newest) > _SAME_CLOCK:
                self.refusals.refuse("event_clock", f"{time - newest:.0f} s off")
                time = newest
            running.outcome = outcome
            running.end = min(running.end, time)  # a later label changes the outcome, not the end

    def finish(self) -> Episode | None:
        """Give out what has ended."""
        running, self._running = self._running, None
        if running is None or running.broken or not running.steps:
            return None
        if running.outcome not in (Outcome.SUCCESS, Outcome.FAILURE, Outcome.TIMEOUT):
            self.refusals.refuse("episode_without_outcome", f"episode {running.number[1]}")
            return None
        # Steps flown before the executor heard of the end came before the event did.
        kept = sum(step.time <= running.end for step in running.steps)
        steps, images = running.steps[:kept], running.images[:kept]
        if not steps:
            return None
        if np.mean([step.state is State.HUMAN for step in steps]) < self._human_share:
            self.refusals.refuse("episode_not_by_a_human", f"episode {running.number[1]}")
            return None
        return Episode(
            task=self._task,
            instruction=self._instruction,
            setting="full" if steps[0].session.phase is Phase.BASE else "controlled",
            ticks=len(steps) if running.outcome is Outcome.SUCCESS else 0,
            image_ticks=np.arange(len(steps)),
            images=np.stack(images),
            position=np.array([step.position for step in steps], dtype=np.float32),
            velocity=np.array([step.velocity for step in steps], dtype=np.float32),
            before=steps[0].previous,
            command=np.array([step.command for step in steps]),
            critical=np.array([step.session.phase is Phase.CRITICAL for step in steps]),
            grounding=np.full((len(steps), GROUNDING), np.nan, dtype=np.float32),
            human=np.array([step.state is State.HUMAN for step in steps]),
        )
