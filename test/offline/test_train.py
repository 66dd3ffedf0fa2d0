"""The fast trainer: the live graph's parts, the warm-up, the budget, a run directory that can be evaluated."""

from __future__ import annotations

import csv
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from rlt_ros.bringup.graph import Bringup
from rlt_ros.config import ConfigError
from rlt_ros.control.actor import SPEEDS, read_actor, unpack_actor
from rlt_ros.offline.ablations import ABLATIONS, ablated, ordered
from rlt_ros.offline.evaluate import Policy, evaluate, make_backend
from rlt_ros.offline.methods import method_of
from rlt_ros.offline.report import read_run
from rlt_ros.offline.rollout import Rollout, make_executor
from rlt_ros.offline.train import TrainConfig, Trainer, read_settings, train
from rlt_ros.rl.baseline_config import BaselineConfig, DaggerConfig, HilSerlConfig, PldConfig
from rlt_ros.rl.checkpoint import CheckpointError
from rlt_ros.rl.config import LearnerConfig
from rlt_ros.rl.export import export_actor
from rlt_ros.sim.cell import Cell
from rlt_ros.sim.tasks import get_task
from rlt_ros.types import ControlStep, Phase, SessionView, State
from rlt_ros.vla.bundle import load_bundle
from rlt_ros.vla.motion import moment_for

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
from learner import filled_replay

SHIPPED = Bringup().bundle_path
LEARNER = LearnerConfig(hidden=(32,), batch=32, warmup_samples=50, update_ratio=1.0, burn_in_updates=50)
CONFIG = TrainConfig(
    minutes=0.35,
    warmup_episodes=2,
    evaluate_at=(0.1,),
    evaluate_episodes=2,
    explore_share=1.0,
    human_patience=0.0,
    demonstrations=0,
    vla_rate=10.0,  # looking costs most
)


def test_a_run_flies_learns_evaluates_and_leaves_what_can_be_flown(tmp_path: Path) -> None:
    lines: list[str] = []
    report = train(SHIPPED, CONFIG, LEARNER, tmp_path / "run", lambda _, line: lines.append(line))
    assert report["base"]["episodes"] == report["final"]["episodes"] == 2
    assert report["curve"]
    last = report["curve"][-1]
    assert last["updates"] <= LEARNER.update_ratio * last["samples"]
    assert last["updates"] > 0
    run = read_run(tmp_path / "run")
    assert (run.task, run.clearance, run.bundle) == ("ethernet", None, SHIPPED)
    policy = Policy(run.bundle, run.task, actor=run.actor)
    assert len(evaluate(policy, episodes=1, seed=0, workers=1)) == 1
    assert json.loads((tmp_path / "run/summary.json").read_text())["final"] == report["final"]
    assert json.loads((tmp_path / "run/config.json").read_text())["learner"]["hidden"] == [32]
    assert any(line.startswith("base:") for line in lines)
    with (tmp_path / "run/episodes.csv").open() as file:
        episodes = list(csv.DictReader(file))
    assert [int(row["episode"]) for row in episodes] == list(range(1, last["training_episodes"] + 1))
    assert all(float(row["force_n"]) >= 0 and float(row["lateral_mm"]) >= 0 for row in episodes)
    assert any(float(row["force_n"]) > 0 for row in episodes)
    names = ("share_own", *(f"share_{speed:g}" for speed in SPEEDS))
    shares = [[float(row[name]) for name in names] for row in episodes if row["actor"] == "True"]
    assert all(sum(row) == pytest.approx(1.0, abs=0.01) for row in shares)
    assert any(row[0] < 1.0 for row in shares), "from the first episode on candidates are tried"
    assert all(row[names[0]] == "" for row in episodes if row["actor"] == "False")
    told = [row for row in episodes if row["q"]]
    assert told, "what the critics expect is written down beside what came of it"
    for row in told:
        assert (float(row["return"]) > 0) == (row["success"] == "True")


