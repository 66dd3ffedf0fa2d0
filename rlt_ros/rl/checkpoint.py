"""Checkpoints: safetensors and JSON, written new and renamed, so that a crash never costs the old one."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from rlt_ros.rl.learner import Learner

FORMAT = 1


def save_checkpoint(learner: Learner, directory: Path, *, version: int, bundle_id: str) -> Path:
    """Write networks, targets, optimisers and counters.

    Args:
        learner: what to save.
        directory: parent of all checkpoints; created if absent.
        version: of the last published weights.
        bundle_id: the bundle it was trained with.

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
        }
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


def _tensors(learner: Learner) -> dict[str, Tensor]:
    parts = {"actor": learner.actor, "critics": learner.critics, "targets": learner.targets}
    tensors = {
        f"{name}.{key}": value.detach().contiguous().clone()
        for name, module in parts.items()
        for key, value in module.state_dict().items()
    }
    for name, optimiser in learner.optimisers.items():
        for index, state in optimiser.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"{name}_optimiser.{index}.{key}"] = value.detach().contiguous().clone()
    return tensors
