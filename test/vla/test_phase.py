"""The phase head: learnt from marks, told apart from noise, refused where it does not belong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rlt_ros.bringup.graph import Bringup
from rlt_ros.cli import app
from rlt_ros.types import GROUNDING, Episode
from rlt_ros.vla.bundle import BundleError, load_bundle
from rlt_ros.vla.dataset import Contents, DatasetWriter
from rlt_ros.vla.phase import (
    Marks,
    PhaseHead,
    load_phase_head,
    mark,
    save_phase_head,
    train_phase_head,
)

SHIPPED = Bringup().bundle_path
RNG = np.random.default_rng(0)


def marks(count: int, *, informative: bool = True, dim: int = 16) -> list[Marks]:
    """Episodes of 60 observations; the hard part begins somewhere in the middle and shows in two numbers."""
    out = []
    for _ in range(count):
        begins = RNG.integers(20, 40)
        critical = np.arange(60) >= begins
        tokens = RNG.normal(size=(60, dim)).astype(np.float32)
        if informative:
            tokens[:, :2] += np.where(critical, 3.0, -3.0)[:, None]
        out.append(Marks(tokens, critical, 0.04))
    return out


def test_it_finds_where_the_hard_part_begins() -> None:
    report = train_phase_head(marks(12)).report
    assert report["accuracy"] > 0.98
    assert (report["episodes"], report["episodes_held_out"], report["never_switched"]) == (9, 3, 0)
    assert abs(report["switch_error_s_median"] - 0.08) <= 0.041, "three in a row are needed"
    assert report["switched_within_half_a_second"] == 1.0


def test_a_token_that_says_nothing_gives_a_head_that_is_reported_as_a_guess() -> None:
    report = train_phase_head(marks(12, informative=False)).report
    assert 0.35 < report["accuracy"] < 0.65


def test_episodes_without_a_mark_are_no_basis() -> None:
    bare = [Marks(m.tokens, np.ones(60, bool), 0.04) for m in marks(8)]
    with pytest.raises(ValueError, match="3 of 11 episodes hold both"):
        train_phase_head(bare + marks(3))


def test_episodes_that_never_came_so_far_teach_where_not_to_switch() -> None:
    """The third number says that a part is missing; without such episodes it looks like the hard part."""

    def missing(count: int) -> list[Marks]:
        return [
            Marks(np.where(np.arange(16) == 2, 3.0, m.tokens).astype(np.float32), np.zeros(60, bool), 0.04)
            for m in marks(count)
        ]

    assert train_phase_head(marks(12) + missing(12)).report["switched_without_mark"] == "0 of 3"
    report = train_phase_head(marks(12) + missing(1), held_out=0.25).report
    assert "switched_without_mark" not in report


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "bundle"))


def test_it_is_saved_with_its_bundle_and_nothing_else_loads_it(copy: Path) -> None:
    bundle = load_bundle(copy)
    head = PhaseHead(RNG.normal(size=bundle.token_dim).astype(np.float32), 0.5, {"accuracy": 0.9})
    path = save_phase_head(bundle, head)
    again = load_phase_head(bundle)
    token = RNG.normal(size=bundle.token_dim).astype(np.float32)
    assert (again(token), again.report) == (head(token), head.report)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BundleError, match="damaged"):
        load_phase_head(bundle)
    save_phase_head(bundle, PhaseHead(head.weight[:-1], 0.0, {}))
    with pytest.raises(BundleError, match="was made for"):
        load_phase_head(bundle)
    save_phase_head(bundle, PhaseHead(head.weight * np.nan, 0.0, {}))
    with pytest.raises(BundleError, match="not finite"):
        load_phase_head(bundle)
    path.unlink()
    assert load_phase_head(bundle) is None


def test_the_shipped_head_is_the_shipped_bundles_and_better_than_chance() -> None:
    head = load_phase_head(load_bundle(SHIPPED))
    assert head is not None
    assert head.report["accuracy"] > 0.85
    assert head.report["episodes_held_out"] >= 20


def episode(bundle, ticks: int, begins: int) -> Episode:
    """Pictures that turn bright where the hard part begins."""
    joints = len(bundle.joints)
    shape = (ticks, len(bundle.cameras), bundle.image_size, bundle.image_size, 3)
    critical = np.arange(ticks) >= begins
    images = np.where(critical[:, None, None, None, None], 200, 40).astype(np.uint8) * np.ones(shape, np.uint8)
    still = np.zeros((ticks, joints))
    return Episode(
        task="ethernet",
        instruction=bundle.instruction("ethernet"),
        setting="full",
        ticks=ticks,
        image_ticks=np.arange(ticks),
        images=images,
        position=still.astype(np.float32),
        velocity=still.astype(np.float32),
        before=still[0],
        command=still,
        critical=critical,
        grounding=np.full((ticks, GROUNDING), np.nan, np.float32),
    )


def test_marks_take_the_tokens_of_the_kept_pictures() -> None:
    bundle = load_bundle(SHIPPED)
    made = episode(bundle, 12, 5)
    seen = mark(made, lambda images, _position: np.full(3, images.mean(), np.float32), 0.02)
    assert np.allclose(seen.tokens[:, 0], np.where(made.critical, 200, 40))
    assert np.array_equal(seen.critical, made.critical)
    assert seen.interval == pytest.approx(0.02)


def test_from_recorded_marks_to_a_head_on_the_command_line(copy: Path, tmp_path: Path) -> None:
    bundle = load_bundle(copy)
    (copy / "phase.safetensors").unlink()
    contents = Contents(bundle.robot, bundle.joints, bundle.cameras, bundle.image_size, bundle.period)
    with DatasetWriter(tmp_path / "data", contents) as writer:
        for number in range(6):
            writer.add(episode(bundle, 24, 10 + number))
    arguments = ["adapt", "phase", "--bundle", str(copy), "--data", str(tmp_path / "data"), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout.strip().splitlines()[-1])
    assert report["bundle"] == bundle.id
    assert report["accuracy"] > 0.9
    assert load_phase_head(bundle).report["episodes"] == report["episodes"] == 4
