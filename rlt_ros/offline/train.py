"""The fast trainer: executor, samples, replay and learner of the live graph in one process, in simulated time."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rlt_ros.config import ConfigError, from_mapping, param
from rlt_ros.control.actor import OWN, SPEEDS, receive_actor
from rlt_ros.offline.ablations import ABLATIONS, ablated, by_encoder, helped
from rlt_ros.offline.evaluate import Policy, evaluate, make_backend, summarise
from rlt_ros.offline.methods import METHODS, method_of
from rlt_ros.offline.rollout import VLA_RATE, Rollout, RolloutConfig, Trial, make_executor, outcome
from rlt_ros.provenance import provenance
from rlt_ros.rl.checkpoint import REPLAY_FILE, CheckpointError, Layout, load_checkpoint, save_checkpoint
from rlt_ros.rl.export import export_actor
from rlt_ros.rl.ingest import Ingest
from rlt_ros.rl.method import MethodConfig
from rlt_ros.rl.replay import Replay, ReplaySpec
from rlt_ros.rl.samples import EpisodeBuilder
from rlt_ros.sim.cell import CONTROL_PERIOD, Cell
from rlt_ros.sim.expert import Operator
from rlt_ros.sim.tasks import get_task
from rlt_ros.types import ControlStep, Phase, SessionView, State
from rlt_ros.vla.bundle import load_bundle
from rlt_ros.vla.motion import moment_for

FIRST_SEED = 3_000_000_000
"""Training starts lie from here on; see `rlt_ros.offline.evaluate.FIRST_SEED`."""


@dataclass(frozen=True)
class TrainConfig:
    """How the fast trainer works."""

    task: str = param("ethernet", "task of the cell")
    method: str = param("rlt", f"what learns: {', '.join(METHODS)}")
    clearance: float = param(0.0, "free play a side; 0: the task's own", unit="m", low=0.0, high=0.004)
    minutes: float = param(15.0, "robot time, warm-up included", unit="min", low=0.1)
    warmup_episodes: int = param(2, "episodes flown by the reference first", low=0)
    explore_share: float = param(0.6, "share of the actor's episodes with exploration noise", low=0.0, high=1.0)
    human_patience: float = param(
        1.0,
        "a scripted human takes over after this long without progress, on average, and finishes; 0: nobody does",
        unit="s",
        low=0.0,
    )
    demonstrations: int = param(15, "episodes that the scripted human flies from the start, before the warm-up", low=0)
    publish_ticks: int = param(25, "ticks between two versions of the weights", low=1)
    evaluate_at: tuple[float, ...] = param(
        (5.0, 15.0, 30.0), "robot time of the evaluations on the way", unit="min", low=0.0
    )
    evaluate_episodes: int = param(100, "episodes of an evaluation", low=1)
    evaluate_base: bool = param(True, "evaluate the base too, before the first episode")
    save_minutes: float = param(5.0, "robot time between two states from which --resume goes on", unit="min", low=0.1)
    vla_rate: float = param(
        VLA_RATE,
        "passes of the VLA, 12 or 5 for a slow one; its answer is one pass old",
        unit="1/s",
        low=2.0,
        high=50.0,
    )
    backfill: bool = param(False, "give states of flight, after the episode, the token of their own moment")
    without: str = param("", f"what is switched off: {', '.join(ABLATIONS)}")
    seed: int = param(0, "seed of starts, noise, weights and batches", low=0)


class Trainer:
    """Episode after episode: fly, store, update within the budget, hand over weights."""

    def __init__(self, bundle: Path, config: TrainConfig, learner: MethodConfig, run_dir: Path) -> None:
        """Build everything.

        Args:
            bundle: directory of the VLA bundle.
            config: of the trainer.
            learner: of the method, before the ablation.
            run_dir: where checkpoints and the curve go.
        """
        learner, samples = ablated(config.without, dataclasses.replace(learner, seed=config.seed))
        self.config, self.learner_config, self.run_dir = config, learner, run_dir
        self._episodes_file = run_dir / "episodes.csv"
        self._bundle_path = bundle
        self._bundle = loaded = load_bundle(bundle)
        self._layout = Layout(loaded.id, loaded.joints, loaded.normaliser)
        spec = ReplaySpec(
            learner.capacity,
            loaded.token_dim,
            len(loaded.joints),
            samples.chunk,
            samples.stride,
            learner.discount,
            loaded.normaliser.measured,
        )
        self.learner = method_of(config.method).learner(learner, Replay(spec), moment_for(loaded, samples.chunk))
        builder = EpisodeBuilder(samples, loaded.normaliser, loaded.id, loaded.token_dim)
        self._ingest = Ingest(builder, self.learner.replay)
        self._ingest.session(1)
        task = get_task(config.task, clearance=config.clearance or None)
        self._executor = make_executor(loaded, config.vla_rate, seed=config.seed, chunk=samples.chunk)
        cell = Cell(task, image_size=loaded.image_size)
        backend = make_backend(loaded, encoder=by_encoder(config.without))
        delays = RolloutConfig(config.vla_rate, config.backfill)
        self._rollout = Rollout(cell, backend, loaded, self._executor, delays)
        self._coin = np.random.default_rng(config.seed)
        self._hand = np.random.default_rng(config.seed)
        human = config.human_patience and helped(config.without)
        self._human = Operator(config.human_patience, self._hand) if human else None
        self._chunks: Counter[float] = Counter()
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
        demonstrations = self.config.demonstrations if self._human is not None else 0
        warmup = max(self.config.warmup_episodes, self.learner.base_episodes)
        enabled = self.episode > demonstrations + warmup
        if self._human is not None:
            self._human.patience = 0.0 if self.episode <= demonstrations else self.config.human_patience
        explore = enabled and bool(self._coin.random() < self.config.explore_share)
        view = SessionView(1, self.episode, Phase.CRITICAL, enabled, explore)
        seed = FIRST_SEED + self.config.seed * 1_000_000 + self.episode
        first = self.learner.replay.written
        self._chunks.clear()
        if self._version == 0 and self.learner.ready:
            self._publish()  # exploration begins with the first episode that the actor flies, trained or not
        late = self._ingest.backfill.policy_input
        trial = self._rollout.run(seed, view, self._ingest.policy_input, self._on_step, self._human, late)
        self._ingest.end(1, self.episode, self._rollout.now - CONTROL_PERIOD / 2, outcome(trial))
        self._ingest.flush()
        self.robot_ticks += trial.ticks
        self.trials.append(trial)
        self._log(trial, view, first)
        return trial

    def _log(self, trial: Trial, view: SessionView, first: int) -> None:
        """A line of episodes.csv: the episode, and what the critics expected beside what came of it."""
        replay, discount = self.learner.replay, self.learner_config.discount
        serials = replay.usable_since(first)
        expected = returned = None
        if len(serials) and self.learner.updates:
            values = self.learner.values(replay.gather(serials))
            expected = None if values is None else round(float(values.mean()), 4)
            to_go = (replay.written - serials) * replay.spec.stride - 1
            returned = round(float((trial.success * discount**to_go).mean()), 4)
        row = {
            "episode": self.episode,
            "minutes": round(self.minutes, 3),
            **{key: getattr(trial, key) for key in ("success", "ticks", "human_ticks", "stopped")},
            "depth_mm": round(1e3 * trial.depth, 2),
            "lateral_mm": round(1e3 * trial.lateral, 2),
            "force_n": round(trial.force, 1),
            "actor": view.actor_enabled,
            "explore": view.explore,
            "version": self._version,
            **{name: round(value, 4) for name, value in self.learner.schedule.items()},
            "q": expected,
            "return": returned,
            **{f"share_{name}": share for name, share in self._shares().items()},
        }
        with self._episodes_file.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(row)

    def _shares(self) -> dict[str, float | None]:
        """Of the actor's chunks in this episode: how many were its own, how many the reference at each speed."""
        total = sum(self._chunks.values())
        names = {"own": OWN, **{f"{speed:g}": speed for speed in SPEEDS}}
        return {name: round(self._chunks[key] / total, 3) if total else None for name, key in names.items()}

    def _on_step(self, step: ControlStep) -> None:
        if step.chunk is not None and step.chunk.source is State.ACTOR:
            self._chunks[step.chunk.candidate] += 1
        self._ingest.step(step)
        self._ticks += 1
        if self._ticks % 5 == 0:
            while self.learner.budget > 0:
                self.learner.update()
        if self._ticks % self.config.publish_ticks == 0 and self.learner.updates:
            self._publish()

    def _publish(self) -> None:
        self._version += 1
        data = export_actor(self.learner, self._bundle.id, self._version)
        digest = hashlib.sha256(data).hexdigest()
        self._executor.weights(receive_actor(data, digest, self._version, self._bundle.id, self._rollout.now))

    def save(self) -> Path:
        """Write a checkpoint from which `restore` goes on; returns its actor.

        Only the newest one holds the replay.
        """
        directory = self.run_dir / "checkpoints"
        if self.learner.ready:
            self._publish()  # what flies on is what is saved
        path = save_checkpoint(
            self.learner,
            directory,
            version=self._version,
            layout=self._layout,
            with_replay=True,
            extra={
                "episode": self.episode,
                "robot_ticks": self.robot_ticks,
                "ticks": self._ticks,
                "coin": self._coin.bit_generator.state,
                "human": self._hand.bit_generator.state,
                "rollout": self._rollout.clock,
                "trials": [dataclasses.asdict(trial) for trial in self.trials],
            },
        )
        for old in directory.glob(f"step-*/{REPLAY_FILE}"):
            if old.parent != path:
                old.unlink()
        return path / "actor.safetensors"

    def restore(self) -> None:
        """Go on where the newest checkpoint of the run was written.

        Raises:
            CheckpointError: there is none, or it cannot be gone on with.
        """
        found = sorted(self.run_dir.glob(f"checkpoints/step-*/{REPLAY_FILE}"))
        if not found:
            raise CheckpointError(f"{self.run_dir} holds no checkpoint to go on from")
        described = load_checkpoint(self.learner, found[-1].parent, layout=self._layout)
        extra = described["extra"]
        self.episode, self.robot_ticks, self._ticks = extra["episode"], extra["robot_ticks"], extra["ticks"]
        self._coin.bit_generator.state = extra["coin"]
        self._hand.bit_generator.state = extra["human"]
        self._rollout.clock = tuple(extra["rollout"])
        self.trials = [Trial(**trial) for trial in extra["trials"]]
        # Heading and one line an episode: what was flown after the checkpoint is flown again.
        lines = self._episodes_file.read_text().splitlines(keepends=True)
        self._episodes_file.write_text("".join(lines[: 1 + self.episode]))
        if self.learner.ready:
            self._version = described["version"] - 1
            self._publish()

    def evaluate(self, actor: Path | None, episodes: int) -> dict[str, Any]:
        """Success, speed and throughput of an actor without noise, or of the base, on the evaluation's starts."""
        cfg = self.config
        encoder = actor is not None and by_encoder(cfg.without)
        policy = Policy(
            self._bundle_path,
            cfg.task,
            clearance=cfg.clearance or None,
            actor=actor,
            encoder=encoder,
            vla_rate=cfg.vla_rate,
        )
        trials = evaluate(policy, episodes=episodes, seed=0, workers=1)
        return summarise(trials, self._rollout.cell.task.limit)

    def close(self) -> None:
        """Free the renderer."""
        self._rollout.cell.close()


