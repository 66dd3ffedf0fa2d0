"""The fast trainer: executor, samples, replay and learner of the live graph in one process, in simulated time."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rlt_ros.config import param
from rlt_ros.control.actor import receive_actor
from rlt_ros.offline.evaluate import Policy, evaluate, summarise
from rlt_ros.offline.rollout import Rollout, Trial, make_executor, outcome
from rlt_ros.rl.checkpoint import save_checkpoint
from rlt_ros.rl.config import LearnerConfig
from rlt_ros.rl.ingest import Ingest
from rlt_ros.rl.learner import Learner
from rlt_ros.rl.replay import Replay, ReplaySpec
from rlt_ros.rl.samples import EpisodeBuilder, SampleConfig
from rlt_ros.sim.cell import CONTROL_PERIOD, Cell
from rlt_ros.sim.tasks import get_task
from rlt_ros.types import ControlStep, Phase, SessionView
from rlt_ros.vla.backend import OnnxBackend
from rlt_ros.vla.bundle import load_bundle

FIRST_SEED = 3_000_000_000
"""Training starts lie from here on; see `rlt_ros.offline.evaluate.FIRST_SEED`."""
ABLATIONS: dict[str, dict[str, Any]] = {
    "token": {"use_token": False},
    "chunk": {},
    "anchor": {"anchor_weight": 0.0},
    "passthrough": {"pass_through": False},
    "dropout": {"reference_dropout": 0.0},
}
"""What `--without` switches off, as changes of `LearnerConfig`; without chunks C is 1."""


@dataclass(frozen=True)
class TrainConfig:
    """How the fast trainer works."""

    task: str = param("ethernet", "task of the cell")
    clearance: float = param(0.0, "free play a side; 0: the task's own", unit="m", low=0.0, high=0.004)
    minutes: float = param(15.0, "robot time, warm-up included", unit="min", low=0.1)
    warmup_episodes: int = param(40, "episodes flown by the reference first", low=1)
    explore_share: float = param(0.5, "share of the actor's episodes with exploration noise", low=0.0, high=1.0)
    publish_ticks: int = param(25, "ticks between two versions of the weights", low=1)
    evaluate_minutes: float = param(3.0, "robot time between two evaluations", unit="min", low=0.1)
    evaluate_episodes: int = param(40, "episodes of an evaluation on the way", low=1)
    final_episodes: int = param(100, "episodes of the first and the last evaluation", low=1)
    without: str = param("", "what is switched off: token, chunk, anchor, passthrough or dropout")
    seed: int = param(0, "seed of starts, noise, weights and batches", low=0)


class Trainer:
    """Episode after episode: fly, store, update within the budget, hand over weights."""

    def __init__(self, bundle: Path, config: TrainConfig, learner: LearnerConfig, run_dir: Path) -> None:
        """Build everything.

        Args:
            bundle: directory of the VLA bundle.
            config: of the trainer.
            learner: of the learner, before the ablation.
            run_dir: where checkpoints and the curve go.
        """
        ablation = ABLATIONS[config.without] if config.without else {}
        chunk = 1 if config.without == "chunk" else 10
        samples = SampleConfig(chunk=chunk, stride=min(2, chunk))
        learner = dataclasses.replace(learner, seed=config.seed, **ablation)
        if samples.stride == 1:
            # Twice the samples a second: as many updates and as long a warm-up as with chunks.
            learner = dataclasses.replace(
                learner, update_ratio=learner.update_ratio / 2, warmup_samples=2 * learner.warmup_samples
            )
        self.config, self.learner_config, self.run_dir = config, learner, run_dir
        self._bundle_path = bundle
        self._bundle = loaded = load_bundle(bundle)
        spec = ReplaySpec(
            learner.capacity, loaded.token_dim, len(loaded.joints), chunk, samples.stride, learner.discount
        )
        self.learner = Learner(learner, Replay(spec), loaded.id)
        builder = EpisodeBuilder(samples, loaded.normaliser, loaded.id, loaded.token_dim)
        self._ingest = Ingest(builder, self.learner.replay)
        self._ingest.session(1)
        task = get_task(config.task, clearance=config.clearance or None)
        self._executor = make_executor(loaded, seed=config.seed, chunk=chunk)
        cell = Cell(task, image_size=loaded.image_size)
        self._rollout = Rollout(cell, OnnxBackend(loaded), loaded, self._executor)
        self._coin = np.random.default_rng(config.seed)
        self._version = 0
        self._ticks = 0
        self.episode = 0
        self.robot_ticks = 0
        self.trials: list[Trial] = []

    @property
    def minutes(self) -> float:
        """Robot time so far."""
        return self.robot_ticks * CONTROL_PERIOD / 60

    def run_episode(self) -> Trial:
        """Fly one episode and learn while it flies."""
        self.episode += 1
        enabled = self.episode > self.config.warmup_episodes
        explore = enabled and bool(self._coin.random() < self.config.explore_share)
        view = SessionView(1, self.episode, Phase.CRITICAL, enabled, explore)
        seed = FIRST_SEED + self.config.seed * 1_000_000 + self.episode
        trial = self._rollout.run(seed, view, self._ingest.policy_input, self._on_step)
        self._ingest.end(1, self.episode, self._rollout.now - CONTROL_PERIOD / 2, outcome(trial))
        self.robot_ticks += trial.ticks
        self.trials.append(trial)
        return trial

    def _on_step(self, step: ControlStep) -> None:
        self._ingest.step(step)
        self._ticks += 1
        if self._ticks % 5 == 0:
            while self.learner.budget > 0:
                self.learner.update()
        if self._ticks % self.config.publish_ticks == 0 and self.learner.updates:
            self._version += 1
            data = self.learner.export(self._version)
            digest = hashlib.sha256(data).hexdigest()
            self._executor.weights(receive_actor(data, digest, self._version, self._bundle.id, self._rollout.now))

    def save(self) -> Path:
        """Write a checkpoint; returns its actor."""
        directory = self.run_dir / "checkpoints"
        return save_checkpoint(self.learner, directory, version=self._version, bundle_id=self._bundle.id) / (
            "actor.safetensors"
        )

    def evaluate(self, actor: Path | None, episodes: int) -> dict[str, Any]:
        """Success, speed and throughput of an actor without noise, or of the base, on the evaluation's starts."""
        cfg = self.config
        policy = Policy(self._bundle_path, cfg.task, clearance=cfg.clearance or None, actor=actor)
        trials = evaluate(policy, episodes=episodes, seed=0, workers=1)
        return summarise(trials, self._rollout.cell.task.limit)

    def close(self) -> None:
        """Free the renderer."""
        self._rollout.cell.close()


