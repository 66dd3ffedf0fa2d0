"""Values of message fields: arrays, stamps, durations."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration, Time
from numpy.typing import NDArray


def floats(values: NDArray[Any]) -> array[float]:
    """For a float32[] field: message setters check other sequences element by element."""
    out = array("f")
    out.frombytes(np.ascontiguousarray(values, dtype=np.float32).tobytes())
    return out


def doubles(values: NDArray[Any]) -> array[float]:
    """For a float64[] field."""
    out = array("d")
    out.frombytes(np.ascontiguousarray(values, dtype=np.float64).tobytes())
    return out


def octets(data: bytes) -> array[int]:
    """For a uint8[] field."""
    out = array("B")
    out.frombytes(data)
    return out


def to_stamp(seconds: float) -> Time:
    """Seconds since the epoch as a ROS time stamp."""
    nanoseconds = round(seconds * 1e9)
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def to_duration(seconds: float) -> Duration:
    """Seconds as a ROS duration message."""
    nanoseconds = round(seconds * 1e9)
    return Duration(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def from_stamp(stamp: Time) -> float:
    """A ROS time stamp as seconds since the epoch."""
    return float(stamp.sec + stamp.nanosec * 1e-9)
