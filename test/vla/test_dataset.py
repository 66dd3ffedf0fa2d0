"""LeRobot v3 datasets: what is written is read back, and lerobot's own layout is kept."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlt_ros.config import ConfigError
from rlt_ros.types import GROUNDING, Episode
from rlt_ros.vla.dataset import Contents, DatasetWriter, read_contents, read_episodes
from rlt_ros.vla.dataset_writer import _Statistics
from rlt_ros.vla.demos import prepare

CONTENTS = Contents("robot", ("a", "b"), ("left", "right"), 32, 0.02)


def episode(seed: int = 0, length: int = 40, ticks: int = 30) -> Episode:
    rng = np.random.default_rng(seed)
    # Smooth pictures: JPEG is made for those.
    ramp = np.linspace(0, 255, 32, dtype=np.float64)
    images = np.empty((length, 2, 32, 32, 3), np.uint8)
    images[:] = np.clip(ramp[:, None, None] * rng.uniform(0.3, 1, (length, 2, 1, 1, 3)), 0, 255)
    return Episode(
        task=f"plug {seed % 2}",
        instruction=f"do {seed % 2}",
        setting="controlled",
        ticks=ticks,
        image_ticks=np.arange(length),
        images=images,
        position=rng.normal(size=(length, 2)).astype(np.float32),
        velocity=rng.normal(size=(length, 2)).astype(np.float32),
        before=np.zeros(2),
        command=rng.normal(size=(length, 2)),
        critical=np.arange(length) > 5,
        grounding=np.where(np.arange(length)[:, None] < 5, np.nan, rng.normal(size=(length, GROUNDING))).astype("f4"),
    )


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    with DatasetWriter(tmp_path / "data", CONTENTS) as writer:
        for seed, ticks in enumerate((30, 0, 20)):
            writer.add(episode(seed, ticks=ticks))
    return tmp_path / "data"


def test_what_was_written_is_read(dataset: Path) -> None:
    assert read_contents(dataset) == CONTENTS
    back = list(read_episodes(dataset, stride=4))
    assert [e.ticks for e in back] == [30, 0, 20]
    for seed, read in enumerate(back):
        wrote = episode(seed)
        assert read.instruction == wrote.instruction
        assert np.array_equal(read.image_ticks, np.arange(0, 40, 4))
        assert np.abs(read.images.astype(int) - wrote.images[::4]).mean() < 3
        assert np.allclose(read.command, wrote.command, atol=1e-6)
        for name in ("position", "velocity", "critical", "grounding"):
            assert np.array_equal(getattr(read, name), getattr(wrote, name), equal_nan=name == "grounding")
    assert set(prepare(back, horizon=8).episode) == {0, 2}


def test_the_layout_is_lerobots(dataset: Path) -> None:
    info = json.loads((dataset / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["fps"], info["total_episodes"], info["total_frames"], info["total_tasks"]) == (50, 3, 120, 2)
    entries = pq.read_table(dataset / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [(e["dataset_from_index"], e["dataset_to_index"]) for e in entries] == [(0, 40), (40, 80), (80, 120)]
    frames = pq.read_table(dataset / info["data_path"].format(chunk_index=0, file_index=1))
    assert set(frames.column_names) == set(info["features"])
    assert frames["index"].to_pylist() == list(range(40, 80))
    assert frames["observation.images.left"][0].as_py()["bytes"][:2] == b"\xff\xd8"
    assert frames.schema.field("action").type.list_size == 2
    tasks = pq.read_table(dataset / "meta/tasks.parquet")
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    stats = json.loads((dataset / "meta/stats.json").read_text())
    assert np.shape(stats["observation.images.left"]["mean"]) == (3, 1, 1)
    assert stats["action"]["count"] == [120]
    assert stats["observation.images.left"]["count"] == [6]
    assert all(np.isfinite(stats["grounding"]["std"]))
    actions = np.concatenate([episode(seed).command for seed in range(3)])
    for name, share in (("q01", 0.01), ("q50", 0.5), ("q99", 0.99)):
        np.testing.assert_allclose(stats["action"][name], np.quantile(actions, share, axis=0), atol=1e-6)
    of_one = {name: entries[1][f"stats/action/{name}"] for name in ("mean", "max", "q90", "count")}
    np.testing.assert_allclose(of_one["mean"], episode(1).command.mean(0), atol=1e-6)
    np.testing.assert_allclose(of_one["q90"], np.quantile(episode(1).command, 0.9, axis=0), atol=1e-6)
    assert of_one["count"] == [40]
    assert np.shape(entries[1]["stats/observation.images.left/std"]) == (3, 1, 1)


def test_quantiles_of_a_long_recording_need_no_more_memory() -> None:
    statistics = _Statistics((-1,))
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200_000, 2)) * [1, 3]
    for part in np.array_split(rows, 37):
        statistics.add(part)
    assert statistics._some is not None
    assert len(statistics._some) <= 50_000
    figures = statistics.result()
    assert figures["count"] == [200_000]
    for name, share in (("q01", 0.01), ("q50", 0.5), ("q99", 0.99)):
        np.testing.assert_allclose(figures[name], np.quantile(rows, share, axis=0), atol=0.08)


def grey(seed: int, length: int = 40) -> Episode:
    """Frame k of camera c is grey of 4 k + 40 c."""
    images = np.empty((length, 2, 32, 32, 3), np.uint8)
    images[:] = (4 * np.arange(length)[:, None] + 40 * np.arange(2))[..., None, None, None]
    return dataclasses.replace(episode(seed, length=length), images=images)


@pytest.mark.parametrize("stride", [1, 3])
def test_videos_are_read_frame_by_frame(tmp_path: Path, stride: int) -> None:
    with DatasetWriter(tmp_path / "data", CONTENTS, video=True) as writer:
        for seed in range(2):
            writer.add(grey(seed))
    assert read_contents(tmp_path / "data") == CONTENTS
    for read in read_episodes(tmp_path / "data", stride, cameras=("right", "left")):
        shown = read.images.mean(axis=(2, 3, 4))
        np.testing.assert_allclose(shown[:, 1], 4 * np.arange(0, 40, stride), atol=1.5)
        np.testing.assert_allclose(shown[:, 0], 4 * np.arange(0, 40, stride) + 40, atol=1.5)


def test_several_episodes_in_one_video_are_told_apart(tmp_path: Path) -> None:
    """As LeRobot's own recordings are: one file for many, each from a moment of its own."""
    with DatasetWriter(tmp_path / "data", CONTENTS, video=True) as writer:
        writer.add(grey(0, length=60))
    path = tmp_path / "data/meta/episodes/chunk-000/file-000.parquet"
    entry = pq.read_table(path).to_pylist()[0]
    key = "videos/observation.images.left"
    later = {**entry, f"{key}/from_timestamp": 0.4, "length": 40}
    pq.write_table(pa.Table.from_pylist([later]), path)
    frames = tmp_path / "data/data/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(frames).slice(0, 40), frames)
    (read,) = read_episodes(tmp_path / "data", 2)
    np.testing.assert_allclose(read.images[:, 0].mean(axis=(1, 2, 3)), 4 * np.arange(20, 60, 2), atol=1.5)