def train(
    bundle: Path,
    config: TrainConfig,
    learner: LearnerConfig,
    run_dir: Path,
    progress: Callable[[Trainer, str], None] = lambda _trainer, _line: None,
) -> dict[str, Any]:
    """Train for `config.minutes` of robot time.

    Returns:
        `base` and `final` figures (see `summarise`), `curve`: one entry an evaluation, `run_dir`.
    """
    torch.set_num_threads(1)
    trainer = Trainer(bundle, config, learner, run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    settings = {
        "task": config.task,
        "clearance": config.clearance or None,
        "bundle": str(bundle),
        "train": dataclasses.asdict(config),
        "learner": dataclasses.asdict(trainer.learner_config),
    }
    (run_dir / "config.json").write_text(json.dumps(settings, indent=2))
    curve: list[dict[str, Any]] = []
    try:
        base = trainer.evaluate(None, config.final_episodes)
        progress(trainer, f"base: {_words(base)}")
        due = config.evaluate_minutes
        while trainer.minutes < config.minutes:
            trainer.run_episode()
            progress(trainer, "")
            if trainer.minutes >= due and trainer.episode > config.warmup_episodes:
                due = trainer.minutes + config.evaluate_minutes
                figures = trainer.evaluate(trainer.save(), config.evaluate_episodes)
                curve.append(_entry(trainer, figures))
                with (run_dir / "curve.jsonl").open("a") as file:
                    file.write(json.dumps(curve[-1]) + "\n")
                progress(trainer, f"{trainer.minutes:.1f} min: {_words(figures)}")
        final = trainer.evaluate(trainer.save(), config.final_episodes)
        progress(trainer, f"final: {_words(final)}")
    finally:
        trainer.close()
    report = {"task": config.task, "base": base, "final": final, "curve": curve, "run_dir": str(run_dir)}
    (run_dir / "summary.json").write_text(json.dumps(report, indent=2))
    return report


def _entry(trainer: Trainer, figures: dict[str, Any]) -> dict[str, Any]:
    recent = trainer.trials[-20:]
    return {
        "minutes": trainer.minutes,
        "episodes": trainer.episode,
        "samples": trainer.learner.replay.samples,
        "updates": trainer.learner.updates,
        "q_weight": trainer.learner.q_weight,
        "training_success": float(np.mean([trial.success for trial in recent])),
        **dataclasses.asdict(trainer.learner.report),
        **{key: value for key, value in figures.items() if key != "ticks"},
    }


def _words(figures: dict[str, Any]) -> str:
    median = "-" if figures["median_ticks"] is None else f"{figures['median_ticks']:.0f}"
    return f"{figures['success']:.0%} success, median {median} ticks, {figures['throughput']:.0f} per 10 min"
