"""The runner: output is prefixed and logged, stopping is ordered and bounded."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rlt_ros.bringup.runner import Command, Restarts, Runner
from rlt_ros.control.realtime import wait_until

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
POLITE = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: (print('bye', time.monotonic(), flush=True), sys.exit(0)))\n"
    "print('up', flush=True)\ntime.sleep(60)"
)


def command(name: str, code: str, stop_seconds: float = 5.0, stage: int = 0) -> Command:
    return Command(name, (sys.executable, "-c", code), True, stop_seconds, stage=stage)


def test_stops_stage_after_stage_and_kills_the_stubborn(tmp_path: Path) -> None:
    lines: list[tuple[str, str]] = []
    runner = Runner(os.environ, tmp_path / "log", lambda name, text: lines.append((name, text)))
    runner.start(command("first", POLITE, stage=2))
    runner.start(command("third", STUBBORN, stop_seconds=0.3, stage=0))
    runner.start(command("second", POLITE, stage=1))
    assert wait_until(lambda: {name for name, text in lines if text == "up"} == {"first", "second", "third"}, 20)
    assert runner.stop() == ["third"]
    goodbyes = {name: float(text.split()[1]) for name, text in lines if text.startswith("bye")}
    assert goodbyes["second"] < goodbyes["first"]
    assert (tmp_path / "log" / "first.log").read_text().startswith("up\n")


def test_a_process_that_ends_is_reported_once_with_its_code(tmp_path: Path) -> None:
    runner = Runner(os.environ, tmp_path, lambda *_: None)
    runner.start(command("short", "import sys; sys.exit(3)"))
    found: list[tuple[str, int]] = []
    assert wait_until(lambda: bool(found.extend((c.name, code) for c, code in runner.ended()) or found), 20)
    assert found == [("short", 3)]
    assert runner.ended() == []


def test_what_dies_starts_again_later_and_later_until_it_has_lived() -> None:
    restarts, one = Restarts(), command("one", POLITE)
    now, waits = 0.0, []
    for _ in range(9):
        restarts.started("one", now)
        now += 1.0
        waits.append(restarts.died(one, now))
        assert restarts.due(now + waits[-1] - 0.01) == []
        now += waits[-1]
        assert restarts.due(now) == [one]
        assert restarts.due(now) == [], "once"
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0, 10.0]
    restarts.started("one", now)
    assert restarts.died(one, now + 61.0) == 0.5


def test_a_camera_that_worked_and_is_not_back_yet_is_not_misconfigured() -> None:
    """Opened too early after a fault, a node ends as one that could never have worked."""
    restarts = Restarts()
    restarts.started("camera", 0.0)
    assert not restarts.worked("camera", 2.0)
    assert restarts.worked("camera", 12.0)
    restarts.started("camera", 13.0)
    assert restarts.worked("camera", 13.5)
    assert not restarts.worked("never started", 100.0)