@pytest.mark.parametrize("trained", [0, 40])
def test_in_flight_an_actor_that_has_learnt_nothing_is_the_reference_command_by_command(trained: int) -> None:
    """Also after updates in which half of the references were hidden from it (a clone, nobody helped)."""
    bundle = load_bundle(SHIPPED)
    trainer = Trainer(SHIPPED, CONFIG, dataclasses.replace(LEARNER, burn_in_updates=1000), SHIPPED)
    learner = trainer.learner
    learner.replay = filled_replay(learner.replay.spec, 100)
    for _ in range(trained):
        learner.update()
    actor = unpack_actor(export_actor(learner, bundle.id, 1), bundle.id)
    trainer.close()

    def flown(by_actor: bool) -> list[np.ndarray]:
        executor = make_executor(bundle, reference_rows=10, blend_ticks=0)
        executor.weights(actor)
        cell = Cell(get_task("ethernet"), image_size=bundle.image_size)
        rollout = Rollout(cell, make_backend(bundle, encoder=False), bundle, executor)
        steps: list[ControlStep] = []
        rollout.run(1_000_000, SessionView(1, 1, Phase.CRITICAL, by_actor), on_step=steps.append)
        cell.close()
        assert {step.state for step in steps[5:]} == {State.ACTOR if by_actor else State.REFERENCE}
        return [step.command for step in steps]

    base, learnt = flown(by_actor=False), flown(by_actor=True)
    assert np.array_equal(base, learnt)


def test_the_actor_flies_after_the_warm_up_and_the_same_seed_gives_the_same_run(tmp_path: Path) -> None:
    def sources() -> tuple[list[int], list[int]]:
        trainer = Trainer(SHIPPED, CONFIG, LEARNER, tmp_path)
        counts = []
        for _ in range(3):
            trainer.run_episode()
            counts.append(trainer.learner.replay.samples_by_source.tolist())
        trainer.close()
        return [count[2] for count in counts], [trial.ticks for trial in trainer.trials]

    actor, ticks = sources()
    assert actor[:2] == [0, 0]
    assert actor[2] > 0
    assert sources() == (actor, ticks)


def test_a_resumed_run_is_the_run_that_would_have_been(tmp_path: Path) -> None:
    learner = dataclasses.replace(LEARNER, directions=4, noise=0.3, precision="bfloat16")
    config = dataclasses.replace(CONFIG, human_patience=1.0, demonstrations=1, vla_rate=12.0, backfill=True)
    first = Trainer(SHIPPED, config, learner, tmp_path)
    for _ in range(3):
        first.run_episode()
    first.save()
    assert first._ingest.backfill.filled > 0.4 * first.learner.replay.samples, "tokens of a slow VLA's unseen pictures"
    assert any(trial.human_ticks for trial in first.trials), "the scripted human is part of what must go on"
    again = Trainer(SHIPPED, config, learner, tmp_path)
    again.restore()
    assert (again.episode, again.minutes) == (3, first.minutes)
    for trainer in (first, again):
        trainer.run_episode()
        trainer.close()
    assert first.trials == again.trials
    assert first.learner.updates == again.learner.updates > LEARNER.burn_in_updates
    assert export_actor(first.learner, "b", 1) == export_actor(again.learner, "b", 1)
    assert first.learner.replay.samples_by_source.tolist() == again.learner.replay.samples_by_source.tolist()
    other = Trainer(SHIPPED, config, dataclasses.replace(learner, critics=3), tmp_path)
    with pytest.raises(CheckpointError, match="critics 4 -> 3"):
        other.restore()
    other.close()


def test_an_interrupted_run_goes_on_and_keeps_its_curve(tmp_path: Path) -> None:
    train(SHIPPED, CONFIG, LEARNER, tmp_path / "run")
    bundle, config, learner = read_settings(tmp_path / "run")
    longer = dataclasses.replace(config, minutes=0.5)
    report = train(bundle, longer, learner, tmp_path / "run", resume=True)
    assert [entry["due"] for entry in report["curve"]] == [0.1, 0.35, 0.5]
    rows = (tmp_path / "run/curve.csv").read_text().splitlines()
    assert len(rows) == 4
    assert rows[0].startswith("due,minutes,training_episodes")
    with pytest.raises(CheckpointError, match="no checkpoint to go on from"):
        train(bundle, config, learner, tmp_path / "other", resume=True)
    (tmp_path / "run/config.json").write_text("{}")
    with pytest.raises(ConfigError, match="does not describe a run"):
        read_settings(tmp_path / "run")


