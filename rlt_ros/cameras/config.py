"""The parameters of `camera_node`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlt_ros.cameras.backends import BACKENDS
from rlt_ros.cameras.camera import CameraConfig
from rlt_ros.config import ConfigError, named, param


@dataclass(frozen=True)
class CameraParameters:
    """Of `camera_node`. Lists have one entry for each of `cameras`; a single one holds for all."""

    backend: str = param("realsense", "kind of the cameras: realsense, v4l2, recorded, or pattern (test pictures)")
    cameras: tuple[str, ...] = param(("",), "names of the cameras: they begin the topics")
    devices: tuple[str, ...] = param(
        ("",), "serial numbers (realsense), paths below /dev/v4l/by-path (v4l2), files (recorded)"
    )
    ports: tuple[str, ...] = param(("",), "physical port at which each must be found; empty: any")
    width: int = param(640, "of the cameras' pictures", unit="px", low=16, high=8192)
    height: int = param(480, "of the cameras' pictures", unit="px", low=16, high=8192)
    fps: int = param(30, "frames a second", low=1, high=300)
    exposures: tuple[int, ...] = param((0,), "exposure; 0: automatic", unit="us", low=0)
    gains: tuple[int, ...] = param((0,), "gain, in the device's units; 0: automatic", low=0)
    white_balances: tuple[int, ...] = param((0,), "white balance; 0: automatic", unit="K", low=0)
    sync_modes: tuple[int, ...] = param((0,), "hardware synchronisation: 0 off, 1 master, 2 slave", low=0)
    crops: tuple[int, ...] = param(
        (0,) * 4, "x, y, width, height for each camera; all 0: the largest square in the middle", unit="px", low=0
    )
    bundle: str = param("", "directory of the VLA bundle: its model's image size counts")
    image_size: int = param(0, "side of the pictures that go out; 0: the bundle's", unit="px", low=0, high=4096)
    set_tolerance: float = param(
        0.025,
        "largest time between two pictures of a set; cameras that run freely need 2/3 of a period",
        unit="s",
        low=0.0,
    )
    jpeg_rate: float = param(1.0, "full-size JPEGs a second for people who look; 0: none", unit="Hz", low=0.0, high=30)
    autostart: bool = param(True, "configure and activate at start")

    def check(self) -> None:
        """Look at what ranges cannot tell.

        Raises:
            ConfigError: a list has the wrong length, a name or device stands there twice, or the backend is unknown.
        """
        if self.backend not in BACKENDS:
            raise ConfigError(f"backend '{self.backend}' is unknown: choose {', '.join(BACKENDS)}")
        if not named(self.cameras):
            raise ConfigError("camera_node.cameras is not set: name the cameras, as the bundle has them")
        count = len(self.cameras)
        for name in ("devices", "ports", "exposures", "gains", "white_balances", "sync_modes", "crops"):
            self._each(name)
        if len(set(self.cameras)) != count:
            raise ConfigError(f"cameras names one twice: {', '.join(self.cameras)}")
        if self.backend in ("realsense", "v4l2"):
            for name, device in zip(self.cameras, self._each("devices"), strict=True):
                if not device:
                    raise ConfigError(f"devices says nothing for {name}: 'rlt doctor cameras' lists what is connected")
            if len(set(self._each("devices"))) != count:
                raise ConfigError(f"devices names one camera twice: {', '.join(self.devices)}")

    @property
    def camera_configs(self) -> list[CameraConfig]:
        """The settings of each camera; see `check`."""
        self.check()
        lists = ("devices", "ports", "exposures", "gains", "white_balances", "sync_modes")
        columns = zip(self.cameras, *map(self._each, lists), strict=True)
        return [
            CameraConfig(name, device, port, self.width, self.height, self.fps, exposure, gain, white, sync)
            for name, device, port, exposure, gain, white, sync in columns
        ]

    @property
    def crop_boxes(self) -> dict[str, tuple[int, int, int, int]]:
        """The crop of each camera."""
        c = self._each("crops")
        return {name: (c[4 * i], c[4 * i + 1], c[4 * i + 2], c[4 * i + 3]) for i, name in enumerate(self.cameras)}

    def _each(self, name: str) -> tuple[Any, ...]:
        """A list with its entries for each of `cameras`."""
        values, size = getattr(self, name), 4 if name == "crops" else 1
        if len(values) == size:
            return tuple(values * len(self.cameras))
        if len(values) != size * len(self.cameras):
            raise ConfigError(
                f"{name} has {len(values)} entries, {len(self.cameras)} cameras need {size * len(self.cameras)}"
            )
        return tuple(values)
