"""Checkpoints: safetensors and JSON, written new and renamed, so that a crash never costs the old one.

A training goes on from a checkpoint with the replay it had: stored beside it, or rebuilt from the robot's journal. With
the same replay it goes on update by update the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from rlt_ros.normaliser import Normaliser
from rlt_ros.rl.config import CHECKPOINT_FORMAT, differences, settings
from rlt_ros.rl.directions import Directions
from rlt_ros.rl.export import export_actor
from rlt_ros.rl.method import Method

REPLAY_FILE = "replay.safetensors"
_DESCRIPTION = "checkpoint.json"
_NETWORKS = "learner.safetensors"
_BLOCK = 1000
Learns = TypeVar("Learns", bound=Method[Any])


class CheckpointError(ValueError):
    """A checkpoint is damaged or belongs to another training; the message says what differs."""


class DamagedError(CheckpointError):
    """A checkpoint cannot be read; an older one may."""


@dataclass(frozen=True)
class Layout:
    """What the numbers of states and actions mean; a checkpoint is of use where they mean the same.

    Attributes:
        bundle_id: of the VLA whose tokens and references are seen.
        joints: in the order of states and actions.
        normaliser: their scales.
    """

    bundle_id: str
    joints: tuple[str, ...]
    normaliser: Normaliser

    def described(self, learner: Method[Any]) -> dict[str, Any]:
        """As JSON, with the sizes of what the learner stores."""
        spec = learner.replay.spec
        return {
            "bundle": self.bundle_id,
            "joints": list(self.joints),
            "normaliser": self.normaliser.to_dict(),
            "token_dim": spec.token_dim,
            "chunk": spec.chunk,
            "stride": spec.stride,
        }


def save_checkpoint(
    learner: Method[Any],
    directory: Path,
    *,
    version: int,
    layout: Layout,
    with_replay: bool = False,
    score: float | None = None,
    extra: dict[str, Any] | None = None,
) -> Path:
    """Write networks, targets, optimisers, counters, random state, and where in the replay it stands.

    Args:
        learner: what to save.
        directory: parent of all checkpoints; created if absent.
        version: of the last published weights.
        layout: of states and actions.
        with_replay: also what was experienced; for a robot its journal has it.
        score: how well it flew, see `prune_checkpoints`; None: not known.
        extra: further things to remember, as JSON.

    Returns:
        The checkpoint's directory, `step-<updates>`; with a number behind if that is there already, which then goes.

    Raises:
        OSError: the disk is full or not writable; nothing that was there is changed.
    """
    name = f"step-{learner.updates:09d}"
    fresh = directory / f".{name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        networks = save(_stored(learner))
        (fresh / _NETWORKS).write_bytes(networks)
        description: dict[str, Any] = {
            "format": CHECKPOINT_FORMAT,
            "layout": layout.described(learner),
            "version": version,
            "updates": learner.updates,
            "samples": learner.replay.samples,
            "replay": {"written": learner.replay.written, "digest": learner.replay.digest.hex()},
            "config": settings(learner.config),
            "sha256": hashlib.sha256(networks).hexdigest(),
            "generator": learner.generator_state,
            "units": learner.units,
            "score": score,
            "extra": extra or {},
        }
        if with_replay:
            (fresh / REPLAY_FILE).write_bytes(save({k: v.contiguous() for k, v in learner.replay.stored().items()}))
        (fresh / _DESCRIPTION).write_text(json.dumps(description, indent=2))
        if learner.ready:
            (fresh / "actor.safetensors").write_bytes(export_actor(learner, layout.bundle_id, version))
        for path in (*fresh.iterdir(), fresh):
            _sync(path)
        older = sorted(directory.glob(f"{name}*"))
        number = int(older[-1].suffix[1:] or 0) + 1 if older else 0
        final = directory / (f"{name}.{number:03d}" if number else name)
        fresh.rename(final)
        _sync(directory)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    for path in older:
        shutil.rmtree(path, ignore_errors=True)
    return final


def load_checkpoint(learner: Method[Any], path: Path, *, layout: Layout) -> dict[str, Any]:
    """Go on where a checkpoint was written; the replay comes from it if it holds one, else the caller fills it.

    Args:
        learner: fresh, with the same configuration.
        path: the checkpoint's directory.
        layout: of states and actions now.

    Returns:
        The checkpoint's description: `version`, `replay`, `extra` and the rest of its checkpoint.json.

    Raises:
        DamagedError: a part of it is missing or unreadable; the learner must not be used.
        CheckpointError: another bundle, layout, configuration or version of rlt_ros made it.
    """
    try:
        description: dict[str, Any] = json.loads((path / _DESCRIPTION).read_text())
        if description["format"] != CHECKPOINT_FORMAT:
            raise CheckpointError(
                f"{path} has format {description['format']}, this version reads {CHECKPOINT_FORMAT}: begin a new run, "
                "or go on with the version of rlt_ros that wrote it"
            )
        changed = [
            *differences(description["layout"], layout.described(learner)),
            *differences(description["config"], settings(learner.config)),
        ]
        if changed:
            raise CheckpointError(
                f"{path} was trained with other settings (its -> now): {'; '.join(changed)}. "
                "Set them back, or begin a new run"
            )
        networks = (path / _NETWORKS).read_bytes()
        if hashlib.sha256(networks).hexdigest() != description["sha256"]:
            raise DamagedError(f"{path} is damaged: {_NETWORKS} is not what was written")
        stored = load(networks)
        if (path / REPLAY_FILE).is_file():
            learner.replay.restore(load((path / REPLAY_FILE).read_bytes()))
        _restore(learner, stored, description)
    except CheckpointError:
        raise
    except (OSError, KeyError, TypeError, RuntimeError, ValueError, SafetensorError) as error:
        raise DamagedError(f"{path} is damaged: {error!r}") from error
    return description


def resume(
    learner: Callable[[], Learns],
    directory: Path | None,
    *,
    layout: Layout,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[Learns, dict[str, Any] | None]:
    """A learner that goes on from the newest checkpoint that can be read; newer ones are renamed `damaged-*`.

    Args:
        learner: makes a fresh one.
        directory: parent of the checkpoints; it may be empty or missing, or None.
        layout: of states and actions.
        tell: called with a line about every checkpoint that had to be left aside.

    Returns:
        The learner, and the checkpoint's description; None: there is no checkpoint, the learner starts anew.

    Raises:
        CheckpointError: checkpoints are there, but another training's, or none can be read.
    """
    found = sorted(path for path in directory.glob("step-*") if path.is_dir()) if directory else []
    damaged: list[Path] = []
    for path in reversed(found):
        made = learner()
        try:
            description = load_checkpoint(made, path, layout=layout)
        except DamagedError as error:
            tell(f"{error}; an older checkpoint is tried")
            damaged.append(path)
            continue
        for newer in damaged:
            with contextlib.suppress(OSError):  # else it would pass for the newest one for ever
                newer.rename(newer.with_name(f"damaged-{newer.name}"))
        return made, description
    if found:
        raise CheckpointError(f"none of the {len(found)} checkpoints in {directory} can be read: move them away")
    return learner(), None


def prune_checkpoints(directory: Path, keep: int) -> None:
    """Remove all checkpoints but the newest ones and the one with the highest score."""
    found = sorted(path for path in directory.glob("step-*") if path.is_dir())
    scores: dict[Path, float] = {}
    for path in found:
        with contextlib.suppress(OSError, ValueError, KeyError):
            score = json.loads((path / _DESCRIPTION).read_text())["score"]
            if score is not None:
                scores[path] = score
    best = max(scores, key=lambda path: scores[path], default=None)
    for path in found[:-keep]:
        if path != best:
            shutil.rmtree(path, ignore_errors=True)


class Versions:
    """Numbers of published weights; they rise over crashes, because blocks of them are set aside on disk first."""

    def __init__(self, directory: Path | None, at_least: int = 0) -> None:
        """Go on after all that were ever given from this directory; None: nothing is remembered.

        Args:
            directory: of the checkpoints.
            at_least: the last version that is known otherwise.
        """
        self._path = directory / "versions.json" if directory else None
        self.last = at_least
        self.problem = ""
        if self._path is not None and self._path.is_file():
            with contextlib.suppress(OSError, ValueError, KeyError):
                self.last = max(self.last, int(json.loads(self._path.read_text())["reserved"]))
        self._reserved = self.last

    def next(self) -> int:
        """A new version."""
        self.last += 1
        if self.last > self._reserved and self._path is not None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                fresh = self._path.with_suffix(".new")
                fresh.write_text(json.dumps({"reserved": self.last + _BLOCK - 1}))
                _sync(fresh)
                fresh.replace(self._path)
                self._reserved, self.problem = self.last + _BLOCK - 1, ""
            except OSError as error:
                self.problem = f"{self._path}: {error.strerror}"
        return self.last


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _stored(learner: Method[Any]) -> dict[str, Tensor]:
    """Networks, optimisers and directions by name."""
    tensors = {f"{name}.{key}": v for name, part in learner.parts.items() for key, v in part.stored().items()}
    tensors["directions"] = learner.view.directions.basis
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def _restore(learner: Method[Any], stored: dict[str, Tensor], description: dict[str, Any]) -> None:
    """Take over what `_stored` gave: from here on every update is the one that would have followed."""
    for name, part in learner.parts.items():
        part.restore({key.removeprefix(f"{name}."): v for key, v in stored.items() if key.startswith(f"{name}.")})
    learner.view.directions = Directions(stored["directions"].to(learner.device))
    learner.units, learner.updates = description["units"], description["updates"]
    learner.generator_state = description["generator"]
