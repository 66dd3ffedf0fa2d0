"""Settings of the learner, importable without torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from rlt_ros.config import ConfigError, param

CHECKPOINT_FORMAT = 9
RECIPES = ("default", "paper")
"""Named settings: the defaults here, and `config/recipe_paper.yaml`; docs/algorithm.md has them side by side."""
PROPRIO = ("position", "all")
_FREE_TO_CHANGE = ("device", "capacity", "seed", "update_ratio")
"""When a training goes on: the random state comes from its checkpoint, the ratio can be set while it runs."""


@dataclass(frozen=True)
class LearnerConfig:
    """How the actor and its critics are trained. What the paper leaves open is in docs/delta_to_the_paper.md."""

    hidden: tuple[int, ...] = param((128, 128), "sizes of the hidden layers of actor and critics", low=8, high=4096)
    critics: int = param(4, "number of critics", low=1, high=16)
    batch: int = param(128, "samples a gradient update", low=1, high=8192)
    discount: float = param(
        0.998, "gamma, per tick; near 1 it orders policies as successes a minute do", low=0.0, high=1.0
    )
    return_share: float = param(
        0.5, "share of the episode's observed return in the critics' targets, the rest is bootstrapped", low=0, high=1.0
    )
    selection: bool = param(
        True, "the critics choose what flies: the actor's chunk, or the reference at one of several speeds"
    )
    actor_rate: float = param(3e-4, "learning rate of the actor", low=0.0, high=1.0)
    critic_rate: float = param(3e-4, "learning rate of the critics", low=0.0, high=1.0)
    target_rate: float = param(0.005, "share of the critics that moves into their targets an update", low=0.0, high=1.0)
    q_weight: tuple[float, ...] = param(
        (0.4, 2.0),
        "weight of Q against the anchor (1 / beta): after the burn-in, and from six times the burn-in on; one number: "
        "always that",
        low=0.0,
    )
    anchor_weight: float = param(1.0, "weight of the anchor; 0: the actor only climbs Q", low=0.0, high=1.0)
    directions: int = param(
        24,
        "RL sees and changes chunks along so many directions, those in which demonstrations moved most, each in units "
        "of their size",
        low=1,
        high=1000,
    )
    proprio: str = param(
        "position", "what the networks read of the joints beside the token: position, or all (velocities too)"
    )
    state_noise: float = param(
        0.2, "noise on token and proprioception in training, against learning single episodes by heart", low=0.0
    )
    pass_through: bool = param(True, "the actor sees the reference and adds to it")
    reference_dropout: float = param(0.5, "share of a batch whose reference is hidden from the actor", low=0, high=1.0)
    human_replaces_reference: bool = param(
        False,
        "what a human flew is stored as the reference too; else the actor goes on seeing the VLA's there, as in flight",
    )
    human_mix: float = param(
        0.4, "share of a batch drawn from what a human flew; the rest is drawn from everything", low=0.0, high=1.0
    )
    actor_every: int = param(2, "critic updates per actor update", low=1, high=100)
    burn_in_updates: int = param(2000, "updates in which the actor only clones what was flown or planned", low=0)
    warmup_samples: int = param(600, "samples stored before the first update", low=1)
    update_ratio: float = param(1.0, "updates per stored sample, at most", low=0.0, high=100.0)
    noise: float = param(
        0.2, "exploration noise along the directions, constant over a chunk, in their units", low=0.0, high=2.0
    )
    random_candidates: float = param(
        0.3, "share of an exploring episode's chunks for which one of the candidates is drawn", low=0.0, high=1.0
    )
    precision: str = param("auto", "of the products: float32, bfloat16, or auto (bfloat16 where the CPU has it)")
    device: str = param("cpu", "device of torch, for example cuda")
    capacity: int = param(200_000, "samples kept in the replay", low=100)
    seed: int = param(0, "seed of weights and batches", low=0)

    def check(self) -> None:
        """Look at what ranges cannot tell.

        Raises:
            ConfigError: a name is unknown, or a schedule cannot be followed.
        """
        for name, known in (("precision", ("auto", "float32", "bfloat16")), ("proprio", PROPRIO)):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} '{getattr(self, name)}' is unknown: choose {', '.join(known)}")
        if len(self.q_weight) not in (1, 2) or (len(self.q_weight) == 2 and not all(self.q_weight)):
            raise ConfigError(
                f"q_weight {list(self.q_weight)}: give one number, or two above 0, between which it rises geometrically"
            )


def settings(config: Any) -> dict[str, Any]:
    """What must stay as it is when a training goes on, of a learner's dataclass, as JSON gives it back."""
    given = asdict(config)
    # A node's parameters are RLT's settings and more, which only say where and how often.
    learnt = LearnerConfig if isinstance(config, LearnerConfig) else config
    names = [field.name for field in fields(learnt) if field.name not in _FREE_TO_CHANGE]
    out: dict[str, Any] = json.loads(json.dumps({name: given[name] for name in names}))
    return out


def differences(theirs: dict[str, Any], mine: dict[str, Any]) -> list[str]:
    """What two descriptions do not agree in, as `name theirs -> mine`."""
    return [
        f"{name} {_short(theirs.get(name))} -> {_short(mine.get(name))}"
        for name in sorted({*theirs, *mine})
        if name not in _FREE_TO_CHANGE and theirs.get(name) != mine.get(name)
    ]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


@dataclass(frozen=True)
class LearnerParameters(LearnerConfig):
    """Of `learner_node`."""

    bundle: str = param("", "directory of the VLA bundle")
    period: float = param(0.0, "time between commands; 0: that of the bundle's rows", unit="s", low=0.0, high=1.0)
    chunk: int = param(10, "rows of an action chunk (C); the executor's", low=1, high=100)
    stride: int = param(2, "ticks between the starts of two samples; divides the chunk", low=1, high=100)
    publish_period: float = param(0.5, "time between two publications of weights", unit="s", low=0.1, high=60.0)
    checkpoint_dir: str = param("", "where checkpoints are, and are gone on from; empty: none are written")
    checkpoint_period: float = param(60.0, "time between two checkpoints", unit="s", low=1.0)
    keep_checkpoints: int = param(3, "newest checkpoints kept, besides the best one", low=1)
    journal_dir: str = param("", "journal that the replay is rebuilt from at start; empty: none")
    robots: tuple[str, ...] = param(("",), "namespaces of the robots it learns from; empty: the node's own")
    threads: int = param(1, "threads of torch", low=1, high=64)
    nice: int = param(5, "how far the learner steps back for the other processes", low=0, high=19)
