"""`rlt collect --live` on a real graph: what a person flies becomes a dataset."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ros_support import listener
from sensor_msgs.msg import Image

from rlt_ros import msg
from rlt_ros.bringup.graph import Bringup
from rlt_ros.ros.fields import floats, octets, to_stamp
from rlt_ros.ros.qos import RECORD_QOS
from rlt_ros.vla.bundle import load_bundle
from rlt_ros.vla.dataset import read_episodes

pytestmark = pytest.mark.live


def test_an_episode_flown_by_a_person_is_on_disk_after_the_next_one_starts(domain: int, tmp_path: Path) -> None:
    bundle = load_bundle(Bringup().bundle_path)
    joints = len(bundle.joints)
    command = [sys.executable, "-m", "rlt_ros.cli", "collect", "--live", "--out", str(tmp_path / "data"), "--json"]
    with listener() as ros, (tmp_path / "log").open("w") as log:
        images = {
            name: ros.node.create_publisher(Image, f"{name}/color/image_raw", RECORD_QOS) for name in bundle.cameras
        }
        steps = ros.node.create_publisher(msg.ControlStep, "step", RECORD_QOS)
        events = ros.node.create_publisher(msg.EpisodeEvent, "episode", RECORD_QOS)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=tmp_path)
        try:
            publishers = [*images.values(), steps, events]
            ros.wait(lambda: all(p.get_subscription_count() for p in publishers), 30.0, "the recorder")

            def event(kind: int, episode: int, outcome: int = 0) -> None:
                message = msg.EpisodeEvent(epoch=1, episode=episode, kind=kind, outcome=outcome)
                message.header.stamp = to_stamp(time.time())
                events.publish(message)
                ros.spin(0.2)

            event(msg.EpisodeEvent.KIND_START, 1)
            size = bundle.image_size
            event(msg.EpisodeEvent.KIND_LABEL, 1, 99)  # makes no sense, and must not end the recording
            for _ in range(5):
                # Alone on its way: a queue of one picture would let a good one take its place.
                for publisher in images.values():
                    publisher.publish(Image(height=size, width=size, encoding="rgb8", step=1, data=octets(bytes(5))))
                ros.spin(0.1)
            for tick in range(20):
                now = time.time()
                for publisher in images.values():
                    picture = Image(height=size, width=size, encoding="rgb8", step=3 * size)
                    picture.header.stamp = to_stamp(now)
                    picture.data = octets(bytes([10 * tick] * (3 * size * size)))
                    publisher.publish(picture)
                ros.spin(0.05)
                step = msg.ControlStep(sequence=tick, epoch=1, episode=1, phase=3, state=msg.ControlStep.STATE_HUMAN)
                step.header.stamp = to_stamp(time.time())
                for field in ("command", "previous", "position", "velocity"):
                    setattr(step, field, floats(np.full(joints, tick * 0.01)))
                steps.publish(step)
            ros.spin(0.2)
            event(msg.EpisodeEvent.KIND_END, 1, 1)
            event(msg.EpisodeEvent.KIND_START, 2)
            path = tmp_path / "data/meta/info.json"
            ros.wait(path.is_file, 20.0, "the dataset")
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=20)
        finally:
            process.kill()
            process.wait()
    report = json.loads(out.splitlines()[-1])
    assert report["episodes"] == report["successes"] == 1
    assert report["skipped"]["outcome_unknown"] == 1
    assert report["skipped"]["image_malformed"] >= 1
    (episode,) = read_episodes(tmp_path / "data", stride=1)
    assert episode.ticks == len(episode.command) == 20
    assert np.allclose(episode.command[:, 0], np.arange(20) * 0.01, atol=1e-6)
    brightness = episode.images[:, 0].mean((1, 2, 3))
    assert (np.diff(brightness) >= 0).all()
    assert brightness[-1] > brightness[0] + 100
