"""`rlt collect`: demonstrations as a dataset."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
import yaml

from rlt_ros.bringup.graph import Bringup
from rlt_ros.cli.options import (
    BundlePath,
    Clearance,
    Json,
    Randomisation,
    RobotFile,
    Seed,
    Setting,
    Task,
    progress_bars,
)

if TYPE_CHECKING:
    from rlt_ros.types import Episode
    from rlt_ros.vla.dataset import Contents


def collect(
    out: Annotated[Path, typer.Option(help="Directory of the new dataset.")],
    task: Task = "ethernet",
    setting: Setting = "controlled",
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Episodes to record, successes and failures; default: 50, live: no end.")
    ] = None,
    clearance: Clearance = None,
    randomisation: Randomisation = 0.0,
    seed: Seed = 0,
    live: Annotated[bool, typer.Option("--live", help="Record a running graph, for example teleoperation.")] = False,
    namespace: Annotated[str, typer.Option(help="ROS namespace of the running graph (--live).")] = "/rlt",
    human_share: Annotated[
        float, typer.Option(min=0, max=1, help="Keep episodes in which a person flew this share of the ticks (--live).")
    ] = 0.5,
    instruction: Annotated[str, typer.Option(help="What the robot was told (--live); default: the bundle's.")] = "",
    config: Annotated[
        Path | None, typer.Option(help="The robot's parameter file (--live); default: the simulated cell.")
    ] = None,
    robot: RobotFile = None,
    bundle: BundlePath = None,
    video: Annotated[
        bool, typer.Option("--video", help="Pictures as video: a tenth of the size, and faster for LeRobot to read.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Record demonstrations as a LeRobot v3 dataset: by the cell's scripted expert, or from a running graph.

    With --live the episodes that people fly by `intervention` are recorded; an episode is written when the next one
    starts, so that its label can still be changed.
    """
    from rlt_ros.vla.dataset import DatasetWriter

    counters: Mapping[str, int] = {}
    if live:
        contents, source, counters = _live(task, instruction, human_share, namespace, bundle, config, robot)
    else:
        contents, source = _expert(task, setting, episodes or 50, clearance, randomisation, seed)
    lengths: list[int] = []
    with progress_bars() as progress, DatasetWriter(out, contents, video=video) as writer:
        bar = progress.add_task("demonstrations", total=episodes or (None if live else 50), figures="")
        for episode in itertools.islice(source, episodes):
            writer.add(episode)
            lengths.append(episode.ticks)
            done = [ticks for ticks in lengths if ticks]
            figures = f"{len(done)} successes" + (f", median {np.median(done):.0f} ticks" if done else "")
            progress.update(bar, completed=len(lengths), figures=figures)
    done = [ticks for ticks in lengths if ticks]
    report = {
        "dataset": str(out),
        "task": task,
        "episodes": len(lengths),
        "successes": len(done),
        "median_ticks": float(np.median(done)) if done else None,
        "frames": writer.frames,
        "skipped": dict(counters),
    }
    print(json.dumps(report) if as_json else yaml.safe_dump(report, sort_keys=False))


def _live(
    task: str,
    instruction: str,
    human_share: float,
    namespace: str,
    bundle: Path | None,
    config: Path | None,
    robot: Path | None,
) -> tuple[Contents, Iterator[Episode], Mapping[str, int]]:
    from rlt_ros.cli.collect_live import record
    from rlt_ros.config import from_mapping
    from rlt_ros.vla.bundle import load_bundle
    from rlt_ros.vla.config import VlaParameters
    from rlt_ros.vla.dataset import Contents
    from rlt_ros.vla.live import LiveEpisodes

    bringup = Bringup(
        target="robot" if config or robot else "sim",
        task=task,
        bundle=bundle,
        config=config,
        robot_file=robot,
        namespace=namespace,
    )
    loaded = load_bundle(bringup.bundle_path)
    contents = Contents(loaded.robot, loaded.joints, loaded.cameras, loaded.image_size, bringup.period)
    vla = from_mapping(VlaParameters, bringup.parameters("vla_node"), "vla_node")
    streams = LiveEpisodes(contents, task, instruction or loaded.instruction(task), human_share, vla.max_camera_skew)
    print("recording; Ctrl-C ends it", file=sys.stderr)
    return contents, record(contents, streams, namespace, bringup.remappings(), vla.crop_boxes), streams.counters


def _expert(
    task: str, setting: str, episodes: int, clearance: float | None, randomisation: float, seed: int
) -> tuple[Contents, Iterator[Episode]]:
    from rlt_ros.sim.cell import CONTROL_PERIOD, IMAGE_SIZE
    from rlt_ros.sim.demonstrate import Order, collect_parallel, demonstration_seed
    from rlt_ros.sim.names import CAMERA_NAMES, JOINT_NAMES, SIMULATED_ROBOT
    from rlt_ros.sim.tasks import get_task
    from rlt_ros.vla.dataset import Contents

    get_task(task, clearance=clearance, setting=setting)  # what is unknown fails here, with its own message
    contents = Contents(SIMULATED_ROBOT, JOINT_NAMES, CAMERA_NAMES, IMAGE_SIZE, CONTROL_PERIOD)
    first = demonstration_seed(seed, task, setting)
    order = Order(task, setting, episodes, 1, first, randomisation, clearance)
    return contents, collect_parallel([order])
