"""What `rlt train --without` switches off, and what is fair beside it: the one place that knows the ablations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rlt_ros.config import ConfigError
from rlt_ros.rl.baseline_config import BaselineConfig, SacConfig
from rlt_ros.rl.config import LearnerConfig
from rlt_ros.rl.samples import SampleConfig

ABLATIONS: dict[str, dict[str, Any]] = {
    "token": {},
    "chunk": {"directions": 7},
    "anchor": {"anchor_weight": 0.0},
    "Q": {"q_weight": (0.0,), "selection": False},
    "selection": {"selection": False},
    "passthrough": {"pass_through": False, "selection": False},
    "dropout": {"reference_dropout": 0.0},
    "returns": {"return_share": 0.0},
    "intervention": {},
}
"""By name, what changes in `LearnerConfig`. Without the token a frozen ResNet-10 reads the pictures; without chunks C
is 1; without intervention nobody demonstrates or takes over. Without pass-through or Q nothing is selected either:
the reference would come in by the back door, and so would the critics.

Without chunks all else stays the same: of a tick's 14 directions the seven that hold as much of the demonstrated motion
(99.6 %) as 24 of a chunk's 140 (99.5 %); exploration that stays for 10 ticks (`Actor.explores_for`); as many updates a
second; half of the credit from what was returned. `returns` takes that away, of both. What is left beside the chunk is
the time to react: 20 ms instead of 200."""
CHUNK, STRIDE = 10, 2
OF_EVERY_METHOD = ("token", "intervention")
"""What baselines have too; the rest are parts of RLT."""
_NOTHING_LEFT = ("anchor", "Q")


def names(without: str) -> tuple[str, ...]:
    """The parts that `--without` names, in the order of `ABLATIONS`; unknown ones are left out."""
    given = {name.strip() for name in without.split(",")}
    return tuple(name for name in ABLATIONS if name in given)


def ordered(without: str, method: str = "rlt") -> str:
    """`--without` in its one form.

    Args:
        without: names with commas between them.
        method: that they are taken from.

    Raises:
        ConfigError: a name is unknown, the method has no such part, or nothing would be left to learn from.
    """
    known = tuple(ABLATIONS) if method == "rlt" else OF_EVERY_METHOD
    for name in filter(None, (part.strip() for part in without.split(","))):
        if name not in known:
            raise ConfigError(f"--without {name}: choose one of {', '.join(known)}, the parts of {method}")
    given = names(without)
    if set(_NOTHING_LEFT) <= set(given):
        raise ConfigError("--without anchor,Q: nothing is left for the actor to learn from")
    return ",".join(given)


def ablated(
    without: str, learner: LearnerConfig | BaselineConfig
) -> tuple[LearnerConfig | BaselineConfig, SampleConfig]:
    """The learner's settings, and how steps become samples, without some parts.

    Args:
        without: keys of `ABLATIONS`, with commas between them; "": nothing is switched off.
        learner: with everything.
    """
    if not isinstance(learner, LearnerConfig):
        return learner, SampleConfig(1, 1) if isinstance(learner, SacConfig) else SampleConfig(CHUNK, STRIDE)
    given = names(without)
    learner = replace(learner, **{key: value for name in given for key, value in ABLATIONS[name].items()})
    if "chunk" not in given:
        return learner, SampleConfig(CHUNK, STRIDE, learner.human_replaces_reference)
    # Twice the samples a second: as many updates and as long a warm-up as with chunks.
    learner = replace(
        learner, update_ratio=learner.update_ratio / STRIDE, warmup_samples=STRIDE * learner.warmup_samples
    )
    return learner, SampleConfig(1, 1, learner.human_replaces_reference)


def by_encoder(without: str) -> bool:
    """Whether an encoder stands in for the VLA's token."""
    return "token" in names(without)


def helped(without: str) -> bool:
    """Whether anybody demonstrates and takes over."""
    return "intervention" not in names(without)