def test_a_video_that_is_missing_cut_or_damaged_is_named(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "data", CONTENTS, video=True) as writer:
        writer.add(grey(0))
    path = next((tmp_path / "data/videos/observation.images.left").rglob("*.mp4"))
    whole = path.read_bytes()
    index = tmp_path / "data/meta/episodes/chunk-000/file-000.parquet"
    entry = pq.read_table(index).to_pylist()[0]
    late = {**entry, "videos/observation.images.left/from_timestamp": 0.5}
    pq.write_table(pa.Table.from_pylist([late]), index)
    with pytest.raises(ConfigError, match=r"file-000.mp4 has \d+ of the 40 frames"):
        list(read_episodes(tmp_path / "data", 1))
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(ConfigError, match=r"episode 0 cannot be read"):
        list(read_episodes(tmp_path / "data", 1))
    path.unlink()
    with pytest.raises(ConfigError, match=r"file-000.mp4 is missing"):
        list(read_episodes(tmp_path / "data", 1))


def test_without_ground_truth_there_are_no_empty_statistics(tmp_path: Path) -> None:
    """Lerobot cannot merge a dataset whose statistics are empty lists."""
    with DatasetWriter(tmp_path / "data", CONTENTS) as writer:
        writer.add(dataclasses.replace(episode(), grounding=np.full((40, GROUNDING), np.nan, np.float32)))
    assert "grounding" not in json.loads((tmp_path / "data/meta/stats.json").read_text())


@pytest.mark.parametrize("names", [["a", "b"], {"motors": ["a", "b"]}, {"first": "a", "second": "b"}])
def test_joint_names_are_understood_in_all_of_lerobots_forms(names: object, dataset: Path) -> None:
    path = dataset / "meta/info.json"
    info = json.loads(path.read_text())
    info["features"]["action"]["names"] = names
    del info["robot_type"]
    path.write_text(json.dumps(info))
    assert read_contents(dataset).joints == ("a", "b")


def test_a_period_without_whole_frames_a_second_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="whole frames a second"):
        DatasetWriter(tmp_path / "data", dataclasses.replace(CONTENTS, period=0.03))


def test_an_interruption_leaves_what_was_complete(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path / "data", CONTENTS)
    writer.add(episode(0))
    with pytest.raises(ValueError, match="the dataset needs"):
        writer.add(dataclasses.replace(episode(1), images=np.zeros((40, 2, 16, 16, 3), np.uint8)))
    assert len(list(read_episodes(tmp_path / "data", stride=40))) == 1


def test_nothing_is_overwritten_and_nothing_empty_is_left(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not empty"):
        DatasetWriter(dataset, CONTENTS)
    with DatasetWriter(tmp_path / "none", CONTENTS):
        pass
    assert not (tmp_path / "none").exists()


def test_what_stage_1_cannot_read_is_refused_with_the_reason(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a LeRobot dataset"):
        read_contents(tmp_path)
    path = dataset / "meta/info.json"
    info = json.loads(path.read_text())
    for change, message in (
        ({"codebase_version": "v2.1"}, "is LeRobot v2.1, expected v3.0"),
        ({"features": {"action": {"names": ["a"]}}}, "no feature 'observation.state'"),
        (
            {"features": {**info["features"], "observation.images.left": {"dtype": "depth", "shape": [32, 32, 3]}}},
            "holds pictures of another kind",
        ),
        (
            {
                "features": {
                    name: {**feature, "shape": [30, 30, 3]} if "images" in name else feature
                    for name, feature in info["features"].items()
                }
            },
            "a multiple of 32",
        ),
        (
            {"features": {**info["features"], "action": {"dtype": "float32", "shape": [3], "names": None}}},
            "the same named joints",
        ),
    ):
        path.write_text(json.dumps({**info, **change}))
        with pytest.raises(ConfigError, match=message):
            read_contents(dataset)
    path.write_text(json.dumps(info))
    (dataset / info["data_path"].format(chunk_index=0, file_index=2)).unlink()
    with pytest.raises(ConfigError, match="episode 2 is missing"):
        list(read_episodes(dataset, stride=10))
