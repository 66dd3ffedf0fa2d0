"""Passes in a thread: always of the newest moment, whatever the VLA does."""

from __future__ import annotations

import threading
import time

import numpy as np

from rlt_ros.vla.backend import Inference, InferenceError
from rlt_ros.vla.worker import Answer, Moment, PassWorker, Spacing


def moment(number: int) -> Moment:
    return Moment(np.zeros((1, 2, 2, 3), np.uint8), np.zeros(3), float(number))


class Vla:
    """Answers when it is let; fails where it is told to."""

    def __init__(self) -> None:
        self.let, self.begun, self.answered = threading.Semaphore(0), threading.Semaphore(0), threading.Semaphore(0)
        self.failing: set[float] = set()
        self.worker = PassWorker(self.infer, self.answered.release, lambda: 3)

    def infer(self, seen: list[Moment]) -> list[Inference]:
        self.begun.release()
        assert self.let.acquire(timeout=10)
        if any(each.stamp in self.failing for each in seen):
            raise InferenceError("no")
        return [Inference(np.ones(1, np.float32), np.zeros((1, 3), np.float32), 0.0) for _ in seen]

    def answer(self) -> list[Answer]:
        self.let.release()
        assert self.answered.acquire(timeout=10)
        return self.worker.take()


def stamps(answers: list[Answer]) -> list[float]:
    return [answer.moment.stamp for answer in answers]


def test_only_the_newest_of_what_waits_is_looked_at() -> None:
    vla = Vla()
    vla.worker.submit(moment(0))
    assert vla.begun.acquire(timeout=10)
    overtaken = [vla.worker.submit(moment(number)) for number in (1, 2, 3)]
    assert [None if each is None else each.stamp for each in overtaken] == [None, 1.0, 2.0]
    assert stamps(vla.answer()) == [0.0]
    assert stamps(vla.answer()) == [3.0]
    assert vla.worker.overtaken == 2
    assert vla.worker.take() == []
    vla.worker.end()


def test_a_failure_is_an_answer_and_the_next_pass_is_made() -> None:
    vla = Vla()
    vla.failing = {0.0}
    vla.worker.submit(moment(0))
    assert isinstance(vla.answer()[0].made, InferenceError)
    vla.worker.submit(moment(1))
    assert isinstance(vla.answer()[0].made, Inference)
    vla.worker.end()


def test_it_is_known_how_long_a_pass_takes_and_the_end_does_not_wait_for_it() -> None:
    vla = Vla()
    assert vla.worker.busy == 0.0
    vla.worker.submit(moment(0))
    assert vla.begun.acquire(timeout=10)
    deadline = time.monotonic() + 10
    while vla.worker.busy < 0.05:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    vla.worker.submit(moment(1))
    vla.worker.end()
    vla.let.release()
    assert not vla.answered.acquire(timeout=0.2), "an answer after the end"
    assert vla.worker.take() == []


def test_the_past_is_looked_at_when_there_is_time_in_turns_with_the_present() -> None:
    vla = Vla()
    for number in range(5):
        vla.worker.keep(moment(number))
    assert not vla.begun.acquire(timeout=0.1), "no time was given for it"
    vla.worker.catch_up(True)
    assert vla.begun.acquire(timeout=10)
    vla.worker.submit(moment(10))
    first = vla.answer()
    assert stamps(first) == [0.0, 1.0, 2.0]
    assert all(answer.late for answer in first)
    assert vla.begun.acquire(timeout=10)
    vla.worker.submit(moment(11))
    present = vla.answer()
    assert stamps(present) == [10.0]
    assert not present[0].late
    assert vla.begun.acquire(timeout=10)
    vla.worker.catch_up(False)
    assert stamps(vla.answer()) == [3.0, 4.0]
    assert stamps(vla.answer()) == [11.0], "the present only, from here on"
    vla.worker.keep(moment(5))
    vla.worker.keep(moment(6))
    vla.worker.drop_oldest()
    vla.worker.catch_up(True)
    assert stamps(vla.answer()) == [6.0]
    vla.worker.catch_up(False)
    vla.worker.keep(moment(7))
    vla.worker.drop_past()
    assert vla.worker.past == 0
    vla.worker.end()


def test_what_failed_waits_for_a_vla_that_answers_again_and_is_given_up_when_it_fails_twice() -> None:
    vla = Vla()
    vla.failing = {0.0}
    for number in range(2):
        vla.worker.keep(moment(number))
    vla.worker.catch_up(True)
    assert [type(answer.made) for answer in vla.answer()] == [InferenceError] * 2
    assert vla.worker.past == 2, "a server that is not there for a moment costs nothing"
    assert vla.begun.acquire(timeout=10)
    assert not vla.begun.acquire(timeout=0.1), "and is not asked again and again"
    vla.worker.submit(moment(10))
    assert stamps(vla.answer()) == [10.0]
    assert [type(answer.made) for answer in vla.answer()] == [InferenceError] * 2
    assert vla.worker.past == 0
    vla.worker.keep(moment(2))
    vla.worker.submit(moment(11))
    assert stamps(vla.answer()) == [11.0]
    assert stamps(vla.answer()) == [2.0]
    vla.worker.end()


def test_as_many_moments_a_second_are_kept_as_are_wanted() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(0, 10, 0.02) + rng.uniform(-0.004, 0.004, 500)  # 50 a second, a little early or late
    spacing = Spacing(25.0)
    assert abs(sum(spacing.wants(stamp) for stamp in times) - 250) <= 3
    assert spacing.wants(2.0), "after a clock was set back"
    spacing = Spacing(25.0)
    assert all(spacing.wants(stamp) for stamp in times[::5]), "slower cameras lose nothing"
    assert not any(Spacing(0.0).wants(stamp) for stamp in times)
