"""`rlt collect` and `rlt adapt`: demonstrations, the small VLA, the RL token, the bundle."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
import yaml
from rich.progress import Progress, TaskID

from rlt_ros import __version__
from rlt_ros.bringup.graph import DEFAULT_BUNDLE, Bringup
from rlt_ros.cli.options import (
    BundlePath,
    Clearance,
    Json,
    Randomisation,
    Seed,
    Setting,
    Task,
    progress_bars,
)
from rlt_ros.config import ConfigError
from rlt_ros.vla.config import HORIZON, AdaptConfig

if TYPE_CHECKING:
    from rlt_ros.types import Episode
    from rlt_ros.vla.adapt import Stage1
    from rlt_ros.vla.dataset import Recipe
    from rlt_ros.vla.demos import Demonstrations

_PHASE_STRIDE = 2
"""Ticks between the observations of the phase head: as many as the VLA passes in the running cell."""


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
    bundle: BundlePath = None,
    as_json: Json = False,
) -> None:
    """Record demonstrations as a LeRobot v3 dataset: by the cell's scripted expert, or from a running graph.

    With --live the episodes that people fly by `intervention` are recorded; an episode is written when the next one
    starts, so that its label can still be changed.
    """
    from rlt_ros.vla.dataset import DatasetWriter

    counters: Mapping[str, int] = {}
    if live:
        recipe, source, counters = _live(task, instruction, human_share, namespace, bundle, config)
    else:
        recipe, source = _expert(task, setting, episodes or 50, clearance, randomisation, seed)
    lengths: list[int] = []
    with progress_bars() as progress, DatasetWriter(out, recipe) as writer:
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
    task: str, instruction: str, human_share: float, namespace: str, bundle: Path | None, config: Path | None
) -> tuple[Recipe, Iterator[Episode], Mapping[str, int]]:
    from rlt_ros.cli.collect_live import record
    from rlt_ros.vla.bundle import load_bundle
    from rlt_ros.vla.config import VlaParameters
    from rlt_ros.vla.dataset import Recipe
    from rlt_ros.vla.live import LiveEpisodes

    bringup = Bringup(target="robot" if config else "sim", task=task, bundle=bundle, config=config, namespace=namespace)
    loaded = load_bundle(bringup.bundle_path)
    recipe = Recipe(loaded.robot, loaded.joints, loaded.cameras, loaded.image_size, loaded.period)
    skew = float(bringup.parameters("vla_node").get("max_camera_skew", VlaParameters.max_camera_skew))
    streams = LiveEpisodes(recipe, task, instruction or loaded.instruction(task), human_share, skew)
    print("recording; Ctrl-C ends it", file=sys.stderr)
    return recipe, record(recipe, streams, namespace, bringup.remappings()), streams.counters


def _expert(
    task: str, setting: str, episodes: int, clearance: float | None, randomisation: float, seed: int
) -> tuple[Recipe, Iterator[Episode]]:
    from rlt_ros.sim.cell import CONTROL_PERIOD, Cell
    from rlt_ros.sim.demonstrate import collect as demonstrate
    from rlt_ros.sim.demonstrate import demonstration_seed
    from rlt_ros.sim.names import CAMERA_NAMES, JOINT_NAMES, SIMULATED_ROBOT
    from rlt_ros.sim.tasks import get_task
    from rlt_ros.vla.dataset import Recipe

    cell = Cell(get_task(task, clearance=clearance, setting=setting), randomisation=randomisation)
    recipe = Recipe(SIMULATED_ROBOT, JOINT_NAMES, CAMERA_NAMES, cell.image_size, CONTROL_PERIOD)
    return recipe, demonstrate(cell, episodes=episodes, stride=1, seed=demonstration_seed(seed, task, setting))


def adapt(
    what: Annotated[
        str,
        typer.Argument(
            help="'train'; 'export': make a bundle of an interrupted training as it is; 'phase': train the phase head "
            "of a finished bundle, which says where the hard part begins."
        ),
    ] = "train",
    out: Annotated[Path | None, typer.Option(help="Directory of the new bundle.")] = None,
    bundle: BundlePath = None,
    data: Annotated[
        list[Path] | None, typer.Option(help="LeRobot v3 dataset, may be repeated; default: the scripted expert.")
    ] = None,
    tasks: Annotated[
        list[str] | None, typer.Option("--task", help="Task for the expert, may be repeated; default: all.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=2, help="Demonstrations a task in the controlled setting.")] = 600,
    full_episodes: Annotated[int, typer.Option(min=0, help="The same in the full setting.")] = 90,
    steps: Annotated[int, typer.Option(min=1, help="Gradient steps of VLA and token.")] = AdaptConfig.steps,
    token_steps: Annotated[int, typer.Option(min=0, help="Further steps of the token.")] = AdaptConfig.token_steps,
    alpha: Annotated[float, typer.Option(min=0, help="Weight of the VLA's loss against the token's.")] = 1.0,
    randomisation: Randomisation = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of demonstrations, weights and batches.")] = 0,
    name: Annotated[str, typer.Option(help="Name of the bundle.")] = DEFAULT_BUNDLE,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training that was interrupted.")] = False,
    device: Annotated[str, typer.Option(help="Device of torch, for example cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = os.cpu_count() or 1,
    as_json: Json = False,
) -> None:
    """Stage 1: train the small VLA and the RL token on demonstrations, prove the token, export a bundle.

    'rlt adapt phase' learns from the operators' begin-critical marks in --data (`rlt collect --live`), by default from
    the scripted expert's.
    """
    if what not in ("train", "export", "phase"):
        raise ConfigError(f"adapt does 'train', 'export' or 'phase', not '{what}'")
    if what == "phase":
        _adapt_phase(bundle, data, tasks, full_episodes, seed, randomisation, as_json)
        return
    if out is None:
        raise ConfigError("say by --out where the new bundle is to be made")
    if bundle is not None:
        raise ConfigError("--bundle is for 'rlt adapt phase'; a new bundle is made in --out")
    resume = resume or what == "export"
    saved = _saved_training(out, resume=resume)
    if data and (tasks or randomisation):
        raise ConfigError("--task and --randomisation choose what the expert demonstrates; leave them out with --data")
    import onnxscript  # noqa: F401  (the export at the end needs it)
    import torch

    from rlt_ros.vla.adapt import Stage1
    from rlt_ros.vla.export import export, summarise

    if device != "cpu" and not torch.cuda.is_available():
        raise ConfigError(f"device '{device}' asked for, but this torch finds no CUDA; leave out --device")
    _check_datasets(data or [])
    out.mkdir(parents=True, exist_ok=True)  # found out before, not after, an hour of training
    torch.set_num_threads(threads)
    config = AdaptConfig(steps=steps, token_steps=token_steps, alpha=alpha, seed=seed)
    with progress_bars() as progress:
        bar = progress.add_task("demonstrations", total=None, figures="")
        if data:
            demos, recipe = _read_datasets(data)
        else:
            demos, recipe = _demonstrate(tasks, episodes, full_episodes, seed, randomisation, progress, bar)
        stage = Stage1(demos, config, device=device)
        if resume:
            stage.restore(saved)
        if what == "train":
            _train(stage, saved, progress)
    made = export(
        stage,
        out,
        summarise(stage),
        name=name,
        version=__version__,
        robot=recipe.robot,
        cameras=recipe.cameras,
        joints=recipe.joints,
        period=recipe.period,
    )
    saved.unlink(missing_ok=True)
    report = {"bundle": str(out), "id": made.id, **made.training}
    print(json.dumps(report) if as_json else yaml.safe_dump(report, sort_keys=False))


def _saved_training(out: Path, *, resume: bool) -> Path:
    """Where a training is kept until its bundle is made.

    Raises:
        ConfigError: there is one already, or none to resume, or the bundle is there.
    """
    if (out / "bundle.yaml").exists():
        raise ConfigError(f"{out} already holds a bundle; choose another directory or remove it")
    saved = out / "training.safetensors"
    if saved.exists() and not resume:
        raise ConfigError(f"{out} holds an interrupted training; go on with --resume, or remove it")
    if resume and not saved.exists():
        raise ConfigError(f"{out} holds no interrupted training to resume")
    return saved


def _train(stage: Stage1, saved: Path, progress: Progress) -> None:
    total = stage.config.total
    bar = progress.add_task("training", total=total, figures="")
    while stage.step < total:
        stage.train_step()
        if stage.step % 10 == 0:
            figures = "  ".join(f"{name} {value:.4f}" for name, value in stage.running.items())
            progress.update(bar, completed=stage.step, figures=figures)
        if stage.step % 500 == 0:
            stage.save(saved)
            progress.console.print(f"step {stage.step}: {figures}  held out {stage.validate():.4f}", highlight=False)


def _adapt_phase(
    path: Path | None,
    data: list[Path] | None,
    tasks: list[str] | None,
    episodes: int,
    seed: int,
    randomisation: float,
    as_json: bool,
) -> None:
    from rlt_ros.vla.backend import OnnxBackend
    from rlt_ros.vla.bundle import load_bundle
    from rlt_ros.vla.phase import mark, save_phase_head, train_phase_head

    bundle = load_bundle(Bringup(bundle=path).bundle_path)
    backend = OnnxBackend(bundle)
    source: Iterator[Episode]
    if data:
        from rlt_ros.vla.dataset import read_episodes, read_recipe

        _check_datasets(data)
        bundle.check_fits(read_recipe(data[0]).joints, read_recipe(data[0]).cameras)
        source, total = itertools.chain.from_iterable(read_episodes(p, stride=_PHASE_STRIDE) for p in data), None
    else:
        from rlt_ros.sim.demonstrate import Order, collect_parallel, demonstration_seed
        from rlt_ros.sim.tasks import TASKS

        # Others than those that stage 1 learns from.
        orders = [
            Order(task, "full", episodes, _PHASE_STRIDE, demonstration_seed(seed + 25, task, "full"), randomisation)
            for task in tasks or sorted(TASKS)
        ]
        source, total = collect_parallel(orders), episodes * len(orders)
    marks = []
    with progress_bars() as progress:
        bar = progress.add_task("episodes", total=total, figures="")
        for episode in source:
            backend.set_instruction(episode.instruction)
            marks.append(mark(episode, lambda images, position: backend.infer(images, position).token, bundle.period))
            progress.advance(bar)
    head = train_phase_head(marks, seed=seed)
    report = {"phase_head": str(save_phase_head(bundle, head)), "bundle": bundle.id, **head.report}
    print(json.dumps(report) if as_json else yaml.safe_dump(report, sort_keys=False), end="\n" if as_json else "")


def _check_datasets(paths: list[Path]) -> None:
    from rlt_ros.vla.dataset import read_recipe

    recipes = [read_recipe(path) for path in paths]
    for path, recipe in zip(paths, recipes, strict=True):
        if recipe != recipes[0]:
            raise ConfigError(f"{path} is {recipe}, but {paths[0]} is {recipes[0]}; they cannot be mixed")


def _read_datasets(paths: list[Path]) -> tuple[Demonstrations, Recipe]:
    from rlt_ros.vla.dataset import read_episodes, read_recipe
    from rlt_ros.vla.demos import prepare

    episodes = itertools.chain.from_iterable(read_episodes(path, stride=4) for path in paths)
    return prepare(episodes, HORIZON), read_recipe(paths[0])


def _demonstrate(
    tasks: list[str] | None,
    episodes: int,
    full_episodes: int,
    seed: int,
    randomisation: float,
    progress: Progress,
    bar: TaskID,
) -> tuple[Demonstrations, Recipe]:
    from rlt_ros.sim.cell import CONTROL_PERIOD
    from rlt_ros.sim.demonstrate import Order, collect_parallel, demonstration_seed
    from rlt_ros.sim.names import CAMERA_NAMES, JOINT_NAMES, SIMULATED_ROBOT
    from rlt_ros.sim.tasks import TASKS
    from rlt_ros.vla.dataset import Recipe
    from rlt_ros.vla.demos import prepare

    orders = []
    for task in tasks or sorted(TASKS):
        for setting, count, stride in (("controlled", episodes, 5), ("full", full_episodes, 6)):
            orders.append(Order(task, setting, count, stride, demonstration_seed(seed, task, setting), randomisation))
    progress.update(bar, total=sum(order.episodes for order in orders))
    demos = prepare(
        (progress.advance(bar) or episode for episode in collect_parallel(orders)),  # type: ignore[func-returns-value]
        HORIZON,
    )
    return demos, Recipe(SIMULATED_ROBOT, JOINT_NAMES, CAMERA_NAMES, demos.images.shape[2], CONTROL_PERIOD)
