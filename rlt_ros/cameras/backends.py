"""Kinds of cameras by name; a kind's library is imported when it is used."""

from __future__ import annotations

from rlt_ros.cameras.camera import Camera, CameraConfig
from rlt_ros.missing import remedy

BACKENDS = ("realsense", "v4l2", "recorded", "pattern")


def make_camera(backend: str, config: CameraConfig) -> Camera:
    """A camera of that kind, not yet open.

    Raises:
        ValueError: the kind is unknown, or its library cannot be imported.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend '{backend}' is unknown: choose {', '.join(BACKENDS)}")
    try:
        if backend == "realsense":
            from rlt_ros.cameras.realsense import RealsenseCamera

            return RealsenseCamera(config)
        if backend == "v4l2":
            from rlt_ros.cameras.v4l2 import V4l2Camera

            return V4l2Camera(config)
        if backend == "recorded":
            from rlt_ros.cameras.recorded import RecordedCamera

            return RecordedCamera(config)
    except ImportError as error:
        extra = "realsense" if backend == "realsense" else "cameras"
        raise ValueError(f"backend {backend}: {remedy(error, extra)}") from error
    from rlt_ros.cameras.pattern import PatternCamera

    return PatternCamera(config)
