"""Sets, crops, clocks: the arithmetic of pictures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlt_ros.cameras.camera import ClockMap, Frame, Intrinsics
from rlt_ros.cameras.picture import crop_box, fitted, fitted_intrinsics, jpeg
from rlt_ros.cameras.sets import SetBuilder

BLANK = np.zeros((2, 2, 3), np.uint8)
NAMES = ("a", "b", "c")


def frame(time: float, number: int = 0) -> Frame:
    return Frame(BLANK, time, time, number)


def test_a_set_is_complete_once_and_has_the_oldest_time() -> None:
    builder = SetBuilder(NAMES, 0.01)
    assert builder.add("a", frame(1.000)) is None
    assert builder.add("b", frame(1.004)) is None
    made = builder.add("c", frame(1.002))
    assert (made.captured, made.spread) == (1.0, pytest.approx(0.004))
    assert set(made.frames) == set(NAMES)
    assert builder.add("c", frame(1.005)) is None, "no frame is used twice"


def test_frames_too_far_apart_make_no_set_and_the_newest_counts() -> None:
    builder = SetBuilder(NAMES, 0.01)
    builder.add("a", frame(1.0))
    builder.add("b", frame(1.03))
    assert builder.add("c", frame(1.031)) is None
    made = builder.add("a", frame(1.033))
    assert made.captured == 1.03
    assert builder.unmatched == 1


@settings(max_examples=200)
@given(
    st.lists(st.floats(0, 1 / 30), min_size=3, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 59)), max_size=30),
    st.integers(0, 2**31),
)
def test_free_running_cameras_with_drops_and_jitter(
    phases: list[float], lost: list[tuple[int, int]], seed: int
) -> None:
    """Never two pictures further apart than the tolerance, never one twice, and one set a period where none is lost."""
    rng = np.random.default_rng(seed)
    events = []
    for camera, phase in enumerate(phases):
        for number in range(60):
            if (camera, number) not in lost:
                captured = phase + number / 30
                events.append((captured + rng.uniform(0, 0.004), NAMES[camera], frame(captured, number)))
    builder = SetBuilder(NAMES, 0.025)
    sets, used = [], set()
    for _, name, seen in sorted(events, key=lambda event: event[0]):
        made = builder.add(name, seen)
        if made is not None:
            sets.append(made)
            for camera, member in made.frames.items():
                assert (camera, member.number) not in used
                used.add((camera, member.number))
    assert all(made.spread <= 0.025 for made in sets)
    times = [made.captured for made in sets]
    assert times == sorted(times)
    if not lost:
        assert len(sets) >= 58


def test_crops_default_to_the_middle_and_must_fit() -> None:
    assert crop_box((0, 0, 0, 0), 640, 480) == (80, 0, 480, 480)
    assert crop_box((10, 20, 100, 100), 640, 480) == (10, 20, 100, 100)
    with pytest.raises(ValueError, match="does not lie within the picture of 640 x 480"):
        crop_box((600, 0, 100, 100), 640, 480)


def test_a_picture_of_the_right_size_is_not_touched() -> None:
    image = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    assert np.array_equal(fitted(image, (0, 0, 0, 0), 96), image)


def test_shrinking_averages() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[::2] = 200
    assert np.abs(fitted(image, (0, 0, 0, 0), 32).astype(int) - 100).max() <= 1


def test_intrinsics_follow_crop_and_size() -> None:
    """A point that was seen at a pixel is seen where that pixel went."""
    before = Intrinsics(600.0, 610.0, 320.0, 240.0)
    after = fitted_intrinsics(before, (100, 50, 400, 400), 640, 480, 100)
    point = np.array([0.1, -0.05, 1.0])
    x, y = 600 * point[0] + 320, 610 * point[1] + 240
    assert after.fx * point[0] + after.cx == pytest.approx((x - 100 + 0.5) / 4 - 0.5)
    assert after.fy * point[1] + after.cy == pytest.approx((y - 50 + 0.5) / 4 - 0.5)


def test_a_devices_clock_is_mapped_by_its_quickest_frame() -> None:
    clock = ClockMap()
    rng = np.random.default_rng(0)
    for number in range(200):
        taken = 1000 + number / 30
        mapped = clock(taken - 900, taken + 0.01 + rng.exponential(0.005))
    assert mapped == pytest.approx(taken + 0.01, abs=2e-3)


def test_jpegs_are_jpegs() -> None:
    data = jpeg(np.full((32, 32, 3), 200, np.uint8))
    assert data[:2] == b"\xff\xd8"