def train(
    bundle: Path,
    config: TrainConfig,
    learner: MethodConfig,
    run_dir: Path,
    progress: Callable[[Trainer, str], None] = lambda _trainer, _line: None,
    *,
    resume: bool = False,
) -> dict[str, Any]:
    """Train for `config.minutes` of robot time.

    Args:
        bundle: directory of the VLA bundle.
        config: of the trainer.
        learner: of the method.
        run_dir: gets config.json, curve.csv, summary.json and checkpoints.
        progress: called after every episode, and with a line to print after every evaluation.
        resume: go on with the interrupted run in `run_dir`.

    Returns:
        `base` (None if it was not flown) and `final` figures (see `summarise`), `curve`: one entry an evaluation,
        `run_dir`.

    Raises:
        CheckpointError: there is nothing to resume, or it was trained with other settings.
    """
    torch.set_num_threads(1)
    trainer = Trainer(bundle, config, learner, run_dir)
    curve: list[dict[str, Any]] = []
    told = _Once()
    try:
        if resume:
            trainer.restore()
            base, curve = _read_progress(run_dir, trainer.minutes)
            progress(trainer, f"going on at {trainer.minutes:.1f} min, episode {trainer.episode}")
        else:
            run_dir.mkdir(parents=True, exist_ok=True)
            _write_config(bundle, config, learner, run_dir)
            base = trainer.evaluate(None, config.evaluate_episodes) if config.evaluate_base else None
            (run_dir / "base.json").write_text(json.dumps(base))
            if base is not None:
                progress(trainer, f"base: {_words(base)}")
        done = {entry["due"] for entry in curve}
        for due in sorted({*(minutes for minutes in config.evaluate_at if minutes < config.minutes), config.minutes}):
            saved = trainer.minutes
            while trainer.minutes < due:
                trainer.run_episode()
                progress(trainer, told.news(trainer.learner.units))
                if trainer.minutes - saved >= config.save_minutes:
                    trainer.save()
                    saved = trainer.minutes
            if due in done:
                continue
            figures = trainer.evaluate(trainer.save(), config.evaluate_episodes)
            curve.append({"due": due, **_entry(trainer, figures), "ticks": figures["ticks"]})
            _write_curve(run_dir, curve)
            progress(trainer, f"{trainer.minutes:.1f} min: {_words(figures)}")
    finally:
        trainer.close()
    report = {
        "task": config.task,
        "method": config.method,
        "base": base,
        "final": curve[-1],
        "curve": curve,
        "run_dir": str(run_dir),
    }
    try:
        (run_dir / "summary.json").write_text(json.dumps(report, indent=2))
    except OSError as error:
        progress(trainer, f"error: {run_dir}/summary.json could not be written: {error}; the report follows")
    return report


