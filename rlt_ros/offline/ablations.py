"""What `rlt train --without` switches off: the one place that knows the ablations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rlt_ros.config import ConfigError
from rlt_ros.rl.config import LearnerConfig
from rlt_ros.rl.samples import SampleConfig

ABLATIONS: dict[str, dict[str, Any]] = {
    "token": {},
    "chunk": {},
    "anchor": {"anchor_weight": 0.0},
    "Q": {"q_weight": (0.0,), "selection": False},
    "selection": {"selection": False},
    "passthrough": {"pass_through": False, "selection": False},
    "dropout": {"reference_dropout": 0.0},
    "intervention": {},
}
"""By name, what changes in `LearnerConfig`. Without the token a frozen ResNet-10 reads the pictures; without chunks C
is 1; without intervention nobody demonstrates or takes over. Without pass-through or Q nothing is selected either:
the reference would come in by the back door, and so would the critics."""
CHUNK, STRIDE = 10, 2


def check(without: str) -> None:
    """Refuse a name that is none.

    Raises:
        ConfigError: it is unknown.
    """
    if without and without not in ABLATIONS:
        raise ConfigError(f"--without {without}: choose one of {', '.join(ABLATIONS)}")


def ablated(without: str, learner: LearnerConfig) -> tuple[LearnerConfig, SampleConfig]:
    """The learner's settings, and how steps become samples, without one part.

    Args:
        without: a key of `ABLATIONS`; "": nothing is switched off.
        learner: with everything.
    """
    learner = replace(learner, **(ABLATIONS[without] if without else {}))
    if without != "chunk":
        return learner, SampleConfig(CHUNK, STRIDE, learner.human_replaces_reference)
    # Twice the samples a second: as many updates and as long a warm-up as with chunks.
    learner = replace(
        learner, update_ratio=learner.update_ratio / STRIDE, warmup_samples=STRIDE * learner.warmup_samples
    )
    return learner, SampleConfig(1, 1, learner.human_replaces_reference)


def by_encoder(without: str) -> bool:
    """Whether an encoder stands in for the VLA's token."""
    return without == "token"


def helped(without: str) -> bool:
    """Whether anybody demonstrates and takes over."""
    return without != "intervention"
