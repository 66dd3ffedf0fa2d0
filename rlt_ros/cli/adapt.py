"""`rlt adapt`: stage 1, from demonstrations to a bundle with its RL token; and bundles of other people's VLAs."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress, TaskID
from typer.core import TyperGroup

from rlt_ros import __version__
from rlt_ros.bringup.graph import DEFAULT_BUNDLE, Bringup
from rlt_ros.cli import imports
from rlt_ros.cli.lerobot import needs_lerobot
from rlt_ros.cli.options import (
    BundlePath,
    Json,
    NewBundle,
    Randomisation,
    check_datasets,
    check_free,
    progress_bars,
    report,
)
from rlt_ros.cli.pose import pose
from rlt_ros.cli.resnet import resnet
from rlt_ros.config import ConfigError
from rlt_ros.vla.config import HORIZON, AdaptConfig, VlaParameters

if TYPE_CHECKING:
    from rlt_ros.types import Episode
    from rlt_ros.vla.adapt import Stage1
    from rlt_ros.vla.dataset import Contents

_PHASE_STRIDE = 6
"""Ticks between the observations of the phase head: every third pass of the running cell, neighbours hardly differ."""
_NO_PICTURES = 1_000_000
"""Ticks between two pictures where only the motion is looked at: the first one is taken, which costs nothing."""
Data = Annotated[
    list[Path] | None, typer.Option(help="LeRobot v3 dataset, may be repeated; default: the scripted expert.")
]
Tasks = Annotated[list[str] | None, typer.Option("--task", help="Task for the expert, may be repeated; default: all.")]
NetworkSeed = Annotated[int, typer.Option(min=0, help="Of demonstrations, weights and batches.")]
Looks = Annotated[
    float | None,
    typer.Option("--randomisation", min=0, max=1, help="How other half of the expert's demonstrations look; 0.5."),
]
Device = Annotated[str, typer.Option(help="Device of torch, for example cuda.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of torch.")]


class _TrainUnlessTold(TyperGroup):
    """`rlt adapt --out DIR` is `rlt adapt train --out DIR`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["train", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_TrainUnlessTold,
    help="Stage 1: adapt a VLA and train its RL token. Without a word 'train'.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(imports.app, name="import")
app.command()(pose)
app.command()(resnet)


@app.command()
def train(
    out: NewBundle,
    data: Data = None,
    tasks: Tasks = None,
    episodes: Annotated[int, typer.Option(min=2, help="Demonstrations a task in the controlled setting.")] = 450,
    full_episodes: Annotated[int, typer.Option(min=0, help="The same in the full setting.")] = 200,
    eyes: Annotated[int, typer.Option(min=0, help="Gradient steps of the eyes, before all others.")] = AdaptConfig.eyes,
    steps: Annotated[int, typer.Option(min=1, help="Gradient steps of VLA and token.")] = AdaptConfig.steps,
    token_steps: Annotated[int, typer.Option(min=0, help="Further steps of the token.")] = AdaptConfig.token_steps,
    alpha: Annotated[float, typer.Option(min=0, help="Weight of the VLA's loss against the token's.")] = 1.0,
    randomisation: Looks = None,
    seed: NetworkSeed = 0,
    name: Annotated[str, typer.Option(help="Name of the bundle.")] = DEFAULT_BUNDLE,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training that was interrupted.")] = False,
    device: Device = "cpu",
    threads: Threads = os.cpu_count() or 1,
    as_json: Json = False,
) -> None:
    """Train the small VLA and the RL token on demonstrations, prove the token, export a bundle."""
    config = AdaptConfig(eyes=eyes, steps=steps, token_steps=token_steps, alpha=alpha, seed=seed)
    expert = (tasks, episodes, full_episodes, seed, randomisation)
    _stage1(out, data, expert, config, name, device, threads, resume, to_train=True, as_json=as_json)


@app.command()
def export(
    out: NewBundle,
    data: Data = None,
    tasks: Tasks = None,
    episodes: Annotated[int, typer.Option(min=2, help="As the training had.")] = 450,
    full_episodes: Annotated[int, typer.Option(min=0, help="As the training had.")] = 200,
    eyes: Annotated[int, typer.Option(min=0, help="As the training had.")] = AdaptConfig.eyes,
    steps: Annotated[int, typer.Option(min=1, help="As the training had.")] = AdaptConfig.steps,
    token_steps: Annotated[int, typer.Option(min=0, help="As the training had.")] = AdaptConfig.token_steps,
    alpha: Annotated[float, typer.Option(min=0, help="As the training had.")] = 1.0,
    randomisation: Looks = None,
    seed: NetworkSeed = 0,
    name: Annotated[str, typer.Option(help="Name of the bundle.")] = DEFAULT_BUNDLE,
    device: Device = "cpu",
    threads: Threads = os.cpu_count() or 1,
    as_json: Json = False,
) -> None:
    """Make a bundle of an interrupted training as it is; give it the options that the training had."""
    config = AdaptConfig(eyes=eyes, steps=steps, token_steps=token_steps, alpha=alpha, seed=seed)
    expert = (tasks, episodes, full_episodes, seed, randomisation)
    _stage1(out, data, expert, config, name, device, threads, resume=True, to_train=False, as_json=as_json)


@app.command()
def phase(
    bundle: BundlePath = None,
    data: Data = None,
    tasks: Tasks = None,
    full_episodes: Annotated[int, typer.Option(min=0, help="Demonstrations a task in the full setting.")] = 60,
    randomisation: Randomisation = 0.0,
    seed: NetworkSeed = 0,
    as_json: Json = False,
) -> None:
    """Train the phase head of a finished bundle, which says where the hard part begins.

    It learns from the operators' begin-critical marks in --data (`rlt collect --live`), by default from the scripted
    expert's.
    """
    _adapt_phase(bundle, data, tasks, full_episodes, seed, randomisation, as_json)


@app.command()
def motion(
    bundle: BundlePath = None,
    data: Data = None,
    tasks: Tasks = None,
    episodes: Annotated[int, typer.Option(min=2, help="Demonstrations a task in the controlled setting.")] = 450,
    full_episodes: Annotated[int, typer.Option(min=0, help="The same in the full setting.")] = 200,
    seed: NetworkSeed = 0,
    as_json: Json = False,
) -> None:
    """Measure how demonstrations move, for a finished bundle that was made without: units for what RL may change.

    The new and the imported VLAs of `rlt adapt` and `rlt adapt token` have it already.
    """
    from rlt_ros.vla.bundle import load_bundle
    from rlt_ros.vla.demos import prepare
    from rlt_ros.vla.motion import motion_of, save_motion, without_pictures

    loaded = load_bundle(Bringup(bundle=bundle).bundle_path)
    check_datasets(data or [])
    with progress_bars() as progress:
        bar = progress.add_task("demonstrations", total=None, figures="")
        known = tasks or sorted(loaded.tasks)
        source, contents = (
            _datasets(data, _NO_PICTURES)
            if data
            else _expert(known, episodes, full_episodes, seed, 0.0, progress, bar, _NO_PICTURES)
        )
        loaded.check_fits(contents.joints, contents.cameras)
        demos = prepare((without_pictures(episode, 5) for episode in source), HORIZON)
    made = motion_of(demos, loaded.normaliser)
    path = save_motion(made, loaded.directory)
    report({"motion": str(path), "bundle": loaded.id, "tasks": made.summary(loaded.period)}, as_json)


@app.command()
def token(
    bundle: Annotated[Path, typer.Option(help="VLA bundle, for example of 'rlt adapt import'.")],
    data: Annotated[list[Path], typer.Option(help="LeRobot v3 dataset, may be repeated.")],
    cache: Annotated[
        Path | None, typer.Option(help="Where embeddings are kept until the token is trained; default: in the bundle.")
    ] = None,
    stride: Annotated[int, typer.Option(min=1, help="Frames between two observations.")] = 4,
    steps: Annotated[int, typer.Option(min=1, help="Gradient steps.")] = 2000,
    batch: Annotated[int, typer.Option(min=1, help="Observations a step.")] = 64,
    token_dim: Annotated[int, typer.Option(min=1, help="Numbers of the token.")] = 128,
    learning_rate: Annotated[float, typer.Option(min=0, help="Peak of the schedule.")] = 3e-4,
    seed: NetworkSeed = 0,
    device: Device = "cpu",
    threads: Threads = os.cpu_count() or 1,
    again: Annotated[bool, typer.Option("--again", help="Replace the token that the bundle has.")] = False,
    as_json: Json = False,
) -> None:
    """Train the RL token of a frozen VLA on embeddings of demonstrations, prove it, put its encoder into the bundle.

    Embeddings are computed once; an interrupted command goes on where it was. Actors that were trained with another
    token of the bundle do not fly with the new one.
    """
    import onnxscript  # noqa: F401  (the export at the end needs it)
    import torch

    from rlt_ros.vla.bundle import load_bundle
    from rlt_ros.vla.dataset import read_contents, read_episodes
    from rlt_ros.vla.frozen import FrozenStage, TokenConfig, embed, save_encoder
    from rlt_ros.vla.loaded import LoadedVla
    from rlt_ros.vla.probe import probe

    check_device(device)
    check_datasets(data)
    torch.set_num_threads(threads)
    loaded = load_bundle(bundle)
    if loaded.backend == "lerobot":
        needs_lerobot()
    if loaded.token_dim and not again:
        raise ConfigError(
            f"{bundle} has a token already; --again replaces it, and the actors that know it are useless then"
        )
    contents = read_contents(data[0])
    loaded.check_fits(contents.joints, contents.cameras)
    config = TokenConfig(steps, batch, learning_rate, token_dim=token_dim, seed=seed)
    # The VLA without its token: one of old must not stand in the way.
    vla = LoadedVla(dataclasses.replace(loaded, token_dim=0, encoder=None), VlaParameters.providers, threads)
    kept = (cache or bundle / "embeddings") / _key(loaded.vla, data, stride)
    with progress_bars() as progress:
        bar = progress.add_task("embeddings", total=None, figures=vla.provider)
        source = itertools.chain.from_iterable(read_episodes(path, stride, loaded.cameras) for path in data)
        demos, files = embed(vla, source, kept, lambda count: progress.advance(bar, count))
        stage = FrozenStage(demos, files, config, device)
        bar = progress.add_task("token", total=steps, figures="")
        while stage.step < steps:
            stage.train_step()
            progress.update(bar, completed=stage.step, figures=f"{stage.loss:.4f}")
    figures = {"episodes": len(demos.ticks), "observations": len(demos.episode), "loss_token": stage.loss}
    made = save_encoder(stage, loaded, {**figures, **probe(stage)})
    if cache is None:
        shutil.rmtree(bundle / "embeddings")
    report({"bundle": str(bundle), "id": made.id, **made.training}, as_json)


def _key(vla: str, data: list[Path], stride: int) -> str:
    """A name for the embeddings of a VLA on some datasets, as they are now."""
    digest = hashlib.sha256(f"{vla} {stride}".encode())
    for path in data:
        digest.update(str(path.resolve()).encode())
        for file in sorted((path / "meta").rglob("*.parquet")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _stage1(
    out: Path,
    data: list[Path] | None,
    expert: tuple[list[str] | None, int, int, int, float | None],
    config: AdaptConfig,
    name: str,
    device: str,
    threads: int,
    resume: bool,
    *,
    to_train: bool,
    as_json: bool,
) -> None:
    saved, kept = _saved_training(out, resume=resume, to_train=to_train)
    if data and (expert[0] or expert[-1] is not None):
        raise ConfigError("--task and --randomisation choose what the expert demonstrates; leave them out with --data")
    import onnxscript  # noqa: F401  (the export at the end needs it)
    import torch

    from rlt_ros.vla.adapt import Stage1
    from rlt_ros.vla.demos import load_demonstrations, prepare
    from rlt_ros.vla.export import export, summarise

    check_device(device)
    check_datasets(data or [])
    out.mkdir(parents=True, exist_ok=True)  # found out before, not after, an hour of training
    torch.set_num_threads(threads)
    with progress_bars() as progress:
        bar = progress.add_task("demonstrations", total=None, figures="")
        source, contents = _datasets(data) if data else _expert(*expert, progress, bar)
        demos = (load_demonstrations(kept) if resume else None) or prepare(source, HORIZON, kept)
        stage = Stage1(demos, config, device=device)
        if saved.exists():
            stage.restore(saved)
        if to_train:
            _train(stage, saved, progress)
    made = export(
        stage,
        out,
        summarise(stage),
        name=name,
        version=__version__,
        robot=contents.robot,
        cameras=contents.cameras,
        joints=contents.joints,
        period=contents.period,
    )
    saved.unlink(missing_ok=True)
    shutil.rmtree(kept)
    report({"bundle": str(out), "id": made.id, **made.training}, as_json)


def check_device(device: str) -> None:
    """Refuse a device that torch does not find.

    Raises:
        ConfigError: there is no CUDA.
    """
    import torch

    if device != "cpu" and not torch.cuda.is_available():
        raise ConfigError(f"device '{device}' asked for, but this torch finds no CUDA; leave out --device")


def _saved_training(out: Path, *, resume: bool, to_train: bool) -> tuple[Path, Path]:
    """Where a training and its demonstrations are kept until the bundle is made.

    Raises:
        ConfigError: there is one already, or none to resume, or the bundle is there.
    """
    check_free(out)
    saved, kept = out / "training.safetensors", out / "demonstrations"
    if saved.exists() and not resume:
        raise ConfigError(f"{out} holds an interrupted training; go on with --resume, or remove it")
    if resume and not (saved.exists() or (to_train and kept.exists())):
        raise ConfigError(f"{out} holds no interrupted training to resume")
    return saved, kept


def _train(stage: Stage1, saved: Path, progress: Progress) -> None:
    total = stage.config.total
    bar = progress.add_task("training", total=total, figures="")
    while stage.step < total:
        stage.train_step()
        if stage.step % 10 == 0:
            figures = _told(stage.running)
            progress.update(bar, completed=stage.step, figures=figures)
        if stage.step % 500 == 0:
            stage.save(saved)
            progress.console.print(f"step {stage.step}: {figures}; held out {_told(stage.validate())}", highlight=False)


def _told(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in figures.items())


def _adapt_phase(
    path: Path | None,
    data: list[Path] | None,
    tasks: list[str] | None,
    episodes: int,
    seed: int,
    randomisation: float,
    as_json: bool,
) -> None:
    from rlt_ros.vla.bundle import load_bundle
    from rlt_ros.vla.loaded import LoadedVla
    from rlt_ros.vla.phase import mark, save_phase_head, train_phase_head

    bundle = load_bundle(Bringup(bundle=path).bundle_path)
    backend = LoadedVla(bundle)
    source: Iterator[Episode]
    if data:
        from rlt_ros.vla.dataset import read_contents, read_episodes

        check_datasets(data)
        bundle.check_fits(read_contents(data[0]).joints, read_contents(data[0]).cameras)
        source, total = itertools.chain.from_iterable(read_episodes(p, stride=_PHASE_STRIDE) for p in data), None
    else:
        from rlt_ros.sim.demonstrate import Order, collect_parallel, demonstration_seed
        from rlt_ros.sim.expert import CLUMSY
        from rlt_ros.sim.tasks import TASKS

        # Others than those that stage 1 learns from, and such in which the grasp failed.
        orders = [
            Order(
                task,
                "full",
                episodes if expert is None else episodes // 2,
                _PHASE_STRIDE,
                demonstration_seed(seed + other, task, "full"),
                randomisation,
                expert=expert,
            )
            for task in tasks or sorted(TASKS)
            for other, expert in ((25, None), (26, CLUMSY))
        ]
        source, total = collect_parallel(orders), sum(order.episodes for order in orders)
    marks = []
    with progress_bars() as progress:
        bar = progress.add_task("episodes", total=total, figures="")
        for episode in source:
            backend.set_instruction(episode.instruction)
            marks.append(mark(episode, lambda images, position: backend.infer(images, position).token, bundle.period))
            progress.advance(bar)
    head = train_phase_head(marks, seed=seed)
    report({"phase_head": str(save_phase_head(bundle, head)), "bundle": bundle.id, **head.report}, as_json)


def _datasets(paths: list[Path], stride: int = 4) -> tuple[Iterator[Episode], Contents]:
    from rlt_ros.vla.dataset import read_contents, read_episodes

    return itertools.chain.from_iterable(read_episodes(path, stride) for path in paths), read_contents(paths[0])


def _expert(
    tasks: list[str] | None,
    episodes: int,
    full_episodes: int,
    seed: int,
    randomisation: float | None,
    progress: Progress,
    bar: TaskID,
    stride: int = 0,
) -> tuple[Iterator[Episode], Contents]:
    """The expert's demonstrations, and of what robot they are; pictures every `stride` ticks, 0: as stage 1 wants."""
    from rlt_ros.sim.cell import CONTROL_PERIOD, IMAGE_SIZE
    from rlt_ros.sim.demonstrate import Order, collect_parallel, demonstration_seed
    from rlt_ros.sim.names import CAMERA_NAMES, JOINT_NAMES, SIMULATED_ROBOT
    from rlt_ros.sim.tasks import TASKS
    from rlt_ros.vla.dataset import Contents

    looks = 0.5 if randomisation is None else randomisation
    orders = []
    for task in tasks or sorted(TASKS):
        for setting, count, every in (("controlled", episodes, 8), ("full", full_episodes, 10)):
            first, plain = demonstration_seed(seed, task, setting), count - count // 2
            orders.append(Order(task, setting, plain, stride or every, first))
            orders.append(Order(task, setting, count - plain, stride or every, first + plain, looks))

    def source() -> Iterator[Episode]:
        progress.update(bar, total=sum(order.episodes for order in orders))
        for episode in collect_parallel(orders):
            progress.advance(bar)
            yield episode

    return source(), Contents(SIMULATED_ROBOT, JOINT_NAMES, CAMERA_NAMES, IMAGE_SIZE, CONTROL_PERIOD)
