"""`rlt adapt resnet`: what stands in the token's place in `rlt train --without token`."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated

import typer

from rlt_ros.bringup.graph import Bringup
from rlt_ros.cli.options import BundlePath, Json, check_datasets, progress_bars, report
from rlt_ros.vla.bundle import load_bundle
from rlt_ros.vla.config import HORIZON


def resnet(
    data: Annotated[list[Path], typer.Option(help="LeRobot v3 dataset, may be repeated; 'rlt collect' makes one.")],
    bundle: BundlePath = None,
    steps: Annotated[int, typer.Option(min=1, help="Gradient steps.")] = 3000,
    batch: Annotated[int, typer.Option(min=1, help="Moments a step.")] = 16,
    stride: Annotated[int, typer.Option(min=1, help="Frames between two moments.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Of the batches.")] = 0,
    as_json: Json = False,
) -> None:
    """Pre-train the ResNet that reads the pictures in the token's place (rlt train --without token), for a bundle.

    It learns to tell the joints' positions from the robot's own pictures: without, its weights are random.
    """
    import torch

    from rlt_ros.vla.dataset import read_contents, read_episodes
    from rlt_ros.vla.demos import prepare
    from rlt_ros.vla.resnet import pretrain, save_resnet

    loaded = load_bundle(Bringup(bundle=bundle).bundle_path)
    check_datasets(data)
    contents = read_contents(data[0])
    loaded.check_fits(contents.joints, contents.cameras)
    torch.set_num_threads(1)
    demos = prepare(itertools.chain.from_iterable(read_episodes(path, stride) for path in data), HORIZON)
    with progress_bars() as progress:
        bar = progress.add_task("steps", total=steps, figures="")
        network, missed = pretrain(
            demos,
            loaded.token_dim,
            steps=steps,
            batch=batch,
            seed=seed,
            progress=lambda done: progress.update(bar, completed=done),
        )
    report({"resnet": str(save_resnet(network, loaded)), "bundle": loaded.id, "variance_missed": missed}, as_json)
