"""An integrator's day, robot by robot: from a driver on the graph to a flight with RL, by the commands of the docs.

docs/on_your_robot.md tells the same day. Everything is short, nothing is left out. `make day` runs it.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from driven import driver
from drivers import DRIVERS
from ros_support import Listener, free_port, listener
from running import end, stopped
from sensor_msgs.msg import Joy
from std_srvs.srv import Trigger
from typer.testing import CliRunner

from rlt_ros import msg, srv
from rlt_ros.cli import app
from rlt_ros.robot.description import read_robot
from rlt_ros.ros.qos import LATCHED_QOS, RECORD_QOS
from rlt_ros.types import Phase, State
from rlt_ros.vla.bundle import load_bundle
from rlt_ros.vla.dataset import read_episodes

pytestmark = pytest.mark.day
EPISODES, _MOST = 20, 40
"""Demonstrations; and how many are flown for them where a busy machine's pictures are late."""
_PACE = ("are late", "messages a second")
"""Of complaints that a busy machine makes, not a driver: they are for real robots."""
_AGAIN = 4.0
"""Seconds after which a button is pressed again: after a silence of the pad a press does not count."""
TAKEOVER, SUCCESS, BEGIN_CRITICAL, ESTOP, READY = 10, 0, 3, 4, 6
"""Of config/joystick/gamepad.yaml."""


def aloha(_data: dict[str, Any]) -> None:
    """All was to be seen on the graph."""


def ur5e_pair(data: dict[str, Any]) -> None:
    for gripper in data["grippers"]:
        data["grippers"][gripper] = {"closed": 0.79, "open": 0.0}
    data["camera_skew"] = 0.02


def franka(data: dict[str, Any]) -> None:
    (arm,) = data["arms"].values()
    data["grippers"] = {arm["gripper"]: {"closed": 0.0, "open": 0.04}}
    data["camera_skew"] = 0.03


def so101(data: dict[str, Any]) -> None:
    data["grippers"]["gripper"] = {"closed": 0.0, "open": 100.0}
    data["camera_skew"] = 0.033
    data["limits"]["all"]["following"] = 0.4
    del data["leaders"]  # the sticks come first


EDITS: dict[str, Callable[[dict[str, Any]], None]] = {edit.__name__: edit for edit in (aloha, ur5e_pair, franka, so101)}
"""What a person knows of each robot, and its driver does not say."""


