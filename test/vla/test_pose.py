"""Bundles that think in poses: the same numbers in flight, samples and learner; steps of tips become joints."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from robot_support import ONE_ARM
from typer.testing import CliRunner
from vla_support import CAMERAS, HORIZON, JOINTS, SIZE, moment, tiny_bundle

from rlt_ros.cli import app
from rlt_ros.control.actor import WeightsError, unpack_actor
from rlt_ros.control.config import ExecutorConfig
from rlt_ros.control.executor import Executor
from rlt_ros.control.limits import JointLimits
from rlt_ros.rl.config import LearnerConfig
from rlt_ros.rl.export import export_actor
from rlt_ros.rl.learner import Learner
from rlt_ros.rl.replay import Replay, ReplaySpec
from rlt_ros.rl.samples import EpisodeBuilder, SampleConfig
from rlt_ros.types import GROUNDING, ControlStep, Episode, Outcome, PolicyInput, SessionView, State
from rlt_ros.types import Phase as P
from rlt_ros.vla import loaded as loaded_module
from rlt_ros.vla.backend import InferenceError, Pass
from rlt_ros.vla.bundle import Bundle, BundleError, load_bundle
from rlt_ros.vla.dataset import Contents, DatasetWriter
from rlt_ros.vla.loaded import LoadedVla

MODEL = """
<mujoco><worldbody><body name="upper"><joint name="s" axis="0 0 1"/><geom size=".1"/>
<body name="lower" pos="1 0 0"><joint name="e" axis="0 0 1"/><geom size=".1"/><site name="tip" pos="1 0 0"/></body>
</body></worldbody></mujoco>
"""
POSE, STEP = 10, 7


@pytest.fixture
def robot(tmp_path: Path) -> Path:
    """An arm of two joints and a gripper, with a model whose names are others."""
    (tmp_path / "arm.xml").write_text(MODEL)
    data = {
        **ONE_ARM,
        "name": "bench",
        "arms": {"arm": {"joints": list(JOINTS[:2]), "gripper": JOINTS[2], "tip": "tip"}},
        "grippers": {},
        "limits": {"all": {"low": -3, "high": 3, "velocity": 1}},
        "sources": [{"topic": "joint_states", "joints": list(JOINTS)}],
        "controllers": [{"topic": "commands", "joints": list(JOINTS)}],
        "model": "arm.xml",
        "model_joints": {JOINTS[0]: "s", JOINTS[1]: "e"},
    }
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    with DatasetWriter(tmp_path / "data", Contents("bench", JOINTS, CAMERAS, SIZE, 0.02)) as writer:
        for seed in range(2):
            rng = np.random.default_rng(seed)
            writer.add(
                Episode(
                    "plug", "insert the plug", "controlled", 30, np.arange(30),
                    np.zeros((30, len(CAMERAS), SIZE, SIZE, 3), np.uint8),
                    rng.normal(0, 0.3, (30, 3)).astype("f4"), rng.normal(0, 0.3, (30, 3)).astype("f4"),
                    np.zeros(3), rng.normal(0, 0.3, (30, 3)), np.ones(30, bool),
                    np.full((30, GROUNDING), np.nan, "f4"),
                )
            )  # fmt: skip
    return tmp_path / "data"


def posed(tmp_path: Path, robot: Path, data: Path, *options: str) -> Bundle:
    """By `rlt adapt pose`."""
    tiny_bundle(tmp_path / "bundle", encoder=True)
    given = ["--bundle", str(tmp_path / "bundle"), "--robot", str(robot), "--data", str(data), "--json", *options]
    result = CliRunner().invoke(app, ["adapt", "pose", *given])
    assert result.exit_code == 0, f"{result.output} {result.exception!r}"
    told = json.loads(result.stdout.splitlines()[-1])
    assert told["numbers"] == POSE
    assert told["id"] != told["was"], "actors of before do not fly with it"
    return load_bundle(tmp_path / "bundle")


def test_the_learner_reads_what_the_executor_read(tmp_path: Path, robot: Path, data: Path) -> None:
    bundle = posed(tmp_path, robot, data)
    normaliser = bundle.normaliser
    assert normaliser.measured == 2 * POSE
    limits = JointLimits(np.full(3, -3.0), np.full(3, 3.0), np.ones(3))
    executor = Executor(ExecutorConfig(), bundle.id, normaliser, limits)
    builder = EpisodeBuilder(SampleConfig(), normaliser, bundle.id, bundle.token_dim)
    token, now, segments, chunks = np.ones(bundle.token_dim, np.float32), 10.0, [], []
    robot_at = np.array([0.3, -0.4, 0.5])
    view = SessionView(1, 1, P.CRITICAL)
    for number in range(60):
        now += 0.02
        executor.joint_state(now, robot_at, np.array([0.1, 0.2, 0.0]))
        executor.session(now, view)
        rows = robot_at + 1e-3 * np.arange(1, HORIZON + 40)[:, None]
        seen = PolicyInput(now, number, bundle.id, token, rows, 0.02, robot_at)
        executor.policy_input(now, seen)
        step: ControlStep = executor.tick(now)
        builder.policy_input(seen)
        segments += builder.step(step)
        chunks += [step.chunk] if step.chunk is not None else []
        robot_at = step.command.copy()
    segments += builder.end(now, Outcome.SUCCESS)
    flown = [chunk.proprio for chunk in chunks]
    stored = [segment.state.proprio for segment in segments]
    assert {len(numbers) for numbers in (*flown, *stored)} == {2 * POSE}
    assert all(any(np.array_equal(one, other) for other in stored) for one in flown[1:])
    at = bundle.tips().numbers(chunks[1].base)
    told = flown[1][:POSE] * normaliser.proprio_std[:POSE] + normaliser.proprio_mean[:POSE]
    assert np.abs(told - at).max() < 0.01

    spec = ReplaySpec(200, bundle.token_dim, 3, measured=normaliser.measured)
    replay = Replay(spec)
    replay.begin_episode()
    for segment in segments:
        replay.add(segment)
    settings = LearnerConfig(hidden=(16,), critics=2, batch=8, warmup_samples=4, burn_in_updates=2, update_ratio=1.0)
    learner = Learner(settings, replay, np.eye(30, dtype=np.float32))
    while learner.budget > 0 and learner.updates < 4:
        learner.update()
    assert learner.updates
    actor = unpack_actor(export_actor(learner, bundle.id, 1), bundle.id)
    executor.check_actor(actor)
    chosen, _ = actor.choose(token, flown[0], np.zeros((10, 3), np.float32))
    assert np.isfinite(chosen).all()
    of_joints = dataclasses.replace(normaliser, proprio_mean=np.zeros(6), proprio_std=np.ones(6), tips=None)
    with pytest.raises(WeightsError, match=r"numbers of proprioception are \(10, 3, 20\) of the actor, \(10, 3, 6\)"):
        Executor(ExecutorConfig(), bundle.id, of_joints, limits).check_actor(actor)
    assert step.state is State.REFERENCE


class Steps:
    """A VLA that is told poses, and answers in steps of the tip."""

    provider, skipped, batch = "test", (), 1

    def __init__(self, rows: Any) -> None:
        self.rows, self.told = rows, np.zeros(0)

    def set_instruction(self, _instruction: str) -> None:
        """It always does the same."""

    def infer(self, _images: Any, position: Any) -> list[Pass]:
        self.told = position[0]
        return [Pass(self.rows, token=np.ones(16, np.float32))]

    def close(self) -> None:
        """Nothing is open."""


def test_a_vla_that_is_told_poses_and_answers_in_steps_flies_joints(
    tmp_path: Path, robot: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = posed(tmp_path, robot, data, "--state", "--actions")
    rows = np.zeros((HORIZON, STEP), np.float32)
    rows[:, 0], rows[:, 6] = -2e-3, 0.25
    vla = Steps(rows)
    monkeypatch.setattr(loaded_module, "_make", lambda *_: vla)
    images, _ = moment()
    position, tips = np.array([0.4, 0.7, 1.0]), bundle.tips()
    made = LoadedVla(bundle).infer(images, position)
    np.testing.assert_allclose(vla.told, tips.numbers(position), atol=1e-6)
    assert made.reference.shape == (HORIZON, len(JOINTS))
    way = tips.numbers(made.reference[-1].astype(float))[:3] - tips.numbers(position)[:3]
    np.testing.assert_allclose(way, (-2e-3 * HORIZON, 0, 0), atol=5e-3)
    assert set(made.reference[:, 2]) == {np.float32(0.25)}
    vla.rows = rows[:, :3]
    with pytest.raises(InferenceError, match=r"rows have shape \(12, 3\), or are not finite; a row has 7"):
        LoadedVla(bundle).infer(images, position)


def test_a_bundle_whose_skeleton_is_missing_or_another_is_refused(tmp_path: Path, robot: Path, data: Path) -> None:
    bundle = posed(tmp_path, robot, data)
    path = bundle.directory / "skeleton.xml"
    path.write_text(path.read_text().replace('pos="1 0 0"', 'pos="2 0 0"', 1))
    with pytest.raises(BundleError, match=r"is not the file that bundle\.yaml describes"):
        load_bundle(bundle.directory)
    path.unlink()
    with pytest.raises(BundleError, match="skeleton"):
        load_bundle(bundle.directory)


def test_without_a_model_or_a_tip_it_is_said_what_is_missing(tmp_path: Path, robot: Path, data: Path) -> None:
    said = yaml.safe_load(robot.read_text())
    del said["model"]
    robot.write_text(yaml.safe_dump(said, sort_keys=False))
    tiny_bundle(tmp_path / "bundle")
    given = ["--bundle", str(tmp_path / "bundle"), "--robot", str(robot), "--data", str(data)]
    result = CliRunner().invoke(app, ["adapt", "pose", *given])
    assert "poses need `model`" in str(result.exception)
