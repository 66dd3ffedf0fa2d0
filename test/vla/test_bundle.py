"""Bundles: what does not fit or is broken is refused with a remedy."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from rlt_ros.bringup.graph import Bringup
from rlt_ros.vla.backend import InferenceError
from rlt_ros.vla.bundle import BundleError, load_bundle
from rlt_ros.vla.loaded import LoadedVla

SHIPPED = Bringup().bundle_path


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "bundle"))


def edit(path: Path, **changes: object) -> None:
    file = path / "bundle.yaml"
    data = yaml.safe_load(file.read_text())
    for key, value in changes.items():
        if value is None:
            del data[key]
        else:
            data[key] = value
    file.write_text(yaml.safe_dump(data))


def test_the_shipped_bundle_is_whole_and_small() -> None:
    bundle = load_bundle(SHIPPED)
    assert bundle.horizon == 50
    assert len(bundle.joints) == 14
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 25e6
    assert set(bundle.training["token_probe"]) == {"true", "shuffled", "zero"}


def test_saving_and_loading_changes_nothing(copy: Path) -> None:
    before = load_bundle(copy)
    before.save()
    assert load_bundle(copy).normaliser.to_dict() == before.normaliser.to_dict()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"horizon": None}, "lacks keys: horizon"),
        ({"colour": "red"}, "unknown keys: colour"),
        ({"format": 99}, "'format' must be 2"),
        ({"period": 0.0}, "period within"),
        ({"joints": ["a"]}, "normaliser has 14 joints"),
        ({"normaliser": {}}, "normaliser: fields"),
        ({"sha256": "0"}, "sha256 differs"),
    ],
)
def test_a_broken_description_is_refused(copy: Path, changes: dict[str, object], message: str) -> None:
    edit(copy, **changes)
    with pytest.raises(BundleError, match=message):
        load_bundle(copy)


def test_a_missing_bundle_and_a_damaged_model_are_refused(copy: Path) -> None:
    with pytest.raises(BundleError, match="make one with 'rlt adapt'"):
        load_bundle(copy / "nowhere")
    (copy / "model.onnx").write_bytes((copy / "model.onnx").read_bytes()[:-10])
    with pytest.raises(BundleError, match="sha256 differs"):
        load_bundle(copy)
    (copy / "bundle.yaml").write_text("a: [")
    with pytest.raises(BundleError, match="not valid YAML"):
        load_bundle(copy)


def test_another_robot_is_named() -> None:
    bundle = load_bundle(SHIPPED)
    with pytest.raises(BundleError, match="joints right_gripper are not on this robot"):
        bundle.check_fits(bundle.joints[:-1], bundle.cameras)
    with pytest.raises(BundleError, match="cameras base"):
        bundle.check_fits(bundle.joints, bundle.cameras[:-1])


def test_one_pass_gives_token_and_reference_that_follow_the_pictures() -> None:
    bundle = load_bundle(SHIPPED)
    backend = LoadedVla(bundle)
    rng = np.random.default_rng(0)
    position = np.zeros(14)
    results = [backend.infer(rng.integers(0, 255, (3, 96, 96, 3), dtype=np.uint8), position) for _ in range(2)]
    assert results[0].token.shape == (bundle.token_dim,)
    assert results[0].reference.shape == (50, 14)
    assert not np.allclose(results[0].token, results[1].token)
    with pytest.raises(InferenceError, match="the bundle needs"):
        backend.infer(np.zeros((3, 64, 64, 3), np.uint8), position)


def test_a_file_that_is_no_model_is_refused(copy: Path) -> None:
    from rlt_ros.vla.bundle import file_sha256

    (copy / "model.onnx").write_bytes(b"nothing")
    edit(copy, sha256=file_sha256(copy / "model.onnx"))
    with pytest.raises(BundleError, match="cannot be loaded"):
        LoadedVla(load_bundle(copy))


def test_a_task_that_the_vla_was_not_trained_on_is_told() -> None:
    bundle = load_bundle(SHIPPED)
    assert all(bundle.unknown(task) == "" for task in bundle.tasks)
    told = bundle.unknown("fold")
    assert "'fold'" in told
    assert all(task in told for task in bundle.tasks)
    assert bundle.instruction("fold") in told
