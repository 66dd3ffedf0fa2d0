"""Datasets as others make them: W7, W8, W9, U3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlt_ros.config import ConfigError
from rlt_ros.types import GROUNDING, Episode
from rlt_ros.vla.dataset import Contents, DatasetWriter, read_contents, read_episodes
from rlt_ros.vla.demos import prepare

CONTENTS = Contents("robot", ("a", "b"), ("left",), 32, 0.02)
LENGTH = 60
DATA = "data/chunk-000/file-000.parquet"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two joints that swing, one episode a file."""
    time = np.arange(LENGTH) * CONTENTS.period
    path = np.stack([0.5 * np.sin(3 * time), -1.0 + 0.2 * time], axis=1)
    with DatasetWriter(tmp_path / "data", CONTENTS) as writer:
        for _ in range(2):
            writer.add(
                Episode(
                    task="plug",
                    instruction="plug it in",
                    setting="controlled",
                    ticks=LENGTH,
                    image_ticks=np.arange(LENGTH),
                    images=np.zeros((LENGTH, 1, 32, 32, 3), np.uint8),
                    position=path.astype(np.float32),
                    velocity=np.gradient(path, CONTENTS.period, axis=0).astype(np.float32),
                    before=path[0],
                    command=path + 0.01,
                    critical=np.ones(LENGTH, dtype=bool),
                    grounding=np.full((LENGTH, GROUNDING), np.nan, np.float32),
                )
            )
    return tmp_path / "data"


def change(dataset: Path, name: str, make: Any, *, drop: bool = False, episode: int = 0) -> None:
    """Another column in an episode's file."""
    path = dataset / DATA.replace("000.parquet", f"{episode:03d}.parquet")
    table = pq.read_table(path)
    index = table.column_names.index(name)
    if drop:
        pq.write_table(table.remove_column(index), path)
        return
    values = make(np.array(table[name].to_pylist()))
    array = pa.array(values.tolist(), table.schema.field(name).type)
    pq.write_table(table.set_column(index, table.schema.field(name), array), path)


def features(dataset: Path, **changes: Any) -> None:
    """Another description of the columns; None takes a feature away."""
    path = dataset / "meta/info.json"
    info = json.loads(path.read_text())
    for name, given in changes.items():
        name = name.replace("__", ".")
        if given is None:
            del info["features"][name]
        else:
            info["features"][name].update(given)
    path.write_text(json.dumps(info))


def test_W7_columns_are_taken_by_name(dataset: Path) -> None:
    features(dataset, observation__state={"names": ["b", "a"]}, observation__velocity={"names": ["b", "a"]})
    for episode in range(2):
        for name in ("observation.state", "observation.velocity"):
            change(dataset, name, lambda values: values[:, ::-1], episode=episode)
    assert read_contents(dataset).joints == ("a", "b")
    for episode in read_episodes(dataset, 4):
        assert np.abs(episode.position - episode.command).max() < 0.011
        assert np.abs(np.gradient(episode.position[:, 0], 0.02) - episode.velocity[:, 0]).max() < 0.01


def test_W7_more_columns_than_joints_are_picked_by_name(dataset: Path) -> None:
    features(dataset, action={"names": ["b"], "shape": [1]})
    for episode in range(2):
        path = dataset / DATA.replace("000.parquet", f"{episode:03d}.parquet")
        table = pq.read_table(path)
        column = pa.array([row[1] for row in table["action"].to_pylist()], pa.float32())
        pq.write_table(table.set_column(table.column_names.index("action"), "action", column), path)
    assert read_contents(dataset).joints == ("b",)
    for episode in read_episodes(dataset, 4):
        assert episode.position.shape == episode.velocity.shape == episode.command.shape == (LENGTH, 1)
        assert np.abs(episode.position - episode.command).max() < 0.011


def test_W7_other_names_are_refused(dataset: Path) -> None:
    features(dataset, observation__state={"names": ["x", "b"]})
    with pytest.raises(ConfigError, match=r"commands a, b; 'observation\.state' has 2 columns named x, b"):
        read_contents(dataset)


