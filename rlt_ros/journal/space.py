"""How much may be recorded: a budget for the journal and a reserve for the rest of the machine."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

_EARLY = 0.8
"""Share of the budget from which on images are not recorded any more."""


class Space(IntEnum):
    """What there is space for."""

    AMPLE = 0
    LOW = 1  # everything but images
    NONE = 2


@dataclass(frozen=True)
class SpaceLimits:
    """In bytes; see `judge`.

    Attributes:
        reserve: that stay free on the disk.
        budget: that the journal may take; 0: any.
    """

    reserve: int
    budget: int


def judge(limits: SpaceLimits, free: int, used: int) -> tuple[Space, str]:
    """What may be recorded now, and why not everything.

    Args:
        limits: to keep.
        free: bytes on the disk.
        used: bytes of the journal.
    """
    told = f"{_size(free)} free, the journal has {_size(used)}"
    if free < limits.reserve:
        return Space.NONE, f"{told}: less than the reserve of {_size(limits.reserve)}, nothing is recorded"
    if limits.budget and used >= limits.budget:
        return Space.NONE, f"{told}: its budget of {_size(limits.budget)} is used up, nothing is recorded"
    if free < 2 * limits.reserve:
        return Space.LOW, f"{told}: soon less than the reserve of {_size(limits.reserve)}, no images are recorded"
    if limits.budget and used >= _EARLY * limits.budget:
        return Space.LOW, f"{told}: soon its budget of {_size(limits.budget)}, no images are recorded"
    return Space.AMPLE, told


def free_bytes(directory: Path) -> int:
    """Bytes that can be written to the disk of a directory.

    Raises:
        OSError: the directory is not there.
    """
    return shutil.disk_usage(directory).free


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
