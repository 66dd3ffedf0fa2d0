"""How the demonstrations move: the second moment of executed chunks, durations and speeds, kept beside a bundle.

RL needs units for what it may change of a chunk. The references' own spectrum is none: along most directions a VLA
hardly moves, but the corrections that help are there. What people did is one: along every direction in which they ever
corrected, the moment of their chunks is large enough.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from rlt_ros.normaliser import Normaliser
from rlt_ros.types import Array32, Episode
from rlt_ros.vla.bundle import Bundle, BundleError
from rlt_ros.vla.demos import Demonstrations

MOTION_FILE = "motion.safetensors"
MOTION_ROWS = 20
"""Rows of a chunk, at most, that the moment is kept for."""
_QUANTILES = np.linspace(0, 1, 21)


@dataclass(frozen=True)
class Motion:
    """Statistics of what was demonstrated in the critical phase.

    Attributes:
        moment: second moment of executed chunks, normalised target changes row after row, shape (R J, R J).
        joints: J.
        durations: quantiles (0, 5 %, ... 100 %) of the ticks until success, by task; of the episodes that began with
            the critical phase if there are any.
        speeds: the same of a tick's motion, the length of its normalised target change, by task.
    """

    moment: Array32
    joints: int
    durations: dict[str, list[float]] = field(default_factory=dict)
    speeds: dict[str, list[float]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """R."""
        return len(self.moment) // self.joints

    def summary(self, period: float) -> dict[str, Any]:
        """How long people took and how fast they moved, by task: the 5, 25, 50, 75 and 95 % quantiles.

        Args:
            period: seconds of a tick.
        """
        told = np.isin(_QUANTILES.round(2), (0.05, 0.25, 0.5, 0.75, 0.95))
        return {
            task: {
                "seconds": (period * np.array(ticks)[told]).round(2).tolist(),
                "speed": np.array(self.speeds[task])[told].round(2).tolist(),
            }
            for task, ticks in self.durations.items()
        }

    def of_chunk(self, rows: int) -> Array32:
        """The moment of the first `rows` rows, shape (rows J, rows J).

        Raises:
            ValueError: it is not known for so many.
        """
        if not 1 <= rows <= self.rows:
            raise ValueError(f"the demonstrations' motion is known for chunks of up to {self.rows} rows, not {rows}")
        return self.moment[: rows * self.joints, : rows * self.joints]


def without_pictures(episode: Episode, stride: int) -> Episode:
    """The same episode, observed every `stride` ticks by nobody: where only the motion counts."""
    ticks = np.arange(0, len(episode.command), stride)
    return replace(episode, image_ticks=ticks, images=np.zeros((len(ticks), 0, 1, 1, 3), np.uint8))


def motion_of(demos: Demonstrations, normaliser: Normaliser | None = None) -> Motion:
    """Of whole chunks of the demonstrations' critical phase; of everything where none is marked, or none is whole.

    Args:
        demos: what was demonstrated.
        normaliser: the bundle's; default: that of the demonstrations.
    """
    scale = (normaliser or demos.normaliser).action_std
    rows = min(MOTION_ROWS, demos.steps.shape[1])
    here = demos.critical if demos.critical.any() else np.ones(len(demos.episode), np.bool_)
    whole = here & demos.valid[:, :rows].all(1)
    if not whole.any():
        whole = here  # all are shorter than that: they rest after their end
    chunks = (demos.steps[whole, :rows] / scale).reshape(whole.sum(), -1).astype(np.float64)
    durations, speeds = {}, {}
    for number, task in enumerate(demos.tasks):
        told = demos.instruction == number
        ticks = demos.ticks[_whole(demos, told)]
        durations[task] = np.quantile(ticks, _QUANTILES).tolist()
        now = np.linalg.norm(demos.steps[told & here, 0] / scale, axis=1)
        speeds[task] = np.quantile(now, _QUANTILES).round(4).tolist()
    moment = chunks.T @ chunks / max(1, len(chunks))
    return Motion(moment.astype(np.float32), demos.steps.shape[2], durations, speeds)


def _whole(demos: Demonstrations, told: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Episodes that begin with the critical phase; all where none does."""
    episodes, approached = np.unique(demos.episode[told]), np.unique(demos.episode[told & ~demos.critical])
    begun = np.setdiff1d(episodes, approached)
    return begun if len(begun) else episodes


def save_motion(motion: Motion, directory: Path) -> Path:
    """Write it beside a bundle's model, new and renamed."""
    path = directory / MOTION_FILE
    fresh = path.with_suffix(".new")
    told = {"joints": motion.joints, "durations": motion.durations, "speeds": motion.speeds}
    save_file({"moment": np.ascontiguousarray(motion.moment)}, fresh, metadata={"motion": json.dumps(told)})
    fresh.replace(path)
    return path


def load_motion(bundle: Bundle) -> Motion | None:
    """The one beside a bundle; None: it was made without.

    Raises:
        BundleError: the file is damaged, or of another robot.
    """
    path = bundle.directory / MOTION_FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, "np") as file:
            told, moment = json.loads(file.metadata()["motion"]), file.get_tensor("moment")
        motion = Motion(moment, **told)
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise BundleError(f"{path} cannot be read ({error}): make the bundle anew, or remove the file") from error
    if motion.joints != len(bundle.joints) or moment.shape != (motion.rows * motion.joints,) * 2:
        raise BundleError(f"{path} is of a robot with {motion.joints} joints, the bundle has {len(bundle.joints)}")
    return motion


def moment_for(bundle: Bundle, rows: int) -> Array32 | None:
    """The moment of chunks of so many rows that RL takes its units from; None: the bundle does not have it.

    Raises:
        BundleError: see `load_motion`.
    """
    motion = load_motion(bundle)
    return None if motion is None or rows > motion.rows else motion.of_chunk(rows)
