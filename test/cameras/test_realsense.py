"""The real SDK, with its own software devices instead of cameras."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import rclpy  # noqa: F401  (loaded after the SDK, ROS lets the process end with a segmentation fault)

rs = pytest.importorskip("pyrealsense2", reason="needs libusb-1.0-0", exc_type=ImportError)

from rlt_ros.cameras.camera import CameraConfig, CameraError, Frame  # noqa: E402
from rlt_ros.cameras.capture import Capture  # noqa: E402
from rlt_ros.cameras.realsense import RealsenseCamera  # noqa: E402
from rlt_ros.cameras.sets import FrameSet, SetBuilder  # noqa: E402

pytestmark = pytest.mark.live

WIDTH, HEIGHT, FPS = 640, 480, 30
SECONDS = 20
NAMES = ("left_wrist", "right_wrist", "base")


class SoftwareCamera:
    """A device of the SDK whose frames the test makes."""

    def __init__(self, serial: str, port: str) -> None:
        device = rs.software_device()
        device.register_info(rs.camera_info.name, "Intel RealSense D405")
        device.register_info(rs.camera_info.serial_number, serial)
        device.register_info(rs.camera_info.physical_port, port)
        sensor = device.add_sensor("RGB Camera")
        lens = rs.intrinsics()
        lens.width, lens.height, lens.ppx, lens.ppy, lens.fx, lens.fy = WIDTH, HEIGHT, 321.0, 239.0, 600.0, 601.0
        lens.model, lens.coeffs = rs.distortion.brown_conrady, [0.1, 0.0, 0.0, 0.0, 0.0]
        stream = rs.video_stream()
        stream.type, stream.index, stream.uid, stream.fmt = rs.stream.color, 0, 1, rs.format.rgb8
        stream.width, stream.height, stream.fps, stream.bpp, stream.intrinsics = WIDTH, HEIGHT, FPS, 3, lens
        self.device, self._sensor = device, sensor
        self._profile = sensor.add_video_stream(stream).as_video_stream_profile()
        self._pictures = [np.full((HEIGHT, WIDTH, 3), shade, np.uint8) for shade in range(8)]

    def send(self, number: int, taken: float) -> None:
        """A frame that the device took at `taken`."""
        frame = rs.software_video_frame()
        frame.pixels, frame.stride, frame.bpp = self._pictures[number % 8], WIDTH * 3, 3
        frame.timestamp, frame.domain = taken * 1e3, rs.timestamp_domain.global_time
        frame.frame_number, frame.profile = number, self._profile
        self._sensor.on_video_frame(frame)


@pytest.fixture
def devices() -> list[SoftwareCamera]:
    return [SoftwareCamera(f"10{index}", f"2-{index}") for index in range(3)]


def camera(devices: list[SoftwareCamera], serial: str, **config: object) -> RealsenseCamera:
    made = CameraConfig(str(config.pop("name", "base")), serial, **config)
    return RealsenseCamera(made, lambda: [device.device for device in devices])


def test_a_frame_has_its_capture_time_and_number_and_the_lens_is_known(devices: list[SoftwareCamera]) -> None:
    source = camera(devices, "101")
    source.open()
    taken = time.time()
    devices[1].send(7, taken)
    frame = source.next_frame(1.0)
    assert frame is not None
    assert frame.captured == pytest.approx(taken, abs=1e-3)
    assert frame.arrived >= frame.captured
    assert (frame.number, frame.image.shape, int(frame.image[0, 0, 0])) == (7, (HEIGHT, WIDTH, 3), 7)
    lens = source.intrinsics()
    assert (lens.fx, lens.fy, lens.cx, lens.cy, lens.model) == (600.0, 601.0, 321.0, 239.0, "plumb_bob")
    assert lens.distortion[0] == pytest.approx(0.1)
    assert source.next_frame(0.05) is None
    source.close()
    with pytest.raises(CameraError, match="not open"):
        source.next_frame(0.05)


def test_what_is_wrong_with_a_device_is_said_at_once(devices: list[SoftwareCamera]) -> None:
    with pytest.raises(CameraError, match="no camera with serial number '999'; connected are 100, 101, 102"):
        camera(devices, "999").open()
    with pytest.raises(CameraError, match="no colour mode 1280x720 at 30; it has 640x480 at 30"):
        camera(devices, "100", width=1280, height=720).open()
    with pytest.raises(CameraError, match="has no exposure: set it to 0"):
        camera(devices, "100", exposure=5000).open()


def test_two_swapped_cameras_are_refused(devices: list[SoftwareCamera]) -> None:
    """Somebody put each wrist's camera on the other arm: the serial numbers are there, at each other's cable."""
    camera(devices, "100", name="left_wrist", port="2-0").open()
    for serial, port, name in (("101", "2-0", "left_wrist"), ("100", "2-1", "right_wrist")):
        with pytest.raises(CameraError, match=f"{name}: camera {serial} is at port .*: cameras are swapped"):
            camera(devices, serial, name=name, port=port).open()


class Source(threading.Thread):
    """Takes pictures at 30 Hz with jitter on the way, drops some, and may stop for a while."""

    def __init__(self, device: SoftwareCamera, seed: int, begin: float, silence: tuple[float, float] | None) -> None:
        super().__init__(daemon=True)
        self._device, self._begin, self._silence = device, begin, silence
        self._rng = np.random.default_rng(seed)
        self.taken: dict[int, float] = {}
        self.dropped: list[int] = []

    def run(self) -> None:
        for number in range(SECONDS * FPS):
            taken = self._begin + number / FPS
            silent = self._silence is not None and self._silence[0] <= taken - self._begin < self._silence[1]
            lost = self._rng.random() < 0.01
            if silent or lost:
                self.dropped.append(number)
                continue
            time.sleep(max(0.0, taken + self._rng.uniform(0.001, 0.008) - time.time()))
            self.taken[number] = taken
            self._device.send(number, taken)


@pytest.fixture
def played(devices: list[SoftwareCamera]) -> Iterator[tuple[list[Source], list[FrameSet], list[Frame], list[Capture]]]:
    """Three cameras for a while; the third one is silent for two seconds in the middle."""
    builder, sets, frames, lock = SetBuilder(NAMES, 0.010), [], [], threading.Lock()

    def deliver(name: str, frame: Frame) -> None:
        with lock:
            frames.append((name, frame.number, frame.captured))
            made = builder.add(name, frame)
            if made is not None:
                sets.append(made)

    captures = []
    for index, name in enumerate(NAMES):
        source = camera(devices, f"10{index}", name=name)
        source.open()
        captures.append(Capture(name, source, deliver, stall_time=0.5))
    for capture in captures:
        capture.start()
    begin = time.time() + 0.3
    sources = [Source(device, seed, begin, (9.0, 11.0) if seed == 2 else None) for seed, device in enumerate(devices)]
    for source in sources:
        source.start()
    for source in sources:
        source.join()
    time.sleep(0.3)
    yield sources, sets, frames, captures
    for capture in captures:
        capture.stop()


def test_three_cameras_with_jitter_and_drops(played) -> None:
    sources, sets, frames, captures = played
    # Stamps are the times at which the pictures were taken, not those of their arrival.
    for name, number, captured in frames:
        assert captured == pytest.approx(sources[NAMES.index(name)].taken[number], abs=1e-3)
    # Sets hold pictures of one moment, each once, in order.
    used: Counter[tuple[str, int]] = Counter()
    for made in sets:
        numbers = {frame.number for frame in made.frames.values()}
        assert len(numbers) == 1, "pictures of one moment"
        assert made.captured == min(frame.captured for frame in made.frames.values())
        used.update((name, frame.number) for name, frame in made.frames.items())
    assert max(used.values()) == 1
    times = [made.captured for made in sets]
    assert times == sorted(times)
    # Where all three took one there is a set, but for the few that a busy machine may have missed.
    possible = set.intersection(*({*source.taken} for source in sources))
    assert len(sets) >= 0.95 * len(possible), f"{len(sets)} sets of {len(possible)}"
    # Every lost frame is counted.
    for source, capture in zip(sources[:2], captures[:2], strict=True):
        received = [number for name, number, _ in frames if name == capture.name]
        missing = received[-1] - received[0] + 1 - len(received)
        inner = [number for number in source.dropped if received[0] < number < received[-1]]
        health = capture.health()
        assert health.drops == missing
        assert len(inner) <= missing <= len(inner) + 0.05 * len(received)
    # The one that fell silent was opened anew.
    assert captures[2].health().reconnects >= 1
    assert captures[2].health().fault == ""
    late = [made for made in sets if made.captured > sources[2]._begin + 12]
    assert len(late) > 5 * FPS, "sets go on after the reconnection"
