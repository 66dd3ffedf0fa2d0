"""What every learner is to those around it, RLT's and the baselines': updates within a budget, parts that are kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from rlt_ros.config import ConfigError
from rlt_ros.rl.baseline_config import BaselineConfig
from rlt_ros.rl.config import LearnerConfig
from rlt_ros.rl.directions import Directions, moment
from rlt_ros.rl.replay import Batch, Replay
from rlt_ros.rl.report import UpdateReport
from rlt_ros.rl.view import View

MethodConfig = LearnerConfig | BaselineConfig
Config = TypeVar("Config", bound=MethodConfig)
_ENOUGH_HUMAN = 100
"""Chunks that a human flew, from which on their spectrum is believed."""


class Part(Protocol):
    """Something of a learner that a checkpoint keeps."""

    def stored(self) -> dict[str, Tensor]:
        """As tensors by name, for `restore`."""

    def restore(self, stored: dict[str, Tensor]) -> None:
        """Take over what `stored` gave; KeyError or RuntimeError where that does not fit."""


class Method(ABC, Generic[Config]):
    """A replay that somebody fills, updates that somebody asks for, and an actor that somebody exports.

    Attributes:
        config: how to train.
        replay: what was experienced; filled by the caller.
        device: of torch.
        view: what the networks see of a batch.
        updates: updates done.
        update_ratio: updates per stored sample, at most; may be changed at any time.
        report: running means.
        units: what the directions and their units come from, for people; "" while they are not known.
    """

    def __init__(self, config: Config, replay: Replay, motion: np.ndarray[Any, Any] | None = None) -> None:
        """Seed torch, and know the directions if the demonstrations' motion is known.

        Args:
            config: how to train.
            replay: filled by the caller.
            motion: second moment of the chunks of demonstrations, shape (C J, C J): what RL's directions and units are
                taken from. None: from what a human has flown when the first update is done, else from the references.

        Raises:
            ConfigError: a name is unknown, or the device absent.
        """
        config.check()
        torch.manual_seed(config.seed)
        self.config, self.replay = config, replay
        try:
            self.device = torch.device(config.device)
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"device '{config.device}' cannot be used: {str(error).splitlines()[0]}") from error
        self.view = View(config, replay.spec, self.device)
        self._generator = np.random.default_rng(config.seed)
        self.units = ""
        if motion is not None:
            self._use(torch.from_numpy(motion), "demonstrations of the bundle")
        self.update_ratio = config.update_ratio
        self.updates = 0
        self.report = UpdateReport()

    @abstractmethod
    def update(self) -> None:
        """One turn of the method's algorithm."""

    @abstractmethod
    def values(self, batch: Batch) -> Tensor | None:
        """What the method expects of the executed chunks, shape (N,); None: it has no critics."""

    @property
    @abstractmethod
    def parts(self) -> Mapping[str, Part]:
        """What is kept of it, by name."""

    @property
    def base_episodes(self) -> int:
        """Episodes that the base flies first, whatever else a session's warm-up is."""
        return 0

    @property
    def schedule(self) -> dict[str, float]:
        """Numbers that move with the training, by name, for people."""
        return {}

    @property
    def ready(self) -> bool:
        """Whether there is something to fly: an untrained actor too, as soon as its directions are known."""
        return self.view.directions.known

    @property
    def budget(self) -> int:
        """Updates that may be done now: `ratio * samples` after the warm-up, less those done."""
        if self.replay.samples < self.config.warmup_samples:
            return 0
        return max(0, int(self.update_ratio * self.replay.samples) - self.updates)

    @property
    def generator_state(self) -> dict[str, Any]:
        """Of the generator that batches and all else is drawn from; may be set."""
        return dict(self._generator.bit_generator.state)

    @generator_state.setter
    def generator_state(self, state: dict[str, Any]) -> None:
        self._generator.bit_generator.state = state

    def _find_directions(self) -> None:
        """Once and for all: other directions would be another meaning of all that was learnt."""
        human = self.replay.human_chunks()
        if len(human) >= _ENOUGH_HUMAN:
            self._use(moment(human), f"{len(human)} chunks that a human flew: the bundle does not know how people move")
        else:
            told = "the VLA's references: the bundle does not know how people move, and nobody showed it"
            self._use(moment(self.replay.references()), told)

    def _use(self, of_chunks: Tensor, units: str) -> None:
        self.view.directions = Directions.of(of_chunks, self.view.coordinates).to(self.device)
        self.units = units