def test_W8_velocities_that_are_missing_are_those_of_the_positions(dataset: Path) -> None:
    known = prepare(read_episodes(dataset, 4), 10).normaliser
    features(dataset, observation__velocity=None)
    for episode in range(2):
        change(dataset, "observation.velocity", None, drop=True, episode=episode)
    derived = prepare(read_episodes(dataset, 4), 10).normaliser
    assert np.allclose(derived.proprio_std, known.proprio_std, rtol=0.02)
    moving = np.zeros(4)
    moving[2] = 0.3
    assert np.abs((moving - derived.proprio_mean) / derived.proprio_std)[2] < 3, "0.3 rad/s is nothing unusual"


@pytest.mark.parametrize(
    ("name", "factor", "message"),
    [
        ("observation.state", 57.3, "observation.state of b reaches .* beyond reason for rad"),
        ("action", 57.3, "action of b reaches .* beyond reason for rad"),
        ("observation.velocity", 573.0, "observation.velocity of . reaches .* beyond reason for rad/s"),
    ],
)
def test_W9_degrees_are_refused_with_file_and_episode(dataset: Path, name: str, factor: float, message: str) -> None:
    change(dataset, name, lambda values: values * factor, episode=1)
    with pytest.raises(ConfigError, match=message) as raised:
        list(read_episodes(dataset, 4))
    assert "file-001.parquet, episode 1" in str(raised.value)


def test_W9_a_task_that_changes_within_an_episode_makes_two(dataset: Path) -> None:
    tasks = dataset / "meta/tasks.parquet"
    pq.write_table(pa.table({"task_index": [0, 1], "task": ["plug it in", "let it go"]}), tasks)
    change(dataset, "task_index", lambda values: (np.arange(LENGTH) >= 40).astype(int))
    index = dataset / "meta/episodes/chunk-000/file-000.parquet"
    rows = pq.read_table(index).to_pylist()
    rows[0]["tasks"] = ["plug it in", "let it go"]
    pq.write_table(pa.Table.from_pylist(rows), index)
    found = list(read_episodes(dataset, 4))
    assert [(e.instruction, len(e.command), e.ticks) for e in found] == [
        ("plug it in", 40, 40),
        ("let it go", 20, 20),
        ("plug it in", 60, 60),
    ]
    assert len({e.task for e in found[:2]}) == 2
    assert set(prepare(found, 10).tasks.values()) == {"plug it in", "let it go"}


def test_U3_a_stale_index_and_an_empty_episode_are_named(dataset: Path) -> None:
    path = dataset / DATA
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 50), path)
    with pytest.raises(ConfigError, match=r"file-000.parquet, episode 0: 50 frames, 60 are listed"):
        list(read_episodes(dataset, 4))
    pq.write_table(table.slice(0, 0), path)
    with pytest.raises(ConfigError, match=r"file-000.parquet, episode 0: 0 frames"):
        list(read_episodes(dataset, 4))


def test_U3_files_that_are_damaged_are_named(dataset: Path) -> None:
    path = dataset / DATA
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=r"file-000.parquet cannot be read"):
        list(read_episodes(dataset, 4))
    path.write_bytes(whole)
    table = pq.read_table(path)
    broken = [{"bytes": b"no picture", "path": None}] * LENGTH
    column = pa.array(broken, table.schema.field("observation.images.left").type)
    pq.write_table(
        table.set_column(table.column_names.index("observation.images.left"), "observation.images.left", column), path
    )
    with pytest.raises(ConfigError, match=r"file-000.parquet, episode 0 cannot be read: UnidentifiedImageError"):
        list(read_episodes(dataset, 4))
    (dataset / "meta/episodes/chunk-000/file-000.parquet").unlink()
    with pytest.raises(ConfigError, match="lists no episode"):
        list(read_episodes(dataset, 4))


def test_a_value_that_is_not_finite_is_named(dataset: Path) -> None:
    change(dataset, "observation.state", lambda values: np.where(np.arange(LENGTH)[:, None] == 7, np.nan, values))
    with pytest.raises(ConfigError, match=r"episode 0: observation\.state is not finite"):
        list(read_episodes(dataset, 4))
