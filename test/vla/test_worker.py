"""Passes in a thread: always of the newest moment, whatever the VLA does."""

from __future__ import annotations

import threading
import time

import numpy as np

from rlt_ros.vla.backend import Inference, InferenceError
from rlt_ros.vla.worker import Answer, Moment, PassWorker


def moment(number: int) -> Moment:
    return Moment(np.zeros((1, 2, 2, 3), np.uint8), np.zeros(3), float(number))


class Vla:
    """Answers when it is let; fails where it is told to."""

    def __init__(self) -> None:
        self.let, self.begun, self.answered = threading.Semaphore(0), threading.Semaphore(0), threading.Semaphore(0)
        self.failing: set[float] = set()
        self.worker = PassWorker(self.infer, self.answered.release)

    def infer(self, seen: Moment) -> Inference:
        self.begun.release()
        assert self.let.acquire(timeout=10)
        if seen.stamp in self.failing:
            raise InferenceError("no")
        return Inference(np.ones(1, np.float32), np.zeros((1, 3), np.float32), 0.0)

    def answer(self) -> list[Answer]:
        self.let.release()
        assert self.answered.acquire(timeout=10)
        return self.worker.take()


def test_only_the_newest_of_what_waits_is_looked_at() -> None:
    vla = Vla()
    vla.worker.submit(moment(0))
    assert vla.begun.acquire(timeout=10)
    for number in (1, 2, 3):
        vla.worker.submit(moment(number))
    assert [seen.stamp for seen, _ in vla.answer()] == [0.0]
    assert [seen.stamp for seen, _ in vla.answer()] == [3.0]
    assert vla.worker.overtaken == 2
    assert vla.worker.take() == []
    vla.worker.end()


def test_a_failure_is_an_answer_and_the_next_pass_is_made() -> None:
    vla = Vla()
    vla.failing = {0.0}
    vla.worker.submit(moment(0))
    assert isinstance(vla.answer()[0][1], InferenceError)
    vla.worker.submit(moment(1))
    assert isinstance(vla.answer()[0][1], Inference)
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