class _Once:
    """Says once what RL's units come from."""

    def __init__(self) -> None:
        self._units = ""

    def news(self, units: str) -> str:
        """A line to print, or ""."""
        new, self._units = units != self._units, units
        return f"directions and units of RL: from {units}" if new else ""


def read_settings(run_dir: Path) -> tuple[Path, TrainConfig, MethodConfig]:
    """Bundle and settings of a run.

    Raises:
        ConfigError: its config.json is missing or not one of this version.
    """
    path = run_dir / "config.json"
    try:
        described = json.loads(path.read_text())
        bundle = Path(described["bundle"])
        train_values, learner_values = dict(described["train"]), dict(described["learner"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} does not describe a run of rlt train: {error!r}") from error
    config = from_mapping(TrainConfig, train_values, str(path))
    return bundle, config, from_mapping(method_of(config.method).config, learner_values, str(path))


def _write_config(bundle: Path, config: TrainConfig, learner: MethodConfig, run_dir: Path) -> None:
    settings = {
        **provenance(["rlt", *sys.argv[1:]]),
        "task": config.task,
        "clearance": config.clearance or None,
        "bundle": str(bundle),
        "bundle_id": load_bundle(bundle).id,
        "train": dataclasses.asdict(config),
        "learner": dataclasses.asdict(learner),
    }
    (run_dir / "config.json").write_text(json.dumps(settings, indent=2))


def _write_curve(run_dir: Path, curve: list[dict[str, Any]]) -> None:
    """curve.csv for people and plots, curve.json with every episode's ticks."""
    (run_dir / "curve.json").write_text(json.dumps(curve))
    with (run_dir / "curve.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(key for key in curve[0] if key != "ticks")
        for entry in curve:
            writer.writerow(
                " ".join(map(str, value)) if isinstance(value, list) else value
                for key, value in entry.items()
                if key != "ticks"
            )


def _read_progress(run_dir: Path, minutes: float) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """The base's figures, and the evaluations up to now."""
    found: list[Any] = []
    for path in (run_dir / "base.json", run_dir / "curve.json"):
        try:
            found.append(json.loads(path.read_text()) if path.is_file() else None)
        except ValueError as error:
            raise ConfigError(f"{path} is damaged ({error}): remove it, and its evaluations are flown anew") from error
    base, curve = found
    return base, [entry for entry in curve or [] if entry["minutes"] <= minutes]


def _entry(trainer: Trainer, figures: dict[str, Any]) -> dict[str, Any]:
    recent = trainer.trials[-20:]
    return {
        "minutes": trainer.minutes,
        "training_episodes": trainer.episode,
        "samples": trainer.learner.replay.samples,
        "updates": trainer.learner.updates,
        **trainer.learner.schedule,
        "training_success": float(np.mean([trial.success and not trial.human_ticks for trial in recent])),
        "human_share": sum(t.human_ticks for t in trainer.trials) / max(1, sum(t.ticks for t in trainer.trials)),
        **dataclasses.asdict(trainer.learner.report),
        **{key: value for key, value in figures.items() if key != "ticks"},
    }


def _words(figures: dict[str, Any]) -> str:
    median = "-" if figures["median_ticks"] is None else f"{figures['median_ticks']:.0f}"
    return f"{figures['success']:.0%} success, median {median} ticks, {figures['throughput']:.0f} per 10 min"