def rlt(*arguments: object) -> str:
    """A command within this process, which has torch and ROS loaded already."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, f"{arguments}: {result.output} {result.exception!r}"
    return str(result.output)


class Pad:
    """A scripted joystick."""

    def __init__(self, ros: Listener) -> None:
        self._ros, self._held = ros, set[int]()
        self._up = 0.0
        self._publisher = ros.node.create_publisher(Joy, "/joy", 10)
        ros.node.create_timer(0.02, self._speak)

    def _speak(self) -> None:
        message = Joy(axes=[0.0, self._up, 0.0, 0.0, 0.0, 0.0], buttons=[int(n in self._held) for n in range(21)])
        message.header.frame_id = "scripted pad"
        self._publisher.publish(message)

    def hold(self, button: int, down: bool = True) -> None:
        """Press it and keep it, or let it go."""
        (self._held.add if down else self._held.discard)(button)

    def push(self, up: float) -> None:
        """The left stick, which moves the first joint of an arm without a model."""
        self._up = up

    def press(self, button: int) -> None:
        """For a moment."""
        self.hold(button)
        self._ros.spin(0.1)
        self.hold(button, False)
        self._ros.spin(0.05)


class Flight:
    """`rlt up robot`, its operator with the pad, and what both see."""

    def __init__(self, ros: Listener, graph: subprocess.Popen[str], pad: Pad) -> None:
        self.ros, self.graph, self.pad = ros, graph, pad
        self.steps: list[Any] = ros.listen(msg.ControlStep, "step", RECORD_QOS)
        self.sessions: list[Any] = ros.listen(msg.SessionState, "session", LATCHED_QOS)
        self.weights: list[Any] = ros.listen(msg.PolicyWeights, "policy", LATCHED_QOS)

    def until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait for it; a graph that ends meanwhile will not do it any more."""
        self.ros.wait(lambda: self.graph.poll() is not None or condition(), seconds, what)
        assert self.graph.poll() is None, f"{what}: rlt up has ended"

    def phase(self, *phases: Phase, press: int | None = None) -> None:
        """Wait for one of some phases, to which a button leads; who sees nothing happen presses again."""
        last, pressed = len(self.sessions) - 1, -np.inf

        def seen() -> bool:
            nonlocal pressed
            found = any(session.phase in phases for session in self.sessions[last:])
            if press is not None and not found and time.monotonic() > pressed + _AGAIN:
                self.pad.press(press)
                pressed = time.monotonic()
            return found

        self.until(seen, 40, " or ".join(phase.name for phase in phases))

    def succeeds(self) -> None:
        """The episode ends; that is a phase for a moment only, which a busy machine may not see."""
        self.phase(Phase.ENDED, Phase.RESET, press=SUCCESS)

    def state(self, *states: State) -> None:
        """Wait until one of these flies."""
        last = len(self.steps)
        names = " or ".join(state.name for state in states)
        self.until(lambda: any(step.state in states for step in self.steps[last:]), 20, names)

    def begins(self) -> None:
        """The scene is put up: an episode."""
        if self.sessions[-1].phase == Phase.IDLE:
            self.phase(Phase.RESET, press=READY)
        self.phase(Phase.RESET)
        self.phase(Phase.BASE, press=READY)

    def drives(self, way: float) -> None:
        """A person takes over, again where the pad fell silent, and moves the first joint."""
        taken, start, sign = -np.inf, None, np.sign(way)

        def moved() -> bool:
            nonlocal taken, start
            step = self.steps[-1]
            if step.state != State.HUMAN:
                start = None
                if time.monotonic() > taken + _AGAIN:
                    self.pad.hold(TAKEOVER, False)
                    self.ros.spin(0.1)
                    self.pad.hold(TAKEOVER)
                    taken = time.monotonic()
                return False
            if start is None:
                start = step.position[0]
                self.pad.push(sign)
            return bool((step.position[0] - start) * sign > abs(way))

        self.until(moved, 40, "the joint's way")
        self.pad.push(0.0)

    def ticks(self, count: int) -> None:
        """Let as many go by."""
        last = self.steps[-1].sequence
        self.until(lambda: self.steps[-1].sequence >= last + count, 30, f"{count} ticks")

    def mode(self, mode: int) -> None:
        """As the page's buttons do."""
        answer = self.ros.call(srv.SetMode, "executor_node/set_mode", srv.SetMode.Request(mode=mode))
        assert answer.success, answer.message


@contextmanager
def up(robot: Path, bundle: Path, runs: Path, *more: str) -> Iterator[Flight]:
    """`rlt up robot`; whoever flies finds it ready, and has heard nothing of a flight before."""
    arguments = [sys.executable, "-m", "rlt_ros.cli", "up", "robot", "--robot", str(robot), "--bundle", str(bundle)]
    arguments += ["--task", "plug_in", "--runs", str(runs), "--json", "--set", "executor_node.priority=0"]
    arguments += ["--set", f"console_node.port={free_port()}", *more]
    with (runs.parent / f"{runs.name}.log").open("w") as log:
        graph = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
    try:
        with listener() as ros:
            flight = Flight(ros, graph, Pad(ros))
            flight.until(lambda: bool(flight.steps) and flight.steps[-1].reason == "phase_idle", 150, "the robot")
            flight.until(lambda: bool(flight.sessions), 20, "the session")
            yield flight
    finally:
        end(graph)


@pytest.mark.parametrize("name", DRIVERS)
def test_from_a_driver_to_a_flight_with_rl(name: str, domain: int, tmp_path: Path) -> None:
    robot, first, mine = (tmp_path / it for it in ("robot.yaml", "first", "mine"))
    with driver(name, tmp_path):
        describe(name, robot)
        rlt("init", "bundle", "--robot", robot, "--out", first, "--image-size", 32, "--task", "plug_in")
        record(robot, first, tmp_path)
        rlt(
            "adapt",
            "--data",
            tmp_path / "demo",
            "--out",
            mine,
            "--eyes",
            2,
            "--steps",
            2,
            "--token-steps",
            1,
            "--threads",
            1,
        )
        assert load_bundle(mine).robot == name
        run = fly(robot, mine, tmp_path)
    rlt("report", run)
    assert "plug_in" in (run / "report.html").read_text()


