"""What `rlt train --method` trains: RLT and the baselines beside it, in the same cell, session and evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rlt_ros.config import ConfigError
from rlt_ros.rl.baseline_config import BaselineConfig, DaggerConfig, HilSerlConfig, PldConfig
from rlt_ros.rl.config import LearnerConfig
from rlt_ros.rl.dagger import Dagger
from rlt_ros.rl.hil_serl import HilSerl
from rlt_ros.rl.learner import Learner
from rlt_ros.rl.method import Method
from rlt_ros.rl.pld import Pld


@dataclass(frozen=True)
class Entry:
    """What is trained under a name.

    Attributes:
        learner: its algorithm.
        config: its settings.
        trainer: defaults of `TrainConfig` that are other ones with it.
    """

    learner: type[Method[Any]]
    config: type[LearnerConfig] | type[BaselineConfig]
    trainer: Mapping[str, Any] = field(default_factory=dict)


METHODS: dict[str, Entry] = {
    "rlt": Entry(Learner, LearnerConfig),
    # Its actor draws every action, and flies after the demonstrations; no VLA before it, none in it.
    "hil_serl": Entry(HilSerl, HilSerlConfig, {"explore_share": 1.0, "warmup_episodes": 0}),
    # Nobody helps: its paper has no human. The base's episodes at first are the learner's `base_episodes`.
    "pld": Entry(Pld, PldConfig, {"explore_share": 1.0, "warmup_episodes": 0, "human_patience": 0.0}),
    "dagger": Entry(Dagger, DaggerConfig, {"explore_share": 0.0, "warmup_episodes": 0}),
}


def method_of(name: str) -> Entry:
    """The method of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in METHODS:
        raise ConfigError(f"--method {name}: choose one of {', '.join(METHODS)}")
    return METHODS[name]
