"""Checkpoints and resume: bit by bit the same, and never silently something else."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from support import BUNDLE, JOINTS, PERIOD, TOKEN, control_step, normaliser, policy_input, session

from rlt_ros.rl.checkpoint import (
    CheckpointError,
    DamagedError,
    Layout,
    Versions,
    load_checkpoint,
    prune_checkpoints,
    resume,
    save_checkpoint,
)
from rlt_ros.rl.config import CHECKPOINT_FORMAT, LearnerConfig, LearnerParameters, settings
from rlt_ros.rl.export import export_actor
from rlt_ros.rl.ingest import Ingest
from rlt_ros.rl.learner import Learner
from rlt_ros.rl.replay import Replay, ReplaySpec
from rlt_ros.rl.samples import EpisodeBuilder, SampleConfig
from rlt_ros.types import Outcome

CONFIG = LearnerConfig(hidden=(16, 16), batch=16, warmup_samples=10, burn_in_updates=4, directions=6, human_mix=0.2)
LAYOUT = Layout(BUNDLE, ("a", "b", "c"), normaliser())


def learner(config: LearnerConfig = CONFIG) -> Learner:
    return Learner(config, Replay(ReplaySpec(1000, TOKEN, JOINTS)))


def weights(made: Learner, version: int) -> bytes:
    return export_actor(made, BUNDLE, version)


def fly(made: Learner, episodes: int = 4) -> None:
    """What a robot lived through; the same every time."""
    ingest = Ingest(EpisodeBuilder(SampleConfig(), normaliser(), BUNDLE, TOKEN), made.replay)
    ingest.session(1)
    rng = np.random.default_rng(0)
    sequence = 0
    for episode in range(1, episodes + 1):
        for _ in range(60):
            now = sequence * PERIOD
            token = rng.normal(size=TOKEN).astype(np.float32)
            ingest.policy_input(policy_input(now, sequence, token=token, slope=rng.normal() * 1e-3))
            view = session(episode=episode)
            moved = rng.normal(size=JOINTS) * 1e-3
            step = control_step(sequence, now, input_sequence=sequence, session=view, command=moved)
            ingest.step(step)
            sequence += 1
        ingest.end(1, episode, now, Outcome.SUCCESS if episode % 2 else Outcome.FAILURE)
        sequence += 10
    ingest.flush()


def test_going_on_is_the_same_as_never_having_stopped(tmp_path: Path) -> None:
    whole = learner()
    fly(whole)
    for _ in range(20):
        whole.update()
    path = save_checkpoint(whole, tmp_path, version=7, layout=LAYOUT)
    again, found = resume(learner, tmp_path, layout=LAYOUT)
    assert found is not None
    again.replay.mark(found["replay"]["written"])
    fly(again)  # the journal's part
    assert again.replay.marked_digest.hex() == found["replay"]["digest"]
    assert weights(again, 7) == weights(whole, 7) == (path / "actor.safetensors").read_bytes()
    mine, theirs = whole.replay.stored(), again.replay.stored()
    for name in mine:
        # Returns are NaN where they are not known; a NaN equals nothing.
        assert torch.equal(mine[name].float().nan_to_num(-9.0), theirs[name].float().nan_to_num(-9.0)), name
    for _ in range(20):
        whole.update()
        again.update()
    assert weights(again, 8) == weights(whole, 8)
    assert again.updates == whole.updates == 40
    assert again.units == whole.units != ""


def test_two_replays_have_one_digest_only_if_they_hold_the_same() -> None:
    one, other = learner(), learner()
    fly(one)
    fly(other, episodes=3)
    assert one.replay.digest != other.replay.digest
    same = learner()
    fly(same)
    assert one.replay.digest == same.replay.digest


@pytest.mark.parametrize(
    ("layout", "config", "named"),
    [
        (dataclasses.replace(LAYOUT, bundle_id="other"), CONFIG, "bundle 'test-bundle' -> 'other'"),
        (dataclasses.replace(LAYOUT, joints=("a", "c", "b")), CONFIG, "joints"),
        (dataclasses.replace(LAYOUT, normaliser=normaliser(2e-3)), CONFIG, "normaliser"),
        (LAYOUT, dataclasses.replace(CONFIG, hidden=(32, 16)), "hidden"),
        (LAYOUT, dataclasses.replace(CONFIG, discount=0.9), "discount 0.998 -> 0.9"),
    ],
)
def test_another_training_is_refused_by_name(layout: Layout, config: LearnerConfig, named: str, tmp_path: Path) -> None:
    save_checkpoint(learner(), tmp_path, version=1, layout=LAYOUT)
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    with pytest.raises(CheckpointError, match=named) as error:
        resume(lambda: learner(config), tmp_path, layout=layout)
    assert not isinstance(error.value, DamagedError)
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


def test_an_older_format_is_refused_with_what_to_do(tmp_path: Path) -> None:
    described = save_checkpoint(learner(), tmp_path, version=1, layout=LAYOUT) / "checkpoint.json"
    described.write_text(described.read_text().replace(f'"format": {CHECKPOINT_FORMAT}', '"format": 8'))
    with pytest.raises(CheckpointError, match="format 8, this version reads 9: begin a new run, or go on with the ver"):
        resume(learner, tmp_path, layout=LAYOUT)


def test_another_chunk_is_refused(tmp_path: Path) -> None:
    save_checkpoint(learner(), tmp_path, version=1, layout=LAYOUT)
    short = Learner(CONFIG, Replay(ReplaySpec(1000, TOKEN, JOINTS, chunk=4)))
    with pytest.raises(CheckpointError, match="chunk 10 -> 4"):
        resume(lambda: short, tmp_path, layout=LAYOUT)


def test_what_does_not_change_what_is_learnt_may_change(tmp_path: Path) -> None:
    save_checkpoint(learner(), tmp_path, version=1, layout=LAYOUT)
    for change in ({"capacity": 500}, {"seed": 8}, {"update_ratio": 0.25}):
        assert resume(lambda change=change: learner(dataclasses.replace(CONFIG, **change)), tmp_path, layout=LAYOUT)[1]


@pytest.mark.parametrize("file", ["learner.safetensors", "checkpoint.json"])
def test_a_checkpoint_cut_anywhere_falls_back_to_the_one_before(file: str, tmp_path: Path) -> None:
    made = learner()
    fly(made)
    for _ in range(6):
        made.update()
    good = save_checkpoint(made, tmp_path / "run", version=1, layout=LAYOUT)
    wanted = weights(made, 1)
    made.update()
    made.update()
    newest = save_checkpoint(made, tmp_path / "run", version=2, layout=LAYOUT)
    whole = (newest / file).read_bytes()
    for cut in np.random.default_rng(0).integers(0, len(whole), 20):
        (newest / file).write_bytes(whole[:cut])
        told: list[str] = []
        again, found = resume(learner, tmp_path / "run", layout=LAYOUT, tell=told.append)
        assert found is not None
        assert found["version"] == 1
        assert weights(again, 1) == wanted
        assert "is damaged" in told[0]
        aside = newest.with_name(f"damaged-{newest.name}")
        assert (aside / file).read_bytes() == whole[:cut], (
            "nothing is thrown away, and it passes for the newest no more"
        )
        aside.rename(newest)
    (newest / file).unlink()
    (good / file).write_bytes(b"")
    with pytest.raises(CheckpointError, match="none of the 2 checkpoints"):
        resume(learner, tmp_path / "run", layout=LAYOUT)


@pytest.mark.parametrize("old", ['"format"', '"PCG64"', "{"])
def test_a_description_with_a_wrong_byte_falls_back_too(old: str, tmp_path: Path) -> None:
    made = learner()
    save_checkpoint(made, tmp_path, version=1, layout=LAYOUT)
    made.updates = 5
    newest = save_checkpoint(made, tmp_path, version=2, layout=LAYOUT)
    text = (newest / "checkpoint.json").read_bytes()
    wrong = bytes([old.encode()[-2] | 0x80]) if len(old) > 1 else b"\xff"
    (newest / "checkpoint.json").write_bytes(text.replace(old.encode()[-2:], wrong + old.encode()[-1:], 1))
    found = resume(learner, tmp_path, layout=LAYOUT)[1]
    assert found is not None
    assert found["version"] == 1


def test_a_flipped_byte_among_the_numbers_is_noticed(tmp_path: Path) -> None:
    made = learner()
    save_checkpoint(made, tmp_path, version=1, layout=LAYOUT)
    made.updates = 5
    newest = save_checkpoint(made, tmp_path, version=2, layout=LAYOUT) / "learner.safetensors"
    data = bytearray(newest.read_bytes())
    data[-100] ^= 1
    newest.write_bytes(data)
    told: list[str] = []
    found = resume(learner, tmp_path, layout=LAYOUT, tell=told.append)[1]
    assert found is not None
    assert found["version"] == 1
    assert "not what was written" in told[0]


def test_an_unfinished_checkpoint_is_none(tmp_path: Path) -> None:
    path = save_checkpoint(learner(), tmp_path, version=1, layout=LAYOUT)
    shutil.copytree(path, tmp_path / ".step-000000009.new")
    assert resume(learner, tmp_path, layout=LAYOUT)[1]["version"] == 1
    assert resume(learner, tmp_path / "empty", layout=LAYOUT)[1] is None


def test_the_last_ones_and_the_best_are_kept(tmp_path: Path) -> None:
    made = learner()
    for updates, score in enumerate([5.0, None, 90.0, 20.0, 30.0, 40.0], 1):
        made.updates = updates
        save_checkpoint(made, tmp_path, version=updates, layout=LAYOUT, score=score)
        prune_checkpoints(tmp_path, 2)
    assert [path.name[-1] for path in sorted(tmp_path.glob("step-*"))] == ["3", "5", "6"]
    with pytest.raises(DamagedError):
        load_checkpoint(made, tmp_path / "step-000000001", layout=LAYOUT)


def test_versions_rise_over_crashes(tmp_path: Path) -> None:
    given: list[int] = []
    for _ in range(4):  # each life ends without a word
        versions = Versions(tmp_path, at_least=3)
        given += [versions.next() for _ in range(5)]
    assert given == sorted(set(given))
    assert given[0] == 4
    (tmp_path / "versions.json").write_text('{"reser')
    assert Versions(tmp_path, at_least=9000).next() == 9001
    assert json.loads((tmp_path / "versions.json").read_text())["reserved"] >= 9001


def test_versions_go_on_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    versions = Versions(tmp_path / "file")
    assert [versions.next(), versions.next()] == [1, 2]
    assert "versions.json" in versions.problem
    assert Versions(None).next() == 1


def test_a_nodes_own_parameters_are_no_settings_of_the_training() -> None:
    """A learner that is started by hand where `rlt up` told it the loop's period goes on all the same."""
    assert settings(LearnerParameters(bundle="b", period=0.02, publish_period=1.0)) == settings(LearnerConfig())
