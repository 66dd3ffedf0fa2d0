"""Settings of the baselines, importable without torch. What their papers leave open is in docs/baselines.md."""

from __future__ import annotations

from dataclasses import dataclass

from rlt_ros.config import ConfigError, param
from rlt_ros.rl.config import PROPRIO


@dataclass(frozen=True)
class BaselineConfig:
    """What every baseline has: the state, the budget and the machine are those of `LearnerConfig`."""

    hidden: tuple[int, ...] = param((256, 256), "sizes of the hidden layers", low=8, high=4096)
    batch: int = param(256, "samples a gradient update", low=1, high=8192)
    rate: float = param(3e-4, "learning rate of everything that is trained", low=0.0, high=1.0)
    discount: float = param(0.998, "gamma, per tick", low=0.0, high=1.0)
    directions: int = param(24, "directions of chunks, see LearnerConfig; all of them where a chunk has fewer", low=1)
    proprio: str = param(
        "position", "what the networks read of the joints beside the token: position, or all (velocities too)"
    )
    state_noise: float = param(0.2, "noise on token and proprioception in training", low=0.0)
    warmup_samples: int = param(600, "samples stored before the first update", low=1)
    update_ratio: float = param(1.0, "updates per stored sample, at most", low=0.0, high=100.0)
    device: str = param("cpu", "device of torch, for example cuda")
    capacity: int = param(200_000, "samples kept in the replay", low=100)
    seed: int = param(0, "seed of weights and batches", low=0)

    def check(self) -> None:
        """Look at what ranges cannot tell.

        Raises:
            ConfigError: a name is unknown.
        """
        if self.proprio not in PROPRIO:
            raise ConfigError(f"proprio '{self.proprio}' is unknown: choose {', '.join(PROPRIO)}")


@dataclass(frozen=True)
class SacConfig(BaselineConfig):
    """Of those that are soft actor-critic in single ticks."""

    critics: int = param(2, "number of critics", low=1, high=16)
    target_rate: float = param(0.005, "share of the critics that moves into their targets an update", low=0.0, high=1.0)
    action_range: float = param(
        3.0, "what -1 and 1 of an action stand for, in the demonstrations' deviations along a direction", low=0.1
    )
    temperature: float = param(0.01, "weight of the entropy at the start; it is tuned from there", low=0.0)
    actor_every: int = param(2, "critic updates per actor update", low=1, high=100)


@dataclass(frozen=True)
class HilSerlConfig(SacConfig):
    """HIL-SERL (Luo et al., 2024, arXiv 2410.21845)."""

    discount: float = param(0.994, "gamma, per tick: the paper's 0.97 at 10 Hz", low=0.0, high=1.0)
    human_mix: float = param(
        0.5, "share of a batch drawn from what a human flew; the rest is drawn from everything", low=0.0, high=1.0
    )


@dataclass(frozen=True)
class PldConfig(SacConfig):
    """The residual of PLD (Xiao et al., 2025, arXiv 2511.00091), its stage 1."""

    hidden: tuple[int, ...] = param((256, 256, 256), "sizes of the hidden layers", low=8, high=4096)
    discount: float = param(0.99, "gamma, per tick", low=0.0, high=1.0)
    residual: tuple[float, ...] = param(
        (0.01, 0.5),
        "largest residual, as a share of `action_range`: when it begins to fly, and later",
        low=0.0,
        high=1.0,
    )
    residual_updates: int = param(10_000, "updates over which the residual is allowed to grow", low=1)
    base_episodes: int = param(100, "episodes of the base alone, whose successes the critics begin with", low=0)
    pretrain_updates: int = param(2000, "updates of the critics on these, before the residual is trained", low=0)
    conservative_weight: float = param(0.2, "weight of Cal-QL's conservative term while they are", low=0.0)
    conservative_draws: int = param(4, "actions drawn for each of its three kinds", low=1, high=100)
    offline_mix: float = param(
        0.5, "share of a batch drawn from the base's successes; the rest from everything", low=0.0, high=1.0
    )

    def check(self) -> None:
        """See `BaselineConfig.check`."""
        super().check()
        if len(self.residual) != 2 or self.residual[0] > self.residual[1] or not self.residual[0]:
            raise ConfigError(f"residual {list(self.residual)}: give two shares above 0, the smaller one first")


@dataclass(frozen=True)
class DaggerConfig(BaselineConfig):
    """HG-DAgger (Kelly et al., 2019, arXiv 1810.02890) on the actor of RLT."""

    hidden: tuple[int, ...] = param((128, 128), "sizes of the hidden layers", low=8, high=4096)
    batch: int = param(128, "samples a gradient update", low=1, high=8192)
    pass_through: bool = param(True, "the actor sees the reference and adds to it")
    pretrain_updates: int = param(
        2000, "updates on what the base and the human flew; after that only on what the human did", low=0
    )
