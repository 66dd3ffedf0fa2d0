"""`rlt doctor cameras`: what is connected, a still of each, and whether all of them keep up together."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from rlt_ros.bringup.parameter_file import read_parameter_file
from rlt_ros.cameras.backends import make_camera
from rlt_ros.cameras.camera import Camera, CameraError, Frame
from rlt_ros.cameras.capture import Capture, Health
from rlt_ros.cameras.config import CameraParameters
from rlt_ros.cameras.picture import Crop, crop_box
from rlt_ros.cameras.sets import SetBuilder
from rlt_ros.config import ConfigError, from_mapping


@dataclass(frozen=True)
class Found:
    """A connected device."""

    backend: str
    device: str
    name: str
    port: str = ""
    usb: str = ""
    modes: list[str] = field(default_factory=list)


def doctor_cameras(config: Path | None, picked: list[str], stills: Path, seconds: float, as_json: bool) -> int:
    """List devices; with a parameter file also try its cameras.

    Args:
        config: parameter file with a section for `camera_node`; None: only list.
        picked: crops to try, `name=x,y,width,height`.
        stills: directory of the pictures (PNG).
        seconds: how long all cameras run together.
        as_json: print one JSON object.

    Returns:
        The exit code: 1 where the configured cameras do not do what is asked.
    """
    console = Console(highlight=False)
    devices, notes = list(_realsense()), []
    devices += _v4l2()
    report: dict[str, Any] = {"devices": [asdict(device) for device in devices]}
    if not as_json:
        console.print(_devices_table(devices))
    if not devices:
        notes.append("no camera found: check cables, or install 'rlt_ros[realsense]' (and libusb-1.0-0)")
    notes += [
        f"{device.name} {device.device} is at USB {device.usb}: use a USB 3 port and cable, it has fewer modes there"
        for device in devices
        if device.usb.startswith("2")
    ]
    good = True
    if config is not None:
        values = read_parameter_file(config).get("camera_node", {})
        parameters: CameraParameters = from_mapping(CameraParameters, values, "camera_node")
        trial, hints, good = _try_together(parameters, _crops(parameters, picked), stills, seconds)
        report["trial"] = trial
        notes += hints
        if not as_json:
            console.print(_trial_table(trial))
            console.print(f"stills with their crops: {stills}")
        if picked:
            crops = [number for box in _crops(parameters, picked).values() for number in box]
            report["crops"] = crops
            notes.append(f"camera_node.crops: {crops}")
    elif picked:
        raise ConfigError("--pick needs the cameras' parameter file: --config robot.yaml")
    report["notes"] = notes
    if as_json:
        print(json.dumps(report))
    else:
        for note in notes:
            console.print(f"-> {note}", markup=False)
    return 0 if good else 1


def _realsense() -> Iterator[Found]:
    try:
        import pyrealsense2 as rs

        from rlt_ros.cameras.realsense import connected, info
    except ImportError:
        return
    for device in connected():
        modes = {
            f"{profile.as_video_stream_profile().width()}x{profile.as_video_stream_profile().height()}@{profile.fps()}"
            for sensor in device.query_sensors()
            for profile in sensor.get_stream_profiles()
            if profile.stream_type() == rs.stream.color and profile.format() == rs.format.rgb8
        }
        details = (info(device, key) for key in ("serial_number", "name", "physical_port", "usb_type_descriptor"))
        yield Found("realsense", *details, sorted(modes))


def _v4l2() -> Iterator[Found]:
    try:
        from rlt_ros.cameras.v4l2 import connected
    except ImportError:
        return
    for path in connected():
        video = Path(path).resolve()
        label = Path("/sys/class/video4linux") / video.name / "name"
        yield Found("v4l2", path, label.read_text().strip() if label.is_file() else video.name)


def _crops(parameters: CameraParameters, picked: list[str]) -> dict[str, Crop]:
    out = dict(parameters.crop_boxes)
    for text in picked:
        name, _, numbers = text.partition("=")
        values = numbers.split(",")
        if name not in out or len(values) != 4 or not all(value.strip().isdigit() for value in values):
            raise ConfigError(f"--pick {text}: write name=x,y,width,height with one of {', '.join(out)}")
        x, y, width, height = (int(value) for value in values)
        out[name] = (x, y, width, height)
    return out


def _try_together(
    parameters: CameraParameters, crops: dict[str, Crop], stills: Path, seconds: float
) -> tuple[dict[str, Any], list[str], bool]:
    cameras: dict[str, Camera] = {}
    newest: dict[str, Frame] = {}
    sets = [0]
    builder = SetBuilder(parameters.cameras, parameters.set_tolerance)

    def deliver(name: str, frame: Frame) -> None:
        newest[name] = frame
        sets[0] += builder.add(name, frame) is not None

    captures: list[Capture] = []
    try:
        for config in parameters.camera_configs:
            cameras[config.name] = make_camera(parameters.backend, config)
            cameras[config.name].open()
        captures = [Capture(name, camera, deliver) for name, camera in cameras.items()]
        for capture in captures:
            capture.start()
        time.sleep(seconds)
        health = [capture.health() for capture in captures]
    except CameraError as error:
        raise ConfigError(str(error)) from error
    finally:
        for capture in captures:
            capture.stop()
        for camera in cameras.values():
            camera.close()
    stills.mkdir(parents=True, exist_ok=True)
    for name, frame in newest.items():
        _still(frame, crops[name], stills / f"{name}.png")
    trial = {
        "seconds": seconds,
        "asked_fps": parameters.fps,
        "sets_per_s": round(sets[0] / seconds, 1),
        "cameras": {one.name: _figures(one, seconds) for one in health},
    }
    hints = _hints(parameters, health, sets[0] / seconds, seconds)
    return trial, hints, not hints


def _figures(health: Health, seconds: float) -> dict[str, Any]:
    return {
        "fps": round(health.frames / seconds, 1),
        "drops": health.drops,
        "reconnects": health.reconnects,
        "frozen": health.frozen,
        "temperature": health.temperature,
        "fault": health.fault,
    }


def _hints(parameters: CameraParameters, health: list[Health], sets: float, seconds: float) -> list[str]:
    out = []
    for one in health:
        if one.frames < 0.9 * parameters.fps * seconds - parameters.fps:
            out.append(
                f"{one.name} gives {one.frames / seconds:.0f} of {parameters.fps} frames a second: lower fps or size, "
                "put the cameras on separate USB controllers, or give more light (a long exposure lowers the rate)"
            )
    slowest = min((one.frames / seconds for one in health), default=0.0)
    if not out and sets < 0.9 * slowest:
        out.append(
            f"{sets:.0f} sets a second of {slowest:.0f} possible: the pictures are further apart than set_tolerance "
            f"({parameters.set_tolerance} s): connect the synchronisation pins (sync_modes), or raise it"
        )
    return out


def _still(frame: Frame, crop: Crop, path: Path) -> None:
    import cv2

    height, width = frame.image.shape[:2]
    x, y, w, h = crop_box(crop, width, height)
    picture = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
    cv2.rectangle(picture, (x, y), (x + w - 1, y + h - 1), (0, 160, 255), 2)
    cv2.imwrite(str(path), picture)


def _devices_table(devices: list[Found]) -> Table:
    table = Table("backend", "device", "name", "port", "USB", "colour modes")
    for device in devices:
        shown = ", ".join(device.modes[:6]) + (" ..." if len(device.modes) > 6 else "")
        table.add_row(device.backend, device.device, device.name, device.port, device.usb, shown)
    return table


def _trial_table(trial: dict[str, Any]) -> Table:
    title = f"{trial['seconds']:.0f} s together: {trial['sets_per_s']} sets/s, {trial['asked_fps']} asked for"
    table = Table("camera", "frames/s", "drops", "reconnects", "fault", title=title, title_justify="left")
    for name, figures in trial["cameras"].items():
        table.add_row(name, *(str(figures[key]) for key in ("fps", "drops", "reconnects", "fault")))
    return table
