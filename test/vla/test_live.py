"""Recording a running robot: complete, by a person, with the label that holds at last."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rlt_ros.types import ControlStep, Outcome, Phase, SessionView, State
from rlt_ros.vla.dataset import Contents
from rlt_ros.vla.live import LiveEpisodes

CONTENTS = Contents("r", ("a", "b"), ("left", "right"), 8, 0.02)


class Stream:
    """A robot whose episodes are fed into a recorder."""

    def __init__(self, human_share: float = 0.5) -> None:
        self.live = LiveEpisodes(CONTENTS, "plug", "do it", human_share)
        self.now, self.sequence = 100.0, 0

    def picture(self, brightness: int, *, cameras: tuple[str, ...] = CONTENTS.cameras, size: int = 8) -> None:
        for camera in cameras:
            self.live.image(camera, self.now, np.full((size, size, 3), brightness, np.uint8))

    def fly(self, count: int, state: State = State.HUMAN, episode: int = 1, **changes: Any) -> None:
        for index in range(count):
            self.now += 0.02
            if index % 2 == 0 and changes.get("seeing", True):
                self.picture(self.sequence % 250)
            view = SessionView(1, episode, changes.get("phase", Phase.CRITICAL))
            place = np.full(2, float(self.sequence))
            self.live.step(ControlStep(self.now, self.sequence, view, state, "", place + 1, place, place, place * 0))
            self.sequence += 1

    def end(self, outcome: Outcome, episode: int = 1) -> None:
        self.live.ended(1, episode, self.now, outcome)


def test_a_success_flown_by_a_person_becomes_a_demonstration() -> None:
    stream = Stream()
    stream.live.started(1, 1)
    stream.fly(20)
    stream.end(Outcome.SUCCESS)
    stream.fly(3)
    episode = stream.live.started(1, 2)
    assert episode is not None
    assert (episode.ticks, len(episode.command)) == (20, 20)
    assert np.array_equal(episode.command[:, 0], np.arange(20) + 1.0)
    assert np.array_equal(episode.images[:, 0, 0, 0, 0], np.repeat(np.arange(0, 20, 2), 2))
    assert episode.setting == "controlled"


def test_the_last_label_counts() -> None:
    stream = Stream()
    stream.live.started(1, 1)
    stream.fly(10)
    stream.end(Outcome.SUCCESS)
    stream.end(Outcome.FAILURE)
    episode = stream.live.finish()
    assert episode is not None
    assert episode.ticks == 0
    stream.live.started(1, 2)
    stream.fly(10, episode=2)
    stream.end(Outcome.SUCCESS, episode=2)
    stream.end(Outcome.NONE, episode=2)
    assert stream.live.finish() is None
    assert stream.live.counters == {"episode_without_outcome": 1}


@pytest.mark.parametrize(("share", "kept"), [(0.5, False), (0.2, True), (0.0, True)])
def test_only_what_a_person_flew_is_kept(share: float, kept: bool) -> None:
    stream = Stream(share)
    stream.live.started(1, 1)
    stream.fly(15, State.REFERENCE)
    stream.fly(5, State.HUMAN)
    stream.end(Outcome.SUCCESS)
    assert (stream.live.finish() is not None) is kept
    assert stream.live.counters["episode_not_by_a_human"] == (not kept)


def test_a_lost_step_or_a_dead_camera_spoils_the_episode_and_is_counted() -> None:
    stream = Stream()
    stream.live.started(1, 1)
    stream.fly(10)
    stream.sequence += 1
    stream.fly(10)
    stream.end(Outcome.SUCCESS)
    assert stream.live.started(1, 2) is None
    stream.now += 10.0
    stream.fly(10, episode=2, seeing=False)
    stream.end(Outcome.SUCCESS, episode=2)
    assert stream.live.finish() is None
    assert stream.live.counters == {"episode_with_gap": 1, "episode_without_images": 1}


def test_pictures_of_another_size_or_moment_make_no_set() -> None:
    stream = Stream()
    stream.live.started(1, 1)
    stream.picture(1, size=4)
    stream.picture(1, cameras=("left",))
    stream.now += 0.02
    stream.picture(1, cameras=("right",))
    stream.fly(1, seeing=False)
    assert stream.live.counters == {"image_shape": 2, "episode_without_images": 1}


def test_steps_that_arrive_late_keep_the_pictures_of_their_time() -> None:
    """While an episode is written to disk steps queue up and pictures run ahead."""
    stream = Stream()
    stream.live.started(1, 1)
    late = []
    for tick in range(20):
        stream.now += 0.02
        stream.picture(tick)
        place = np.full(2, float(tick))
        view = SessionView(1, 1, Phase.CRITICAL)
        late.append(ControlStep(stream.now, tick, view, State.HUMAN, "", place, place, place, place))
    for step in late:
        stream.live.step(step)
    stream.end(Outcome.SUCCESS)
    episode = stream.live.finish()
    assert episode is not None
    assert episode.images[:, 0, 0, 0, 0].tolist() == list(range(20))


def test_the_end_stays_where_it_was_when_the_label_comes_late() -> None:
    stream = Stream()
    stream.live.started(1, 1)
    stream.fly(20)
    end = stream.now
    stream.fly(4)
    stream.live.ended(1, 1, end, Outcome.SUCCESS)
    stream.live.ended(1, 1, end + 3.0, Outcome.FAILURE)
    stream.live.ended(1, 1, end + 4.0, Outcome.SUCCESS)
    episode = stream.live.finish()
    assert episode is not None
    assert episode.ticks == 20


def test_a_full_task_is_marked_and_its_critical_phase_too() -> None:
    stream = Stream()
    stream.live.started(1, 1)
    stream.fly(6, phase=Phase.BASE)
    stream.fly(4)
    stream.end(Outcome.SUCCESS)
    episode = stream.live.finish()
    assert episode is not None
    assert episode.setting == "full"
    assert episode.critical.tolist() == [False] * 6 + [True] * 4
