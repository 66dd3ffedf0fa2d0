"""Recordings as cameras."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from mcap.writer import Writer
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

from rlt_ros.cameras.camera import CameraConfig, CameraError, Frame
from rlt_ros.cameras.recorded import RecordedCamera
from rlt_ros.ros.fields import octets, to_stamp

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 255, (2, 6, 24, 32, 3), dtype=np.uint8)
NAMES = ("left_wrist", "base")


def record(path: Path, *, encoding: str = "rgb8", topic: str = "/rlt/{}/color/image_raw") -> Path:
    """Two cameras, a picture each 40 ms, as rosbag2 writes them."""
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start(profile="ros2", library="test")
        schema = writer.register_schema("sensor_msgs/msg/Image", "ros2msg", b"uint32 height")
        channels = [writer.register_channel(topic.format(name), "cdr", schema) for name in NAMES]
        for number in range(PICTURES.shape[1]):
            for camera, channel in enumerate(channels):
                pixels = PICTURES[camera, number]
                if encoding == "bgr8":
                    pixels = pixels[..., ::-1]
                message = Image(height=24, width=32, encoding=encoding, step=96, data=octets(pixels.tobytes()))
                message.header.stamp = to_stamp(500.0 + 0.04 * number)
                message.header.frame_id = "odd length"
                stamp = round((500.0 + 0.04 * number) * 1e9)
                writer.add_message(channel, stamp, serialize_message(message), stamp)
        writer.finish()
    return path


def play(camera: RecordedCamera) -> list[Frame]:
    frames = []
    while not camera.ended:
        frame = camera.next_frame(0.05)
        if frame is not None:
            frames.append(frame)
    return frames


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8"])
def test_pictures_come_back_bit_by_bit_with_their_rhythm(tmp_path: Path, encoding: str) -> None:
    path = record(tmp_path / "run.mcap", encoding=encoding)
    for index, name in enumerate(NAMES):
        camera = RecordedCamera(CameraConfig(name, str(path)))
        camera.open()
        frames = play(camera)
        assert np.array_equal([frame.image for frame in frames], PICTURES[index])
        assert np.allclose(np.diff([frame.captured for frame in frames]), 0.04, atol=1e-6)
        assert all(0 <= frame.arrived - frame.captured < 0.1 for frame in frames)
        assert [frame.number for frame in frames] == [1, 2, 3, 4, 5, 6]
        camera.close()


def test_cameras_of_one_recording_play_from_the_same_moment(tmp_path: Path) -> None:
    path = record(tmp_path / "run.mcap")
    cameras = [RecordedCamera(CameraConfig(name, str(path))) for name in NAMES]
    for camera in cameras:
        camera.open()
    first = [next(f for f in iter(lambda c=camera: c.next_frame(0.5), None) if f) for camera in cameras]
    assert first[0].captured == first[1].captured


def test_a_video_is_a_camera(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 50, (32, 24))
    for shade in (0, 100, 200):
        writer.write(np.full((24, 32, 3), (shade, 0, 0), np.uint8))
    writer.release()
    camera = RecordedCamera(CameraConfig("base", str(path)))
    camera.open()
    frames = play(camera)
    assert [round(float(frame.image[..., 2].mean()), -2) for frame in frames] == [0, 100, 200], "BGR became RGB"
    assert np.allclose(np.diff([frame.captured for frame in frames]), 0.02)


def test_what_cannot_be_played_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="there is no recording"):
        RecordedCamera(CameraConfig("base", str(tmp_path / "absent.mcap"))).open()
    empty = tmp_path / "empty.mcap"
    with empty.open("wb") as file:
        writer = Writer(file)
        writer.start()
        writer.finish()
    with pytest.raises(CameraError, match="holds no sensor_msgs/Image; it holds nothing"):
        RecordedCamera(CameraConfig("base", str(empty))).open()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(record(tmp_path / "run.mcap").read_bytes()[:40])
    with pytest.raises(CameraError, match=r"damaged|holds no"):
        RecordedCamera(CameraConfig("base", str(cut))).open()
    text = tmp_path / "clip.avi"
    text.write_text("no video")
    camera = RecordedCamera(CameraConfig("base", str(text)))
    camera.open()
    with pytest.raises(CameraError, match="no video"):
        camera.next_frame(0.1)
