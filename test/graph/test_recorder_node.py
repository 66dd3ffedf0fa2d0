"""The recorder on a real graph: what is on the wire is in the journal, over crashes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ros_support import NAMESPACE, Listener, listener
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore
from running import node
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from rlt_ros import msg
from rlt_ros.journal.journal import read_journal, segments
from rlt_ros.journal.segment import is_finished
from rlt_ros.ros.fields import floats, from_stamp, octets, to_stamp
from rlt_ros.ros.qos import EVENT_QOS, HISTORY_QOS, LATCHED_QOS, PICTURES_QOS
from rlt_ros.ros.records import message_of

pytestmark = pytest.mark.live
CAMERA = "base/color/image_raw"


class Robot:
    """Speaks as a robot does, 50 ticks a second of its own clock, as fast as it is asked to."""

    def __init__(self, ros: Listener, namespace: str = NAMESPACE) -> None:
        make = ros.node.create_publisher
        self.ros, self.name = ros, namespace
        self.steps = make(msg.ControlStep, f"{namespace}/step", HISTORY_QOS)
        self.inputs = make(msg.PolicyInput, f"{namespace}/policy_input", HISTORY_QOS)
        self.events = make(msg.EpisodeEvent, f"{namespace}/episode", HISTORY_QOS)
        self.session = make(msg.SessionState, f"{namespace}/session", LATCHED_QOS)
        self.images = make(Image, f"{namespace}/{CAMERA}", EVENT_QOS)
        self.tick = 0
        self.began = time.time()
        self.wire: list[int] = []

    def heard(self, count: int = 1) -> bool:
        return all(p.get_subscription_count() >= count for p in (self.steps, self.inputs, self.events, self.session))

    def fly(
        self, ticks: int, phase: int = msg.SessionState.PHASE_CRITICAL, episode: int = 1, images: bool = False
    ) -> None:
        for _ in range(ticks):
            stamp = to_stamp(self.began + self.tick * 0.02)
            if self.tick % 2 == 0:
                seen = msg.PolicyInput(robot=self.name, sequence=self.tick, horizon=50, joints=14, period=0.02)
                seen.header.stamp = stamp
                seen.token, seen.reference = floats(np.ones(128)), floats(np.zeros(700))
                self.inputs.publish(seen)
                if images:
                    picture = Image(height=32, width=32, encoding="rgb8", step=96)
                    picture.data = octets(np.full(3072, self.tick % 250, np.uint8).tobytes())
                    picture.header.stamp = stamp
                    self.images.publish(picture)
            step = msg.ControlStep(robot=self.name, sequence=self.tick, epoch=7, episode=episode, phase=phase)
            step.header.stamp = stamp
            step.state, step.input_sequence, step.input_valid = msg.ControlStep.STATE_ACTOR, self.tick // 2 * 2, True
            step.command = step.previous = step.position = step.velocity = floats(np.full(14, self.tick * 1e-4))
            self.steps.publish(step)
            if phase == msg.SessionState.PHASE_CRITICAL:
                self.wire.append(self.tick)
            self.tick += 1
            time.sleep(0.002)

    def enters(self, phase: int, episode: int = 1) -> None:
        state = msg.SessionState(epoch=7, episode=episode, phase=phase)
        state.header.stamp = to_stamp(self.began + self.tick * 0.02)
        self.session.publish(state)

    def ends(self, episode: int = 1) -> None:
        event = msg.EpisodeEvent(robot=self.name, epoch=7, episode=episode, kind=msg.EpisodeEvent.KIND_END, outcome=1)
        event.header.stamp = to_stamp(self.began + self.tick * 0.02)
        self.events.publish(event)


Start = Callable[..., AbstractContextManager[Any]]


@pytest.fixture
def started(domain: int, tmp_path: Path) -> Iterator[tuple[Listener, Robot, Start]]:
    def start(**parameters: str) -> AbstractContextManager[Any]:
        given = {"directory": str(tmp_path / "journal"), "reserve": "0.0", **parameters}
        return node("recorder_node", given, tmp_path / "recorder.log")

    with listener() as ros:
        yield ros, Robot(ros), start


def sequences(journal: Path, topic: str = "step", robot: str = NAMESPACE) -> list[int]:
    return [message_of(record).sequence for record in read_journal(journal, (topic,)) if robot in record.topic]


def test_the_critical_phase_is_recorded_as_it_was_on_the_wire_and_rosbags_reads_it(
    started: tuple[Listener, Robot, Start], tmp_path: Path
) -> None:
    ros, robot, start = started

    def told() -> dict[str, Any]:
        status = ros.call(Trigger, f"{NAMESPACE}/recorder_node/status", Trigger.Request())
        assert status.success
        return dict(json.loads(status.message))

    def enters(phase: int, sessions: int) -> None:
        """A state that is followed by another too soon for a busy recorder is not repeated: the last one counts."""
        robot.enters(phase)
        ros.wait(lambda: told().get("session") == sessions, 10, f"session {sessions}")

    with start() as process:
        ros.wait(robot.heard, 30, "the recorder")
        enters(msg.SessionState.PHASE_BASE, 1)
        robot.fly(100, msg.SessionState.PHASE_BASE)
        enters(msg.SessionState.PHASE_CRITICAL, 2)
        robot.fly(120)
        robot.enters(msg.SessionState.PHASE_CRITICAL)  # a heartbeat
        robot.ends()
        ros.wait(lambda: told().get("episode") == 1, 10, "the end")
        enters(msg.SessionState.PHASE_ENDED, 3)
        robot.fly(100, msg.SessionState.PHASE_ENDED)
        ros.wait(lambda: len(sequences(tmp_path / "journal")) >= 120, 10, "all steps")
        assert (told()["step"], told()["lost"]) == (120, 0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    journal = tmp_path / "journal"
    assert sequences(journal) == robot.wire == list(range(100, 220))
    inputs = sequences(journal, "policy_input")
    assert set(range(100, 220, 2)) <= set(inputs)
    assert len(inputs) == len(set(inputs)) < 110, "what belongs to no recorded step is not recorded"

    with AnyReader(segments(journal), default_typestore=get_typestore(Stores.LATEST)) as bag:
        connections = [c for c in bag.connections if c.topic == f"{NAMESPACE}/step"]
        messages = [bag.deserialize(data, c.msgtype) for c, _, data in bag.messages(connections=connections)]
    assert [message.sequence for message in messages] == robot.wire
    assert messages[0].robot == NAMESPACE
    assert np.allclose(messages[20].command, 120e-4)


def test_killed_and_started_again_it_asks_for_what_it_missed(
    started: tuple[Listener, Robot, Start], tmp_path: Path
) -> None:
    ros, robot, start = started
    robot.enters(msg.SessionState.PHASE_CRITICAL)
    with start() as process:
        ros.wait(robot.heard, 30, "the recorder")
        robot.fly(150)
        ros.wait(lambda: len(sequences(tmp_path / "journal")) >= 100, 10, "the first steps")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    robot.fly(200)  # nobody listens
    robot.ends()
    with start() as process:
        ros.wait(robot.heard, 30, "the recorder again")
        robot.fly(50)
        ros.wait(lambda: len(sequences(tmp_path / "journal")) >= 400, 15, "what was missed")
        ros.wait(lambda: any(read_journal(tmp_path / "journal", ("episode",))), 15, "the outcome")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert sequences(tmp_path / "journal") == robot.wire, "each once, in order"
    assert len(list(read_journal(tmp_path / "journal", ("episode",)))) == 1
    assert all(is_finished(path) for path in segments(tmp_path / "journal"))
    assert "000001.mcap was left unfinished and is repaired" in (tmp_path / "recorder.log").read_text()


def test_a_budget_stops_images_first_then_all_and_says_so(
    started: tuple[Listener, Robot, Start], tmp_path: Path
) -> None:
    ros, robot, start = started
    ask = partial(ros.call, Trigger, f"{NAMESPACE}/recorder_node/status", Trigger.Request())
    robot.enters(msg.SessionState.PHASE_CRITICAL)
    with start(budget="0.0002", images="true", cameras="['base']") as process:
        ros.wait(lambda: robot.heard() and robot.images.get_subscription_count() > 0, 30, "the recorder")
        ros.spin(0.3)
        seen: dict[str, dict[str, Any]] = {}
        deadline = time.monotonic() + 60
        while "NONE" not in seen:
            assert time.monotonic() < deadline
            robot.fly(10, images=True)
            ros.spin(1.2)  # it looks at the disk once a second
            answer = ask()
            told = json.loads(answer.message)
            assert answer.success == (told["space"] != "NONE")
            seen.setdefault(told["space"], told)
        assert list(seen) == ["AMPLE", "LOW", "NONE"]
        ros.spin(1.2)
        before = json.loads(ask().message)
        robot.fly(60, images=True)
        ros.spin(0.3)
        after = json.loads(ask().message)
        assert after["step"] == before["step"]
        assert after["lost"] >= before["lost"] + 60
        assert process.poll() is None
    images = list(read_journal(tmp_path / "journal", ("compressed",)))
    last_image = max(record.published for record in images)
    last_step = max(record.published for record in read_journal(tmp_path / "journal", ("step",)))
    assert images[0].type == "sensor_msgs/msg/CompressedImage"
    assert last_step > last_image
    log = (tmp_path / "recorder.log").read_text()
    assert "no images are recorded" in log
    assert "nothing is recorded" in log


def test_several_robots_are_recorded_by_one(domain: int, tmp_path: Path) -> None:
    with listener() as ros:
        robots = [Robot(ros, f"/cell_{k}/rlt") for k in (1, 2)]
        given = {"directory": str(tmp_path / "journal"), "reserve": "0.0", "robots": "['/cell_1/rlt', 'cell_2/rlt']"}
        with node("recorder_node", given, tmp_path / "recorder.log") as process:
            ros.wait(lambda: all(robot.heard() for robot in robots), 30, "the recorder")
            for _ in range(10):
                for robot in robots:
                    robot.fly(10)
            ros.wait(lambda: len(sequences(tmp_path / "journal", robot="cell_")) >= 200, 10, "all steps")
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
    for robot in robots:
        assert sequences(tmp_path / "journal", robot=robot.name) == robot.wire
        assert {message_of(r).robot for r in read_journal(tmp_path / "journal") if robot.name in r.topic} == {
            robot.name
        }


def test_a_replay_says_on_the_same_topics_what_was_said(started: tuple[Listener, Robot, Start], tmp_path: Path) -> None:
    ros, robot, start = started
    with start() as process:
        ros.wait(robot.heard, 30, "the recorder")
        robot.enters(msg.SessionState.PHASE_CRITICAL)
        robot.fly(100)
        robot.ends()
        ros.wait(lambda: len(sequences(tmp_path / "journal")) >= 100, 10, "all steps")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    command = [sys.executable, "-m", "rlt_ros.cli", "replay", str(tmp_path), "--rate", "5", "--json"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert "has a publisher already" in refused.stderr
    steps = ros.listen(msg.ControlStep, "/again/rlt/step", 1000)
    events = ros.listen(msg.EpisodeEvent, "/again/rlt/episode", 1000)
    with subprocess.Popen([*command, "--namespace", "/again"], stdout=subprocess.PIPE, text=True) as player:
        ros.wait(lambda: player.poll() is not None, 60, "the end of the replay")
        assert player.stdout is not None
        told = json.loads(player.stdout.read())
    ros.spin(0.5)
    assert told["messages"] == len(list(read_journal(tmp_path / "journal")))
    assert [step.sequence for step in steps] == robot.wire
    assert from_stamp(steps[7].header.stamp) == pytest.approx(robot.began + 7 * 0.02, abs=1e-3)
    assert len(events) == 1


def test_W14_pictures_of_a_best_effort_driver_are_recorded(
    started: tuple[Listener, Robot, Start], tmp_path: Path
) -> None:
    ros, robot, start = started
    robot.enters(msg.SessionState.PHASE_CRITICAL)
    robot.images = ros.node.create_publisher(Image, f"{NAMESPACE}/{CAMERA}", PICTURES_QOS)
    with start(images="true", cameras="['base']") as process:
        ros.wait(lambda: robot.heard() and robot.images.get_subscription_count() > 0, 30, "the recorder")

        def recorded() -> bool:
            robot.fly(5, images=True)  # best effort: a busy recorder gets some of them
            return len(list(read_journal(tmp_path / "journal", ("compressed",)))) > 10

        ros.wait(recorded, 30, "pictures")
        robot.ends()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
