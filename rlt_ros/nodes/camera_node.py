"""Cameras: one synchronous set after another, model-sized, stamped with the time at which it was taken.

Publishes: `<camera>/color/image_raw` (Image), `<camera>/color/camera_info` (CameraInfo),
`<camera>/color/image_raw/compressed` (CompressedImage, full size, at a low rate), `/diagnostics` (DiagnosticArray).
Parameters: `rlt_ros.cameras.config.CameraParameters`.
"""

from __future__ import annotations

import math
import threading
import time
from array import array

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from sensor_msgs.msg import CompressedImage

from rlt_ros.cameras.backends import make_camera
from rlt_ros.cameras.camera import Camera, CameraError, Frame, Intrinsics
from rlt_ros.cameras.capture import Capture, Health
from rlt_ros.cameras.config import CameraParameters
from rlt_ros.cameras.picture import crop_box, fitted, fitted_intrinsics, jpeg
from rlt_ros.cameras.sets import FrameSet, SetBuilder
from rlt_ros.config import ConfigError
from rlt_ros.ros.fields import to_stamp
from rlt_ros.ros.image_output import ImageOutput
from rlt_ros.ros.node import ManagedNode, read_parameters, run
from rlt_ros.vla.bundle import load_bundle

_OPENING_TIME = 5.0
_FROZEN = 30
"""Frames in a row that are exactly the same before it is told."""