SMALL = {"hidden": (16,), "batch": 32, "warmup_samples": 50}
BASELINES: dict[str, BaselineConfig] = {
    "hil_serl": HilSerlConfig(**SMALL),  # type: ignore[arg-type]
    "pld": PldConfig(**SMALL, base_episodes=1, pretrain_updates=20),  # type: ignore[arg-type]
    "dagger": DaggerConfig(**SMALL),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("method", sorted(BASELINES))
def test_every_baseline_flies_is_resumed_and_evaluated(method: str, tmp_path: Path) -> None:
    """Through the session, the human and the evaluation of RLT; `rlt eval --run` finds what to fly."""
    config = dataclasses.replace(
        CONFIG,
        method=method,
        warmup_episodes=0,
        demonstrations=1,
        human_patience=0.4,
        minutes=0.1,
        evaluate_at=(),
        evaluate_base=False,
        evaluate_episodes=1,
    )
    learner, run_dir = BASELINES[method], tmp_path / "run"
    report = train(SHIPPED, config, learner, run_dir)
    assert report["method"] == method
    last = report["curve"][-1]
    assert last["updates"] > 20
    assert len(last["ticks"]) == 1
    bundle, again, settings = read_settings(run_dir)
    assert (bundle, again, settings) == (SHIPPED, config, learner)
    trainer = Trainer(bundle, again, settings, run_dir)
    trainer.restore()
    trainer.run_episode()
    trainer.close()
    assert trainer.learner.updates > last["updates"]
    with (run_dir / "episodes.csv").open() as file:
        episodes = list(csv.DictReader(file))
    flown = [row["actor"] == "True" for row in episodes]
    first = 1 + (method == "pld")
    assert flown == [False] * first + [True] * (len(flown) - first), "demonstrations, and PLD's base"
    assert any(row["q"] for row in episodes) is (method != "dagger")
    run = read_run(run_dir)
    actor = read_actor(run.actor, load_bundle(run.bundle).id)
    assert actor.spec.chunk == (10 if method == "dagger" else 1)


def test_ablations_combine_in_one_form_and_a_baseline_has_no_parts_of_rlt() -> None:
    assert ordered("chunk, token,chunk") == "token,chunk"
    assert ordered("token", "pld") == "token"
    assert ordered("") == ""
    for without, method, told in (
        ("anchor", "pld", "choose one of token, intervention, the parts of pld"),
        ("token,tokens", "rlt", "--without tokens: choose one of token, chunk"),
        ("Q,anchor", "rlt", "nothing is left"),
    ):
        with pytest.raises(ConfigError, match=told):
            ordered(without, method)
    with pytest.raises(ConfigError, match="choose one of rlt, hil_serl"):
        method_of("ppo")


def test_without_chunks_all_but_the_chunk_is_the_same() -> None:
    """As many updates and samples a second, as much of the demonstrated motion, the same credit."""
    learner, samples = ablated("chunk", LearnerConfig())
    assert isinstance(learner, LearnerConfig)
    with_chunks, _ = ablated("", LearnerConfig())
    assert (samples.chunk, samples.stride) == (1, 1)
    assert learner.update_ratio / samples.stride == with_chunks.update_ratio / 2
    assert learner.return_share == LearnerConfig().return_share
    bundle = load_bundle(SHIPPED)
    kept = []
    for rows, count in ((10, LearnerConfig().directions), (1, learner.directions)):
        moment = moment_for(bundle, rows)
        assert moment is not None
        values = np.linalg.eigvalsh(moment)[::-1]
        kept.append(values[:count].sum() / values.sum())
    assert kept[1] == pytest.approx(kept[0], abs=0.002)
    both, _ = ablated("chunk,returns", LearnerConfig())
    assert isinstance(both, LearnerConfig)
    assert both.return_share == 0.0
    assert both.directions == learner.directions


@pytest.mark.parametrize("without", [*sorted(ABLATIONS), "token,chunk,returns"])
def test_every_ablation_flies(without: str, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, without=without, warmup_episodes=1)
    trainer = Trainer(SHIPPED, config, LEARNER, tmp_path)
    for _ in range(2):
        trainer.run_episode()
    assert trainer.learner.replay.spec.chunk == (1 if "chunk" in without else 10)
    assert trainer.evaluate(trainer.save(), 1)["episodes"] == 1
    assert trainer.learner.replay.samples_by_source[2] > 0
    trainer.close()
