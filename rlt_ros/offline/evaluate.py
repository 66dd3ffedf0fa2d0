"""Policies on the same seeded starts: success, speed and throughput with 95 % intervals."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlt_ros.control.actor import read_actor
from rlt_ros.offline.rollout import VLA_RATE, Rollout, RolloutConfig, Trial, make_executor
from rlt_ros.session.statistics import wilson
from rlt_ros.sim.cell import CONTROL_PERIOD, Cell
from rlt_ros.sim.tasks import get_task
from rlt_ros.types import Phase, SessionView
from rlt_ros.vla.backend import TokenSource
from rlt_ros.vla.bundle import Bundle, load_bundle
from rlt_ros.vla.loaded import LoadedVla
from rlt_ros.vla.phase import load_phase_head

FIRST_SEED = 1_000_000
"""Evaluation starts lie from here on (100,000 a seed, seeds 0 to 9), demonstrations and training above them."""
STATIC_VARIANTS = tuple(
    {"reference_rows": rows, "reference_speed": speed}
    for speed in (1.0, 1.5, 2.0, 3.0, 4.0, 5.0)
    for rows in (10, 20, 40)
)
"""What can be had from the base without learning: its motion sped up, and how often it plans anew."""
_RESAMPLES = 2000


@dataclass(frozen=True)
class Policy:
    """What is evaluated.

    Attributes:
        bundle: directory of the VLA bundle.
        task: name of the task.
        setting: `controlled` or `full`.
        clearance: in metres; None for the task's own.
        actor: safetensors file of an actor; None: the reference flies.
        executor: fields of `ExecutorConfig` that differ from config/sim.yaml.
        blind: the VLA is shown grey pictures.
        encoder: a frozen ResNet-10 gives the token instead of the VLA, pre-trained if the bundle has one; see
            `rlt_ros.vla.resnet`.
        vla_rate: passes of the VLA a second; see `RolloutConfig`.
    """

    bundle: Path
    task: str
    setting: str = "controlled"
    clearance: float | None = None
    actor: Path | None = None
    executor: dict[str, Any] = field(default_factory=dict)
    blind: bool = False
    encoder: bool = False
    vla_rate: float = VLA_RATE


def evaluate(
    policy: Policy,
    *,
    episodes: int,
    seed: int,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Trial]:
    """Fly seeded episodes; the same seeds give the same starts whatever the policy and the number of workers.

    Args:
        policy: what flies.
        episodes: number of episodes.
        seed: of the first start, counted from `FIRST_SEED`.
        workers: processes; default: one a core.
        progress: called with the number of episodes done.

    Raises:
        BundleError, WeightsError, ValueError: the policy cannot be loaded; found before any process starts.
    """
    seeds = [FIRST_SEED + seed * 100_000 + index for index in range(episodes)]
    workers = max(1, min(workers or os.cpu_count() or 1, episodes))
    if workers == 1:
        return _fly(policy, seeds, progress)
    _make_rollout(policy).cell.close()  # what cannot be loaded fails here, with its own message
    # Small portions keep all workers busy to the end and the bar moving; each loads the policy anew.
    size = max(5, math.ceil(episodes / (4 * workers)))
    portions = [seeds[start : start + size] for start in range(0, episodes, size)]
    results: dict[int, list[Trial]] = {}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(_fly, policy, portion): index for index, portion in enumerate(portions)}
        try:
            for future in as_completed(futures):
                results[futures[future]] = future.result()
                progress(sum(map(len, results.values())))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [trial for index in range(len(portions)) for trial in results[index]]


def _fly(policy: Policy, seeds: list[int], progress: Callable[[int], None] = lambda _: None) -> list[Trial]:
    rollout = _make_rollout(policy)
    trials: list[Trial] = []
    try:
        for seed in seeds:
            view = SessionView(1, seed, Phase.CRITICAL, actor_enabled=policy.actor is not None)
            trials.append(rollout.run(seed, view))
            progress(len(trials))
    finally:
        rollout.cell.close()
    return trials


def _make_rollout(policy: Policy) -> Rollout:
    bundle = load_bundle(policy.bundle)
    task = get_task(policy.task, clearance=policy.clearance, setting=policy.setting)
    actor = None if policy.actor is None else read_actor(policy.actor, bundle.id)
    phase_head = load_phase_head(bundle) if policy.setting == "full" and not policy.encoder else None
    if actor is not None and policy.setting == "full" and phase_head is None:
        raise ValueError(
            "an actor flies the critical phase, and nothing says when that begins: give the bundle a phase head with "
            "'rlt adapt phase', or evaluate in the controlled setting"
        )
    overrides = {**policy.executor, **({"chunk": actor.spec.chunk} if actor else {})}
    executor = make_executor(bundle, policy.vla_rate, **overrides)
    if actor is not None:
        executor.check_actor(actor)
        executor.weights(actor)
    cell = Cell(task, image_size=bundle.image_size)
    backend = make_backend(bundle, encoder=policy.encoder)
    config = RolloutConfig(policy.vla_rate, blind=policy.blind)
    return Rollout(cell, backend, bundle, executor, config, phase_head)


def make_backend(bundle: Bundle, *, encoder: bool) -> TokenSource:
    """The bundle's VLA, with its token or the encoder's."""
    backend = LoadedVla(bundle)
    backend.warm_up()
    if not encoder:
        return backend
    from rlt_ros.vla.resnet import EncodedImages, ResNet10, load_resnet  # needs torch

    return EncodedImages(backend, load_resnet(bundle) or ResNet10(len(bundle.cameras), bundle.token_dim))


def summarise(trials: list[Trial], limit: float) -> dict[str, Any]:
    """Figures of an evaluation; each interval is the 95 % one.

    Success has Wilson's interval; median and throughput have bootstrap percentiles over episodes. Throughput counts
    flown time only; a failure takes the whole time limit, also one that ended early (`stopped`: share of protective
    stops).

    Args:
        trials: from `evaluate`.
        limit: the task's time limit, s.

    Returns:
        Where a phase head was asked also `critical`, the share of episodes in which it began the critical phase while
        both parts were held, with `critical_95` and `median_ticks_before`, the ticks until then; and
        `switched_in_vain`, of the episodes in which a part was not held at the end those in which it began all the
        same, as `k of n`.
    """
    success = np.array([trial.success for trial in trials])
    ticks = np.where(success, [trial.ticks for trial in trials], round(limit / CONTROL_PERIOD))
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(trials), (_RESAMPLES, len(trials)))
    done = np.sort(ticks[success])
    fastest = done[: max(1, round(len(done) / 10))]
    figures = {
        "episodes": len(trials),
        "success": float(success.mean()),
        "stopped": float(np.mean([trial.stopped for trial in trials])),
        "success_95": wilson(int(success.sum()), len(trials)),
        "median_ticks": float(np.median(done)) if len(done) else None,
        "median_ticks_95": _percentiles([_median(ticks[draw], success[draw]) for draw in draws]) if len(done) else None,
        "fastest_tenth_ticks": float(fastest.mean()) if len(done) else None,
        "ticks_quartiles": [float(x) for x in np.percentile(done, [25, 50, 75])] if len(done) else None,
        "throughput": float(_throughput(ticks, success)),
        "throughput_95": _percentiles([_throughput(ticks[draw], success[draw]) for draw in draws]),
        "ticks": [int(n) if ok else None for n, ok in zip(ticks, success, strict=True)],
    }
    if any(trial.asked for trial in trials):
        figures |= _handover(trials)
    return figures


def _handover(trials: list[Trial]) -> dict[str, Any]:
    right = [trial.switched for trial in trials if trial.switched is not None and not trial.switched_in_vain]
    failed = [trial for trial in trials if not trial.grasped]
    return {
        "critical": len(right) / len(trials),
        "critical_95": wilson(len(right), len(trials)),
        "median_ticks_before": float(np.median(right)) if right else None,
        "switched_in_vain": f"{sum(trial.switched is not None for trial in failed)} of {len(failed)}",
    }


def ratio(base: list[Trial], final: list[Trial], limit: float) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Speed-up (median ticks of the base through those of the final policy) and ratio of throughputs.

    Either is None where it has no value: the base, or for the speed-up one of both, has no success. Both flew the
    same starts, so the bootstrap draws starts, not episodes of each on its own.

    Args:
        base: trials of the base.
        final: trials of the other policy on the same seeds.
        limit: the task's time limit, s.
    """
    successes = [np.array([trial.success for trial in trials]) for trials in (base, final)]
    ticks = [
        np.where(success, [trial.ticks for trial in trials], round(limit / CONTROL_PERIOD))
        for success, trials in zip(successes, (base, final), strict=True)
    ]
    draws = np.random.default_rng(0).integers(0, len(base), (_RESAMPLES, len(base)))

    def both(measure: Callable[..., float], index: Any) -> tuple[float, float]:
        first, second = (measure(t[index], s[index]) for t, s in zip(ticks, successes, strict=True))
        return first, second

    def divide(a: float, b: float) -> float:
        return a / b if b else float("nan")

    everything = slice(None)
    slow, fast = both(_median, everything)
    speedup = None
    if np.isfinite([slow, fast]).all():
        samples = [divide(*both(_median, draw)) for draw in draws]
        speedup = {"value": slow / fast, "95": _percentiles(samples)}
    little, much = both(_throughput, everything)
    samples = [divide(*reversed(both(_throughput, draw))) for draw in draws]
    value = divide(much, little)
    throughput = {"value": value, "95": _percentiles(samples)} if np.isfinite(value) else None
    return speedup, throughput


def _median(ticks: NDArray[np.int64], success: NDArray[np.bool_]) -> float:
    return float(np.median(ticks[success])) if success.any() else float("nan")


def _throughput(ticks: NDArray[np.int64], success: NDArray[np.bool_]) -> float:
    return float(success.sum() * 600.0 / (ticks.sum() * CONTROL_PERIOD))


def _percentiles(values: list[float]) -> list[float]:
    return [float(x) for x in np.nanpercentile(values, [2.5, 97.5])]
