"""Demonstrations: what was seen and commanded, cut into observations and chunks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from rlt_ros.offline.evaluate import FIRST_SEED
from rlt_ros.sim.cell import Cell
from rlt_ros.sim.demonstrate import OVERRUN, Order, collect, collect_parallel, demonstrate, demonstration_seed
from rlt_ros.sim.names import JOINT_NAMES
from rlt_ros.sim.tasks import SETTINGS, TASKS, get_task
from rlt_ros.types import Episode
from rlt_ros.vla.demos import load_demonstrations, prepare


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    cell = Cell(get_task("ethernet"))
    try:
        return list(collect(cell, episodes=3, stride=10, seed=0))
    finally:
        cell.close()


def test_an_episode_holds_every_tick_and_some_pictures(episodes: list[Episode]) -> None:
    for episode in episodes:
        length = len(episode.command)
        assert length == episode.ticks + OVERRUN or (not episode.ticks and length == 500)
        assert np.array_equal(episode.image_ticks, np.arange(0, length, 10))
        assert episode.images.shape == (len(episode.image_ticks), 3, 96, 96, 3)
        assert episode.critical.all()
        assert np.isfinite(episode.grounding).all()


def test_chunks_are_the_changes_of_the_commands(episodes: list[Episode]) -> None:
    demos = prepare(episodes, horizon=50)
    assert demos.steps.shape[1:] == (50, len(JOINT_NAMES))
    assert set(demos.episode) == set(np.flatnonzero(demos.ticks))
    index = int(np.flatnonzero(demos.episode == demos.episode[0])[1])
    episode = episodes[int(demos.episode[0])]
    travelled = episode.command[59] - episode.command[9]
    assert np.allclose(demos.steps[index].sum(0), travelled, atol=1e-5)
    assert not demos.steps[~demos.valid].any()


def test_failed_episodes_teach_nothing_but_are_counted(episodes: list[Episode]) -> None:
    failed = [dataclasses.replace(episode, ticks=0) for episode in episodes]
    demos = prepare([*episodes, *failed], horizon=50)
    assert len(demos.ticks) == 6
    assert demos.episode.max() < 3
    with pytest.raises(RuntimeError, match="none of the 3 episodes"):
        prepare(failed, horizon=50)


def test_what_is_kept_is_what_was_prepared(episodes: list[Episode], tmp_path: Path) -> None:
    assert load_demonstrations(tmp_path) is None
    whole, kept = prepare(episodes, horizon=50), prepare(episodes, horizon=50, kept=tmp_path / "d")
    back = load_demonstrations(tmp_path / "d")
    assert back is not None
    for name in (field.name for field in dataclasses.fields(whole)):
        for other in (kept, back):
            assert np.array_equal(getattr(whole, name), getattr(other, name)), name
    with (tmp_path / "d" / "pictures.raw").open("r+b") as pictures:
        pictures.truncate(1000)
    with pytest.raises(ValueError, match="cannot be read"):
        load_demonstrations(tmp_path / "d")


def test_interrupted_demonstrations_are_none(episodes: list[Episode], tmp_path: Path) -> None:
    prepare(episodes, horizon=50, kept=tmp_path)  # an older attempt's are no longer whole either
    with pytest.raises(ValueError, match="two instructions"):
        prepare([*episodes, dataclasses.replace(episodes[0], instruction="no, this")], horizon=50, kept=tmp_path)
    assert load_demonstrations(tmp_path) is None


def test_tasks_keep_their_instructions_apart(episodes: list[Episode]) -> None:
    other = dataclasses.replace(episodes[0], task="charger", instruction="charge it")
    demos = prepare([*episodes, other], horizon=50)
    assert list(demos.tasks) == ["ethernet", "charger"]
    assert demos.tasks["charger"] == "charge it"
    assert set(demos.instruction[demos.episode == 3]) == {1}
    with pytest.raises(ValueError, match="two instructions"):
        prepare([*episodes, other, dataclasses.replace(other, instruction="no, this")], horizon=50)


def test_the_critical_phase_of_the_full_setting_begins_after_the_grasp() -> None:
    cell = Cell(get_task("charger", setting="full"), image_size=32)
    episode = demonstrate(cell, seed=1, stride=50)
    cell.close()
    first = int(np.argmax(episode.critical))
    assert 100 < first < len(episode.command)
    assert np.isfinite(episode.grounding[first]).all()
    assert np.isnan(episode.grounding[0]).all()


def test_demonstrations_made_by_several_processes_are_the_same() -> None:
    order = Order("ethernet", "controlled", episodes=2, stride=50, seed=7)
    parallel = list(collect_parallel([order], workers=2))
    cell = Cell(get_task("ethernet"))
    alone = list(collect(cell, episodes=2, stride=50, seed=7))
    cell.close()
    assert [e.ticks for e in parallel] == [e.ticks for e in alone]
    assert np.array_equal(parallel[1].images, alone[1].images)


def test_no_seed_is_shared_by_tasks_settings_runs_or_evaluation() -> None:
    first = [demonstration_seed(seed, task, setting) for seed in range(50) for task in TASKS for setting in SETTINGS]
    assert len(set(first)) == len(first)
    gaps = np.diff(np.sort(first))
    assert gaps.min() >= 10_000
    assert min(first) > FIRST_SEED + 100_000 * 10
