"""A finished training of stage 1 as a bundle."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rlt_ros.vla.adapt import Stage1
from rlt_ros.vla.bundle import MODEL_FILE, Bundle, file_sha256
from rlt_ros.vla.instruction import encode_instruction
from rlt_ros.vla.motion import motion_of, save_motion
from rlt_ros.vla.probe import probe
from rlt_ros.vla.small import ServedVLA


def summarise(stage: Stage1) -> dict[str, Any]:
    """How training went: losses, the expert's figures and the token's probe, for the bundle."""
    demos = stage.demos
    done = demos.ticks[demos.ticks > 0]
    return {
        "config": asdict(stage.config),
        "episodes": len(demos.ticks),
        "expert_success": float((demos.ticks > 0).mean()),
        "expert_median_ticks": float(np.median(done)),
        "observations": len(demos.episode),
        "loss_train": dict(stage.running),
        "loss_held_out": stage.held_out_loss(),
        **probe(stage),
    }


def export(stage: Stage1, directory: Path, summary: dict[str, Any], **description: Any) -> Bundle:
    """Write the bundle: one ONNX file in physical units, its description, and how the demonstrations move.

    Args:
        stage: the trained networks.
        directory: created if absent.
        summary: from `summarise`.
        description: the fields of `Bundle` that training does not know: name, version, robot, cameras, joints,
            period.
    """
    directory.mkdir(parents=True, exist_ok=True)
    model, joints = stage.model, stage.model.joints
    served = ServedVLA(
        stage.vla.cpu(),
        stage.token.encoder.cpu(),
        torch.from_numpy(stage.normaliser.proprio_mean[:joints].copy()),
        torch.from_numpy(stage.normaliser.proprio_std[:joints].copy()),
        torch.from_numpy(stage.normaliser.action_std.copy()),
    ).eval()
    example = (
        torch.zeros(model.cameras, model.image_size, model.image_size, 3, dtype=torch.uint8),
        torch.zeros(joints),
        torch.from_numpy(encode_instruction(next(iter(stage.demos.tasks.values())))),
    )
    path = directory / MODEL_FILE
    torch.onnx.export(
        served,
        example,
        path,
        input_names=["images", "position", "instruction"],
        output_names=["token", "reference"],
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    strip(path)
    bundle = Bundle(
        directory=directory,
        image_size=model.image_size,
        horizon=model.horizon,
        token_dim=model.token_dim,
        normaliser=stage.normaliser,
        sha256=file_sha256(path),
        training=summary,
        tasks=stage.demos.tasks,
        **description,
    )
    bundle.save()
    save_motion(motion_of(stage.demos), directory)
    return bundle


def strip(path: Path) -> None:
    """Drop what the exporter notes down for debugging: source lines and paths of this machine."""
    import onnx  # only exporting needs it

    model = onnx.load(path)
    for item in (
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
        model.graph,
        model,
    ):
        del item.metadata_props[:]
        item.doc_string = ""
    for function in model.functions:
        for node in function.node:
            del node.metadata_props[:]
            node.doc_string = ""
    onnx.save(model, path)
