"""Parameters of the session."""

from __future__ import annotations

from dataclasses import dataclass

from rlt_ros.config import ConfigError, param

CLOCKS = ("runs", "pauses", "restarts")
HANDOVERS = ("manual", "propose", "perform")


@dataclass(frozen=True)
class SessionConfig:
    """Parameters of the session."""

    controlled: bool = param(True, "episodes start at the critical phase; false: with the base policy's approach")
    warmup_episodes: int = param(2, "episodes flown by the reference before the actor may fly", low=0)
    time_limit: float = param(10.0, "length of the phases BASE and CRITICAL that ends an episode", unit="s", low=0.1)
    clock_with_human: str = param(
        "runs", "what the time limit does while a human flies: runs, pauses, or restarts when the human lets go"
    )
    handover: str = param(
        "manual",
        "who ends the base phase: manual (the operator), propose (the bundle's phase head says so, the operator does), "
        "or perform (the phase head)",
    )
    handover_probability: float = param(0.5, "of the phase head, from which on it counts", low=0.0, high=1.0)
    handover_passes: int = param(3, "passes of the VLA in a row that must say so", low=1, high=1000)
    settle_time: float = param(0.3, "rest between a reset and the first motion", unit="s", low=0.0, high=60.0)
    pause_time: float = param(0.3, "rest between an outcome and the next reset", unit="s", low=0.0, high=600.0)
    base_every: int = param(
        0, "after the warm-up each so-many-th episode is flown by the reference, for comparison; 0: none", low=0
    )
    explore_share: float = param(0.6, "share of the actor's episodes with exploration noise", low=0.0, high=1.0)
    max_episodes: int = param(0, "episodes after which the session goes idle; 0: no end", low=0)
    seed: int = param(0, "seed of which episodes explore", low=0)

    def check(self) -> None:
        """Look at what ranges cannot tell.

        Raises:
            ConfigError: a choice is unknown.
        """
        for name, known in (("clock_with_human", CLOCKS), ("handover", HANDOVERS)):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} '{getattr(self, name)}' is unknown: choose {', '.join(known)}")


@dataclass(frozen=True)
class SessionParameters(SessionConfig):
    """Of `session_node`."""

    task: str = param("ethernet", "name of the task, for people")
    autostart: bool = param(False, "start episodes at once, without a call of ~/start")
    learner_wait: float = param(0.0, "how long autostart waits for a learner", unit="s", low=0.0, high=600.0)
    reset_service: str = param("", "service that puts the scene back (ResetCell); empty: wait for ~/reset_done")
    success_topic: str = param("", "topic that tells how an episode ends; empty: wait for ~/label")
    success_type: str = param("ground_truth", "of its messages: ground_truth (GroundTruth), or bool (true: success)")
    episodes_before: int = param(
        0, "episodes that this run had before: they are counted on, and are part of the warm-up", low=0
    )
    epoch_before: int = param(
        0, "epoch of this run's last session: the new one's is later, even where the clock was set back", low=0
    )

    def check(self) -> None:
        """See `SessionConfig.check`."""
        super().check()
        if self.success_type not in ("ground_truth", "bool"):
            raise ConfigError(f"success_type '{self.success_type}' is unknown: choose ground_truth or bool")