def describe(name: str, path: Path) -> None:
    """The driver runs: a first description, a person's corrections, the check-up."""
    rlt("init", "robot", "--out", path, "--name", name, "--seconds", 4)
    data = yaml.safe_load(path.read_text())
    EDITS[name](data)
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    complaints = ""
    for seconds in (2, 4, 6, 8):
        result = CliRunner().invoke(app, ["doctor", "robot", "--robot", str(path), "--seconds", str(seconds), "--json"])
        checks = json.loads(result.stdout.splitlines()[-1])["checks"]
        wrong = [it for it in checks if not it["ok"] and not any(pace in it["remedy"] for pace in _PACE)]
        complaints = "\n".join(f"{it['name']}: {it['detail']} -> {it['remedy']}" for it in wrong)
        if not complaints:
            return
    raise AssertionError(complaints)


def saved(dataset: Path) -> int:
    """Episodes that are on the disk."""
    info = dataset / "meta/info.json"
    return int(json.loads(info.read_text())["total_episodes"]) if info.is_file() else 0


def record(robot: Path, bundle: Path, root: Path) -> None:
    """A person flies, `rlt collect --live` records."""
    command = [sys.executable, "-m", "rlt_ros.cli", "collect", "--live", "--robot", str(robot)]
    command += ["--bundle", str(bundle), "--task", "plug_in", "--out", str(root / "demo"), "--json"]
    log = (root / "collect.log").open("w")
    collecting = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
    try:
        with up(robot, bundle, root / "first_runs") as flight:
            names = flight.ros.node.get_node_names
            flight.until(lambda: "collect" in names(), 60, "the recorder of demonstrations")
            for number in range(_MOST):
                flight.pad.hold(TAKEOVER)
                flight.begins()
                if saved(root / "demo") >= EPISODES:
                    break
                flight.drives(0.02 if number % 2 else -0.02)
                flight.phase(Phase.CRITICAL, press=BEGIN_CRITICAL)
                flight.drives(0.02 if number % 2 else -0.02)
                flight.ticks(10)
                flight.succeeds()
            flight.pad.hold(TAKEOVER, False)
            collecting.send_signal(signal.SIGINT)
            report, _ = collecting.communicate(timeout=30)
            stopped(flight.graph)
    finally:
        log.close()
        end(collecting)
    made = json.loads(report.splitlines()[-1])
    assert made["successes"] == made["episodes"] >= EPISODES, made
    episodes = list(read_episodes(root / "demo", stride=1))
    described = read_robot(robot)
    assert {len(described.joints)} == {episode.command.shape[1] for episode in episodes}
    assert all(np.ptp(episode.position[:, 0]) > 0.01 for episode in episodes), "the robot moved, in rad"


def fly(robot: Path, bundle: Path, root: Path) -> Path:
    """VLA, human, actor, e-stop and back; the run's directory."""
    quick = {
        "session_node.warmup_episodes": 0,
        "session_node.explore_share": 0.0,
        "learner_node.warmup_samples": 10,
        "learner_node.burn_in_updates": 1,
        "learner_node.batch": 8,
        "learner_node.hidden": [16],
        "learner_node.critics": 2,
        "learner_node.nice": 0,
        "learner_node.capacity": 2000,
    }
    settings = [part for key, value in quick.items() for part in ("--set", f"{key}={value}")]
    with up(robot, bundle, root / "runs", *settings) as flight:
        flight.begins()
        flight.state(State.REFERENCE)
        flight.drives(0.02)
        flight.phase(Phase.CRITICAL, press=BEGIN_CRITICAL)
        flight.drives(-0.02)
        flight.ticks(40)  # to learn from
        flight.pad.hold(TAKEOVER, False)
        flight.state(State.REFERENCE, State.ACTOR)  # a quick learner has weights by now
        flight.succeeds()

        flight.until(lambda: bool(flight.weights), 180, "the learner's weights")
        flight.begins()
        flight.state(State.REFERENCE)
        flight.phase(Phase.CRITICAL, press=BEGIN_CRITICAL)
        flight.state(State.ACTOR)
        flight.pad.press(ESTOP)
        flight.state(State.ESTOP)
        assert flight.ros.call(Trigger, "executor_node/clear_estop", Trigger.Request()).success
        flight.until(lambda: flight.steps[-1].reason == "mode_hold", 10, "cleared, but not moving")
        flight.mode(srv.SetMode.Request.MODE_AUTO)

        flight.begins()
        flight.state(State.REFERENCE)
        flight.mode(srv.SetMode.Request.MODE_HOLD)
        flight.state(State.HOLD)
        assert flight.steps[-1].reason == "mode_hold"
        summary = stopped(flight.graph)
    assert summary["policy_version"] > 0
    assert summary["interventions"] >= 1
    return Path(summary["run_dir"])
