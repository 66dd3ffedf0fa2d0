"""Checkpoints: safetensors and JSON, written new and renamed, so that a crash never costs the old one.

A checkpoint that holds the replay too can be gone on with (`load_checkpoint`), update by update the same.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from rlt_ros.rl.learner import Learner

FORMAT = 6
REPLAY_FILE = "replay.safetensors"


class CheckpointError(ValueError):
    """A checkpoint is damaged or belongs to another training; the message says what differs."""


def save_checkpoint(
    learner: Learner,
    directory: Path,
    *,
    version: int,
    bundle_id: str,
    with_replay: bool = False,
    extra: dict[str, Any] | None = None,
) -> Path:
    """Write networks, targets, optimisers and counters.

    Args:
        learner: what to save.
        directory: parent of all checkpoints; created if absent.
        version: of the last published weights.
        bundle_id: the bundle it was trained with.
        with_replay: also what was experienced, so that the training can go on.
        extra: further things to remember, as JSON.

    Returns:
        The checkpoint's directory, `step-<updates>`.

    Raises:
        OSError: the disk is full or not writable; nothing that was there is changed.
    """
    final = directory / f"step-{learner.updates:09d}"
    fresh = directory / f".{final.name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        (fresh / "learner.safetensors").write_bytes(save(_tensors(learner)))
        description: dict[str, Any] = {
            "format": FORMAT,
            "bundle_id": bundle_id,
            "version": version,
            "updates": learner.updates,
            "samples": learner.replay.samples,
            "config": asdict(learner.config),
            "generator": learner.generator_state,
            "extra": extra or {},
        }
        if with_replay:
            (fresh / REPLAY_FILE).write_bytes(save({k: v.contiguous() for k, v in learner.replay.stored().items()}))
        (fresh / "checkpoint.json").write_text(json.dumps(description, indent=2))
        (fresh / "actor.safetensors").write_bytes(learner.export(version))
        for path in fresh.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        shutil.rmtree(final, ignore_errors=True)
        fresh.rename(final)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    return final


def load_checkpoint(learner: Learner, path: Path, *, bundle_id: str) -> dict[str, Any]:
    """Go on where a checkpoint was written.

    Args:
        learner: fresh, with the same configuration.
        path: the checkpoint's directory.
        bundle_id: the bundle in use.

    Returns:
        The checkpoint's description: `version`, `extra` and the rest of its checkpoint.json.

    Raises:
        CheckpointError: it is damaged, holds no replay, or another bundle or configuration made it.
    """
    try:
        description: dict[str, Any] = json.loads((path / "checkpoint.json").read_text())
        if description["format"] != FORMAT:
            raise CheckpointError(f"{path} has format {description['format']}, this version reads {FORMAT}")
        if description["bundle_id"] != bundle_id:
            raise CheckpointError(f"{path} was made with bundle {description['bundle_id']}, in use is {bundle_id}")
        theirs, mine = description["config"], json.loads(json.dumps(asdict(learner.config)))
        changed = [
            f"{k} {theirs.get(k)!r} -> {mine.get(k)!r}"
            for k in sorted({*theirs, *mine})
            if theirs.get(k) != mine.get(k)
        ]
        if changed:
            raise CheckpointError(f"{path} was trained with other settings: {', '.join(changed)}")
        if not (path / REPLAY_FILE).is_file():
            raise CheckpointError(f"{path} holds no replay: it can be flown, but not gone on with")
        learner.replay.restore(load((path / REPLAY_FILE).read_bytes()))
        learner.restore(
            load((path / "learner.safetensors").read_bytes()), description["updates"], description["generator"]
        )
    except (OSError, KeyError, json.JSONDecodeError, SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged: {error!r}") from error
    return description


def _tensors(learner: Learner) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous().clone() for name, value in learner.stored().items()}