class CameraNode(ManagedNode):
    """A thread for each camera finds the newest frames; one more thread publishes the newest set."""

    def __init__(self) -> None:
        """Read the parameters."""
        super().__init__("camera_node")
        self._config = read_parameters(self, CameraParameters)
        self._cameras: dict[str, Camera] = {}
        self._open = False
        self._captures: list[Capture] = []
        self._sets_ready = threading.Condition()
        self._newest_set: FrameSet | None = None
        self._publishing = False
        self._thread: threading.Thread | None = None

    # -- life cycle ----------------------------------------------------------------------------------------

    def setup(self) -> None:
        """Open every camera; connect."""
        p = self._config
        cameras = p.camera_configs
        self._devices = {config.name: config.device for config in cameras}
        self._size = p.image_size or (load_bundle(p.bundle).image_size if p.bundle else 0)
        if not self._size:
            raise ConfigError("image_size is 0 and no bundle says which size its model takes")
        self._crops = p.crop_boxes
        self._cameras = {}
        try:
            for config in cameras:
                camera = make_camera(p.backend, config)
                camera.open()
                self._cameras[config.name] = camera
            self._intrinsics = {name: self._first_look(name) for name in self._cameras}
        except (CameraError, ValueError) as error:
            self._close_all()
            raise ConfigError(str(error)) from error
        self._open = True
        self._builder = SetBuilder(list(self._cameras), p.set_tolerance)
        self._published = self._replaced = 0
        self._last_age, self._last_spread, self._counted = 0.0, 0.0, 0
        self._next_jpeg = 0.0
        self._output = ImageOutput(self, list(self._cameras))
        topic = "color/image_raw/compressed"
        self._compressed = {n: self.create_publisher(CompressedImage, f"{n}/{topic}", 1) for n in self._cameras}
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.handles = [
            *self._output.publishers,
            *self._compressed.values(),
            self._diagnostics,
            self.create_timer(1.0, self._publish_diagnostics),
        ]

    def _first_look(self, name: str) -> Intrinsics | None:
        """Wait for a frame: a camera that opens and gives nothing is found now, and the crop is checked."""
        camera, deadline = self._cameras[name], time.monotonic() + _OPENING_TIME
        frame = None
        while frame is None:
            if time.monotonic() > deadline:
                raise CameraError(f"{name}: no frame within {_OPENING_TIME:.0f} s of opening")
            frame = camera.next_frame(0.2)
        height, width = frame.image.shape[:2]
        try:
            crop_box(self._crops[name], width, height)
        except ValueError as error:
            raise CameraError(f"{name}: {error}") from error
        known = camera.intrinsics()
        return known and fitted_intrinsics(known, self._crops[name], width, height, self._size)

    def start(self) -> None:
        """Begin to publish."""
        self._captures = [
            Capture(name, camera, self._on_frame, reopened=self._on_reopened) for name, camera in self._cameras.items()
        ]
        if not self._open or self._config.backend == "recorded":  # which plays from its first picture on
            try:
                for camera in self._cameras.values():
                    camera.open()
            except CameraError as error:
                raise ConfigError(str(error)) from error
        self._publishing = True
        self._thread = threading.Thread(target=self._publish_sets, name="sets", daemon=True)
        self._thread.start()
        for capture in self._captures:
            capture.start()
        self.get_logger().info(f"{', '.join(self._cameras)} by {self._config.backend}, {self._size} x {self._size}")

    def halt(self) -> None:
        """Stop threads and cameras."""
        for capture in self._captures:
            capture.stop()
        self._captures, self._open = [], False
        with self._sets_ready:
            self._publishing = False
            self._sets_ready.notify()
        if self._thread is not None:
            self._thread.join(5.0)
            self._thread = None

    def release(self) -> None:
        """Close what `setup` opened."""
        self._close_all()
        super().release()

    def _close_all(self) -> None:
        for camera in self._cameras.values():
            camera.close()

    # -- frames --------------------------------------------------------------------------------------------

    def _on_frame(self, name: str, frame: Frame) -> None:
        with self._sets_ready:
            made = self._builder.add(name, frame)
            if made is not None:
                self._replaced += self._newest_set is not None
                self._newest_set = made
                self._sets_ready.notify()

    def _publish_sets(self) -> None:
        try:
            self._publish_until_halted()
        except Exception as error:
            self.failure = f"publishing stopped: {error!r}"
            self.get_logger().fatal(self.failure)

    def _publish_until_halted(self) -> None:
        while True:
            with self._sets_ready:
                while self._newest_set is None and self._publishing:
                    self._sets_ready.wait()
                made, self._newest_set = self._newest_set, None
            if not self._publishing or made is None:
                return
            pictures = {name: fitted(frame.image, self._crops[name], self._size) for name, frame in made.frames.items()}
            self._output.publish(made.captured, pictures, self._intrinsics)
            self._published += 1
            self._last_age, self._last_spread = time.time() - made.captured, made.spread
            now = time.monotonic()
            if self._config.jpeg_rate and now >= self._next_jpeg:
                self._next_jpeg = now + 1 / self._config.jpeg_rate
                self._publish_jpegs(made)

    def _publish_jpegs(self, made: FrameSet) -> None:
        for name, frame in made.frames.items():
            if self._compressed[name].get_subscription_count():
                message = CompressedImage(format="rgb8; jpeg compressed bgr8")
                message.header.stamp = to_stamp(made.captured)
                message.header.frame_id = f"{name}_color_optical_frame"
                message.data = array("B", jpeg(frame.image))
                self._compressed[name].publish(message)

    def _on_reopened(self, name: str, text: str) -> None:
        self.get_logger().error(f"{name}: {text}")

    # -- health --------------------------------------------------------------------------------------------

    def _publish_diagnostics(self) -> None:
        if not self._captures:
            return
        message = DiagnosticArray(status=[self._status(capture.health()) for capture in self._captures])
        rate, self._counted = self._published - self._counted, self._published
        sets = DiagnosticStatus(name=f"{self.get_fully_qualified_name()}: sets", hardware_id=self._config.backend)
        low = rate < 0.9 * self._config.fps
        sets.level = DiagnosticStatus.WARN if low else DiagnosticStatus.OK
        sets.message = f"{rate} sets/s"
        figures = {
            "rate": rate,
            "published": self._published,
            "replaced_before_published": self._replaced,
            "frames_without_a_set": self._builder.unmatched,
            "age_ms": round(self._last_age * 1e3, 2),
            "spread_ms": round(self._last_spread * 1e3, 2),
        }
        sets.values = [KeyValue(key=key, value=str(value)) for key, value in figures.items()]
        message.status.append(sets)
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _status(self, health: Health) -> DiagnosticStatus:
        status = DiagnosticStatus(name=f"{self.get_fully_qualified_name()}: {health.name}")
        status.hardware_id = self._devices.get(health.name, "")
        if not health.streaming:
            status.level, status.message = DiagnosticStatus.ERROR, health.fault or "silent"
        elif health.frozen >= _FROZEN:
            status.level, status.message = DiagnosticStatus.WARN, f"the same picture {health.frozen} times in a row"
        elif health.rate < 0.9 * self._config.fps:
            status.level, status.message = DiagnosticStatus.WARN, f"{health.rate:.0f} frames/s"
        else:
            status.level, status.message = DiagnosticStatus.OK, f"{health.rate:.0f} frames/s"
        values = {
            "rate": health.rate,
            "age_ms": round(health.age * 1e3, 1) if math.isfinite(health.age) else "never",
            "frames": health.frames,
            "drops": health.drops,
            "reconnects": health.reconnects,
            "frozen": health.frozen,
            "temperature": "" if health.temperature is None else health.temperature,
        }
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        return status


def main() -> None:
    """Run the node."""
    run(CameraNode)
