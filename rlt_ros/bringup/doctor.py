"""What works on this machine, and what to do about the rest."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rlt_ros.bringup.graph import Bringup, check_domain
from rlt_ros.control.realtime import raise_priority


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        ok: it works.
        required: the simulated cell cannot run without it.
        detail: what was found.
        remedy: what to do; empty when it works.
    """

    name: str
    ok: bool
    required: bool
    detail: str
    remedy: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def checks(bundle: Path | None = None) -> Iterator[Check]:
    """Look at everything, one finding at a time."""
    yield _guarded("python", True, _python, "use Python 3.10 to 3.14")
    yield _guarded("ros", True, _ros, "run 'make setup', or source a ROS 2 distribution (Jazzy or newer)")
    yield _guarded("messages", True, _messages, "run 'make setup', or source the workspace in which rlt_ros is built")
    yield _guarded("torch", True, _torch, "run 'make setup', or pip install torch")
    yield _guarded("bundle", True, lambda: _bundle(bundle), "make one with 'rlt adapt'")
    yield _guarded("onnx providers", True, _onnx, "pip install onnxruntime, or onnxruntime-gpu")
    yield check_rendering()
    yield _guarded("domain", True, _domain, "set ROS_DOMAIN_ID to a number from 0 to 101")
    yield _guarded(
        "real-time priority", False, _priority, "allow 'rtprio 99' in /etc/security/limits.conf, or grant CAP_SYS_NICE"
    )
    yield _guarded("cpu", False, _cpu, "two cores are the least for the simulated cell with its learner")
    yield _guarded("disk", False, _disk, "free at least 1 GB for logs and checkpoints")
    yield _guarded(
        "realsense", False, _realsense, "pip install 'rlt_ros[realsense]', install libusb-1.0-0, connect a camera"
    )
    yield _guarded(
        "joystick", False, _joystick, "connect one, pip install 'rlt_ros[teleop]'; needed for teleoperation only"
    )
    yield _guarded("display", False, _display, "set DISPLAY for the cell's 3D window; not needed with --headless")


def check_rendering() -> Check:
    """Can the cell's cameras be rendered?"""
    return _guarded("gl rendering", True, _gl, "install libegl1 and libgl1-mesa-dri, and unset MUJOCO_GL")


def _guarded(name: str, required: bool, look: Callable[[], str], remedy: str) -> Check:
    """A failing look is a finding, whatever its exception."""
    try:
        return Check(name, True, required, look())
    except Exception as error:
        return Check(name, False, required, f"{type(error).__name__}: {error}".splitlines()[0], remedy)


def _python() -> str:
    if not (3, 10) <= sys.version_info[:2] <= (3, 14):
        raise RuntimeError(f"Python {sys.version.split()[0]} is not supported")
    return sys.version.split()[0]


def _ros() -> str:
    rclpy = importlib.import_module("rclpy")
    return f"rclpy from {Path(rclpy.__file__).parents[1]}, {rclpy.get_rmw_implementation_identifier()}"


def _messages() -> str:
    return str(Path(importlib.import_module("rlt_ros.msg").__file__ or "").parent)


def _torch() -> str:
    torch = importlib.import_module("torch")
    return f"{torch.__version__}, CUDA {'yes' if torch.cuda.is_available() else 'no'}"


def _bundle(path: Path | None) -> str:
    from rlt_ros.vla.bundle import load_bundle

    bundle = load_bundle(Bringup(bundle=path).bundle_path)
    return f"{bundle.id} for {bundle.robot}, tasks {', '.join(bundle.tasks)}"


def _onnx() -> str:
    return ", ".join(importlib.import_module("onnxruntime").get_available_providers())


def _gl() -> str:
    from rlt_ros.sim.cell import Cell
    from rlt_ros.sim.tasks import TASKS

    cell = Cell(next(iter(TASKS.values())), image_size=64)
    try:
        if all(image.std() < 1.0 for image in cell.render().values()):
            raise RuntimeError("the cameras render blank pictures")
    finally:
        cell.close()
    return f"MUJOCO_GL={os.environ.get('MUJOCO_GL')}: three cameras rendered"


def _domain() -> str:
    reach = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    return f"domain {check_domain(os.environ)}, discovery {reach}"


def _priority() -> str:
    warning: list[str] = []
    thread = threading.Thread(target=lambda: warning.append(raise_priority(50)))
    thread.start()
    thread.join()
    if warning[0]:
        raise PermissionError(warning[0])
    return "SCHED_FIFO granted, memory locked"


def _cpu() -> str:
    count = os.cpu_count() or 1
    if count < 2:
        raise RuntimeError(f"{count} core")
    return f"{count} cores"


def _disk() -> str:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    if free < 1:
        raise OSError(f"{free:.2f} GB free")
    return f"{free:.0f} GB free"


def _realsense() -> str:
    devices = list(importlib.import_module("pyrealsense2").context().query_devices())
    if not devices:
        raise RuntimeError("no camera found")
    return f"{len(devices)} cameras"


def _joystick() -> str:
    from rlt_ros.teleop.device import devices

    found = devices()
    if not found:
        raise RuntimeError("none is connected")
    return f"{', '.join(found)}; 'rlt doctor joystick' shows what its buttons do"


def _display() -> str:
    if not display_works():
        raise RuntimeError("no window can be opened")
    return os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or ""


def display_works() -> bool:
    """Can a window be opened? Asked in a process of its own: a variable may name a display that is gone."""
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    code = "import glfw, sys; sys.exit(0 if glfw.init() else 1)"
    return subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True).returncode == 0
