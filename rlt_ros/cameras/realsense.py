"""Intel RealSense cameras by pyrealsense2: colour, by serial number, with hardware time stamps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyrealsense2 as rs

from rlt_ros.cameras.camera import CameraConfig, CameraError, ClockMap, Frame, Intrinsics

_MODELS = {
    rs.distortion.none: "plumb_bob",
    rs.distortion.brown_conrady: "plumb_bob",
    rs.distortion.modified_brown_conrady: "plumb_bob",
    rs.distortion.inverse_brown_conrady: "plumb_bob",
    rs.distortion.kannala_brandt4: "equidistant",
}


def connected() -> list[Any]:
    """All devices."""
    return list(rs.context().query_devices())


def info(device: Any, name: str) -> str:
    """For example `serial_number`, `physical_port`, `usb_type_descriptor`; empty where the device has no such thing."""
    field = getattr(rs.camera_info, name)
    return str(device.get_info(field)) if device.supports(field) else ""


class RealsenseCamera:
    """The colour stream of one device."""

    live = True

    def __init__(self, config: CameraConfig, devices: Callable[[], Iterable[Any]] = connected) -> None:
        """Use a device once it is opened.

        Args:
            config: which, and how.
            devices: lists what is connected.
        """
        self._config = config
        self._devices = devices
        self._sensor: Any = None
        self._profile: Any = None
        self._queue: Any = None
        self._clock = ClockMap()

    def open(self) -> None:
        """See `Camera.open`."""
        self.close()
        config = self._config
        found = {info(device, "serial_number"): device for device in self._devices()}
        if config.device not in found:
            raise CameraError(
                f"{config.name}: no camera with serial number '{config.device}'; connected are "
                f"{', '.join(sorted(found)) or 'none'}: check cable and power, or camera_node.devices"
            )
        device = found[config.device]
        port = info(device, "physical_port")
        if config.port and port and config.port != port:
            raise CameraError(
                f"{config.name}: camera {config.device} is at port {port}, not at {config.port}: cameras are swapped, "
                "swap them back or correct camera_node.devices and ports ('rlt doctor cameras' lists both)"
            )
        sensor, profile = self._find(device)
        self._set_options(sensor)
        queue = rs.frame_queue(1)
        try:
            sensor.open(profile)
            sensor.start(queue)
        except RuntimeError as error:
            self._sensor = sensor
            self.close()
            raise CameraError(f"{config.name}: camera {config.device} does not start: {error}") from error
        self._sensor, self._profile, self._queue, self._clock = sensor, profile, queue, ClockMap()

    def _find(self, device: Any) -> tuple[Any, Any]:
        c, modes = self._config, []
        for sensor in device.query_sensors():
            for profile in sensor.get_stream_profiles():
                if profile.stream_type() != rs.stream.color or profile.format() != rs.format.rgb8:
                    continue
                video = profile.as_video_stream_profile()
                if (video.width(), video.height(), profile.fps()) == (c.width, c.height, c.fps):
                    return sensor, profile
                modes.append(f"{video.width()}x{video.height()} at {profile.fps()}")
        raise CameraError(
            f"{c.name}: camera {c.device} has no colour mode {c.width}x{c.height} at {c.fps}; it has "
            f"{', '.join(sorted(set(modes))) or 'none'}. At USB 2 there are fewer: see 'rlt doctor cameras'"
        )

    def _set_options(self, sensor: Any) -> None:
        c = self._config
        wanted = [
            (rs.option.global_time_enabled, 1.0),
            (rs.option.enable_auto_exposure, float(not (c.exposure or c.gain))),
            (rs.option.exposure, float(c.exposure)),
            (rs.option.gain, float(c.gain)),
            (rs.option.enable_auto_white_balance, float(not c.white_balance)),
            (rs.option.white_balance, float(c.white_balance)),
            (rs.option.inter_cam_sync_mode, float(c.sync_mode)),
        ]
        by_hand = {rs.option.exposure: c.exposure, rs.option.gain: c.gain, rs.option.white_balance: c.white_balance}
        by_hand[rs.option.inter_cam_sync_mode] = c.sync_mode
        for option, value in wanted:
            asked = by_hand.get(option)
            if asked == 0:
                continue
            if not sensor.supports(option):
                if asked:
                    raise CameraError(f"{c.name}: camera {c.device} has no {option.name}: set it to 0")
                continue
            try:
                sensor.set_option(option, value)
            except RuntimeError as error:
                raise CameraError(f"{c.name}: camera {c.device} refuses {option.name} {value:g}: {error}") from error

    def next_frame(self, timeout: float) -> Frame | None:
        """See `Camera.next_frame`."""
        if self._queue is None:
            raise CameraError("it is not open")
        got, frame = self._queue.try_wait_for_frame(int(timeout * 1000))
        if not got:
            return None
        arrived, stamp = time.time(), frame.get_timestamp() / 1000
        on_our_clock = frame.get_frame_timestamp_domain() != rs.timestamp_domain.hardware_clock
        captured = min(stamp, arrived) if on_our_clock else self._clock(stamp, arrived)
        return Frame(np.asanyarray(frame.get_data()).copy(), captured, arrived, int(frame.get_frame_number()))

    def intrinsics(self) -> Intrinsics | None:
        """See `Camera.intrinsics`."""
        if self._profile is None:
            return None
        try:
            i = self._profile.as_video_stream_profile().get_intrinsics()
        except RuntimeError:
            return None
        return Intrinsics(i.fx, i.fy, i.ppx, i.ppy, _MODELS.get(i.model, "plumb_bob"), tuple(i.coeffs))

    def temperature(self) -> float | None:
        """See `Camera.temperature`."""
        sensor, option = self._sensor, rs.option.asic_temperature
        try:
            return float(sensor.get_option(option)) if sensor is not None and sensor.supports(option) else None
        except RuntimeError:
            return None

    def close(self) -> None:
        """See `Camera.close`."""
        sensor, self._sensor, self._queue, self._profile = self._sensor, None, None, None
        if sensor is not None:
            for stop in (sensor.stop, sensor.close):
                try:
                    stop()
                except RuntimeError:
                    continue  # it is gone already
