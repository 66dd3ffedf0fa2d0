"""How demonstrations move, kept beside a bundle: units for what RL may change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_adapt import JOINTS, demonstrations
from vla_support import tiny_bundle

from rlt_ros.vla.bundle import BundleError
from rlt_ros.vla.motion import MOTION_FILE, load_motion, motion_of, save_motion


def test_the_moment_is_that_of_executed_chunks_and_a_shorter_chunks_is_a_part_of_it() -> None:
    demos = demonstrations()
    motion = motion_of(demos)
    assert (motion.rows, motion.joints) == (demos.steps.shape[1], JOINTS)
    chunks = (demos.steps / demos.normaliser.action_std).reshape(len(demos.steps), -1)
    np.testing.assert_allclose(motion.moment, chunks.T @ chunks / len(chunks), rtol=1e-4)
    first = chunks[:, : 3 * JOINTS]
    np.testing.assert_allclose(motion.of_chunk(3), first.T @ first / len(first), rtol=1e-4)
    with pytest.raises(ValueError, match="up to 8 rows, not 9"):
        motion.of_chunk(9)


def test_only_the_critical_phase_and_whole_chunks_count() -> None:
    demos = demonstrations()
    demos.critical[::2] = False
    demos.steps[::2] = 100.0
    demos.valid[1::4, -1] = False
    demos.steps[1::4] = 50.0
    kept = demos.steps[3::4] / demos.normaliser.action_std
    chunks = kept.reshape(len(kept), -1)
    np.testing.assert_allclose(motion_of(demos).moment, chunks.T @ chunks / len(chunks), rtol=1e-4)


def test_demonstrations_that_are_shorter_than_a_chunk_have_units_too() -> None:
    """An hour of training ended with `cannot reshape array of size 0`."""
    demos = demonstrations()
    demos.valid[:, -1] = False
    demos.steps[:, -1] = 0.0
    chunks = (demos.steps / demos.normaliser.action_std).reshape(len(demos.steps), -1)
    np.testing.assert_allclose(motion_of(demos).moment, chunks.T @ chunks / len(chunks), rtol=1e-4)


def test_durations_and_speeds_are_told_by_task() -> None:
    motion = motion_of(demonstrations())
    assert motion.durations == {"push": [10.0] * 21, "pull": [10.0] * 21}
    assert all(quantiles == sorted(quantiles) for quantiles in motion.speeds.values())
    assert motion.summary(0.02)["push"]["seconds"] == [0.2] * 5


def test_durations_are_those_of_the_critical_phase_where_some_episodes_begin_with_it() -> None:
    demos = demonstrations()
    demos.instruction[:] = demos.episode % 2
    demos.ticks[:12] = 99
    demos.critical[:120:10] = False
    assert motion_of(demos).durations["push"] == [10.0] * 21
    demos.critical[::10] = False
    assert motion_of(demos).durations["push"][-1] == 99.0


def test_it_lies_beside_the_bundle_and_one_of_another_robot_is_refused(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path)
    assert load_motion(bundle) is None
    motion = motion_of(demonstrations())
    save_motion(motion, tmp_path)
    found = load_motion(bundle)
    assert found is not None
    np.testing.assert_array_equal(found.moment, motion.moment)
    assert found.durations == motion.durations
    wide = tiny_bundle(tmp_path / "wide", joints=("a", "b"))
    save_motion(motion, wide.directory)
    with pytest.raises(BundleError, match="3 joints, the bundle has 2"):
        load_motion(wide)
    (tmp_path / MOTION_FILE).write_bytes(b"nothing")
    with pytest.raises(BundleError, match="make the bundle anew"):
        load_motion(bundle)
