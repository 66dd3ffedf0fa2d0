"""The `rlt` command."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
import yaml
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from rlt_ros import __version__
from rlt_ros.bringup import DEFAULT_BUNDLE, TARGETS, Bringup, share_directory
from rlt_ros.config import ConfigError
from rlt_ros.vla.config import HORIZON, AdaptConfig

if TYPE_CHECKING:
    from rlt_ros.vla.dataset import Recipe
    from rlt_ros.vla.demos import Demonstrations

app = typer.Typer(
    help="Real-time robot control with a frozen VLA and reinforcement learning on the robot (RL Token), on ROS 2.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
Task = Annotated[str, typer.Option(help="Task of the simulated cell, or name of the work on a robot.")]
OptionalTask = Annotated[str | None, typer.Option(help="Task of the cell, or name of the work; default: the file's.")]
Setting = Annotated[str, typer.Option(help="Start: controlled (parts in hand) or full (parts on the table).")]
Clearance = Annotated[float | None, typer.Option(help="Free play a side in metres; default: the task's.")]
Randomisation = Annotated[float, typer.Option(min=0, max=1, help="How much light, colours and cameras change.")]
OptionalSeed = Annotated[int | None, typer.Option(min=0, help="Seed of starts, noise, learning; default: the file's.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of start positions, exploration and learning.")]
BundlePath = Annotated[Path | None, typer.Option("--bundle", help="VLA bundle; default: the shipped one.")]


@app.command()
def up(
    target: Annotated[str, typer.Argument(help=f"What to start: {' or '.join(TARGETS)}.")],
    task: OptionalTask = None,
    bundle: BundlePath = None,
    config: Annotated[Path | None, typer.Option(help="ROS parameter file; default: config/TARGET.yaml.")] = None,
    namespace: Annotated[str, typer.Option(help="ROS namespace of all nodes.")] = "/rlt",
    headless: Annotated[bool, typer.Option("--headless", help="Do not open the cell's window.")] = False,
    duration: Annotated[float, typer.Option(min=0, help="Seconds from the first episode; 0: until Ctrl-C.")] = 0.0,
    seed: OptionalSeed = None,
    runs: Annotated[Path, typer.Option(help="Where the run's directory is made.")] = Path("runs"),
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NODE.PARAMETER=VALUE", help="Override a parameter.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the graph as separate processes, and print a summary at the end."""
    _run_graph(target, task, bundle, config, namespace, headless, duration, seed, runs, settings, as_json)


@app.command()
def demo(
    duration: Annotated[float, typer.Option(min=0, help="Seconds from the first episode; 0: until Ctrl-C.")] = 180.0,
    task: Task = "ethernet",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Show the simulated robot at work: base VLA first, then an actor that learns from every episode."""
    end = f"It stops by itself after {duration:.0f} s; Ctrl-C stops it now." if duration else "Ctrl-C stops it."
    print(
        "A simulated two-armed robot pushes a plug into a socket, 50 commands a second. The first episodes are flown\n"
        "by the VLA's reference chunks; then the actor takes over, and its weights are renewed while the robot moves.\n"
        f"{end}\n",
        file=sys.stderr,
    )
    _run_graph("sim", task, None, None, "/rlt", False, duration, seed, Path("runs"), None, as_json)


def _run_graph(
    target: str,
    task: str | None,
    bundle: Path | None,
    config: Path | None,
    namespace: str,
    headless: bool,
    duration: float,
    seed: int | None,
    runs: Path,
    settings: list[str] | None,
    as_json: bool,
) -> None:
    from rlt_ros.doctor import display_works
    from rlt_ros.up import new_run_dir, print_summary, run_graph

    if target == "sim" and not headless and not display_works():
        headless = True
        print("no display: the cell's window stays closed", file=sys.stderr)
    if not re.fullmatch(r"(/[A-Za-z_][A-Za-z0-9_]*)+", namespace):
        raise ConfigError(f"namespace '{namespace}' must begin with '/' and hold letters, digits and '_' only")
    bringup = Bringup(
        target=target,
        task=task,
        bundle=bundle,
        config=config,
        namespace=namespace,
        headless=headless,
        seed=seed,
        settings=_parse_settings(settings or []),
    )
    bringup.nodes()  # finds what is wrong before a directory is made
    bringup = dataclasses.replace(bringup, run_dir=new_run_dir(runs, f"{target}-{bringup.task_name}"))
    summary, code = run_graph(bringup, duration=duration, argv=sys.argv[1:])
    print_summary(summary, as_json)
    raise typer.Exit(code)


def _parse_settings(settings: list[str]) -> dict[str, Any]:
    out = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator or "." not in key:
            raise ConfigError(f"--set {setting}: write node.parameter=value")
        try:
            out[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {setting}: the value is not valid YAML") from error
    return out


@app.command()
def doctor(
    what: Annotated[str, typer.Argument(help="'all', or 'bundle' for the probe of a bundle.")] = "all",
    bundle: BundlePath = None,
    as_json: Json = False,
) -> None:
    """Say what works on this machine, and what to do about the rest."""
    if what == "bundle":
        _doctor_bundle(bundle, as_json)
        return
    if what != "all":
        raise ConfigError(f"doctor looks at 'all' or 'bundle', not '{what}'")
    from rlt_ros.doctor import checks

    console = Console(highlight=False)
    found = []
    for check in checks(bundle):
        found.append(check)
        if not as_json:
            mark = "[green]ok[/]  " if check.ok else "[red]FAIL[/]" if check.required else "[yellow]no[/]  "
            console.print(f"{mark} {check.name:<20} {check.detail}", soft_wrap=True)
            if check.remedy:
                console.print(f"     {'':<20} -> {check.remedy}", style="dim", soft_wrap=True, markup=False)
    bad = [check for check in found if check.required and not check.ok]
    if as_json:
        print(json.dumps({"ok": not bad, "checks": [check.to_dict() for check in found]}))
    raise typer.Exit(1 if bad else 0)


def _doctor_bundle(path: Path | None, as_json: bool) -> None:
    from rlt_ros.vla.bundle import load_bundle

    bundle = load_bundle(Bringup(bundle=path).bundle_path)
    report = {
        "id": bundle.id,
        "robot": bundle.robot,
        "tasks": bundle.tasks,
        "cameras": list(bundle.cameras),
        "token_dim": bundle.token_dim,
        "horizon": bundle.horizon,
        "period": bundle.period,
        **{key: bundle.training[key] for key in ("token_probe", "loss_held_out") if key in bundle.training},
    }
    print(json.dumps(report) if as_json else yaml.safe_dump(report, sort_keys=False), end="\n" if as_json else "")


@app.command()
def collect(
    out: Annotated[Path, typer.Option(help="Directory of the new dataset.")],
    task: Task = "ethernet",
    setting: Setting = "controlled",
    episodes: Annotated[int, typer.Option(min=1, help="Episodes to record, successes and failures.")] = 50,
    clearance: Clearance = None,
    randomisation: Randomisation = 0.0,
    seed: Seed = 0,
    live: Annotated[bool, typer.Option("--live", help="Record a running graph, for example teleoperation.")] = False,
    namespace: Annotated[str, typer.Option(help="ROS namespace of the running graph (--live).")] = "/rlt",
    bundle: BundlePath = None,
    as_json: Json = False,
) -> None:
    """Record demonstrations as a LeRobot v3 dataset: by the cell's scripted expert, or from a running graph."""
    from rlt_ros.vla.dataset import DatasetWriter, Recipe

    if live:
        from rlt_ros.nodes.collect import record

        recipe, source = record(Bringup(bundle=bundle).bundle_path, namespace, task)
    else:
        from rlt_ros.sim.cell import CONTROL_PERIOD, Cell
        from rlt_ros.sim.names import CAMERA_NAMES, JOINT_NAMES
        from rlt_ros.sim.tasks import get_task
        from rlt_ros.vla.demos import collect as demonstrate
        from rlt_ros.vla.demos import demonstration_seed

        cell = Cell(get_task(task, clearance=clearance, setting=setting), randomisation=randomisation)
        recipe = Recipe("sim_aloha", JOINT_NAMES, CAMERA_NAMES, cell.image_size, CONTROL_PERIOD)
        source = demonstrate(cell, episodes=episodes, stride=1, seed=demonstration_seed(seed, task, setting))
    lengths: list[int] = []
    with _progress() as progress, DatasetWriter(out, recipe) as writer:
        bar = progress.add_task("demonstrations", total=episodes, figures="")
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
    }
    print(json.dumps(report) if as_json else yaml.safe_dump(report, sort_keys=False))


@app.command()
def adapt(
    out: Annotated[Path, typer.Option(help="Directory of the new bundle.")],
    data: Annotated[
        list[Path] | None, typer.Option(help="LeRobot v3 dataset, may be repeated; default: the scripted expert.")
    ] = None,
    tasks: Annotated[
        list[str] | None, typer.Option("--task", help="Task for the expert, may be repeated; default: all.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=2, help="Demonstrations a task in the controlled setting.")] = 450,
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
    """Stage 1: train the small VLA and the RL token on demonstrations, prove the token, export a bundle."""
    import onnxscript  # noqa: F401  (the export at the end needs it)
    import torch

    from rlt_ros.vla.adapt import Stage1, export, summarise

    if (out / "bundle.yaml").exists():
        raise ConfigError(f"{out} already holds a bundle; choose another directory or remove it")
    saved = out / "training.safetensors"
    if saved.exists() and not resume:
        raise ConfigError(f"{out} holds an interrupted training; go on with --resume, or remove it")
    if resume and not saved.exists():
        raise ConfigError(f"{out} holds no interrupted training to resume")
    if device != "cpu" and not torch.cuda.is_available():
        raise ConfigError(f"device '{device}' asked for, but this torch finds no CUDA; leave out --device")
    out.mkdir(parents=True, exist_ok=True)  # found out before, not after, an hour of training
    torch.set_num_threads(threads)
    config = AdaptConfig(steps=steps, token_steps=token_steps, alpha=alpha, seed=seed)
    with _progress() as progress:
        bar = progress.add_task("demonstrations", total=None, figures="")
        if data:
            demos, recipe = _read_datasets(data)
        else:
            demos, recipe = _demonstrate(tasks, episodes, full_episodes, seed, randomisation, progress, bar)
        bar = progress.add_task("training", total=config.total, figures="")
        stage = Stage1(demos, config, device=device)
        if resume:
            stage.restore(saved)
        while stage.step < config.total:
            stage.train_step()
            if stage.step % 10 == 0:
                figures = "  ".join(f"{name} {value:.4f}" for name, value in stage.running.items())
                progress.update(bar, completed=stage.step, figures=figures)
            if stage.step % 500 == 0:
                stage.save(saved)
                progress.console.print(
                    f"step {stage.step}: {figures}  held out {stage.validate():.4f}", highlight=False
                )
    bundle = export(
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
    report = {"bundle": str(out), "id": bundle.id, **bundle.training}
    print(json.dumps(report) if as_json else yaml.safe_dump(report, sort_keys=False))


def _read_datasets(paths: list[Path]) -> tuple[Demonstrations, Recipe]:
    from rlt_ros.vla.dataset import read_episodes, read_recipe
    from rlt_ros.vla.demos import prepare

    recipes = [read_recipe(path) for path in paths]
    for path, recipe in zip(paths, recipes, strict=True):
        if recipe != recipes[0]:
            raise ConfigError(f"{path} is {recipe}, but {paths[0]} is {recipes[0]}; they cannot be mixed")
    episodes = itertools.chain.from_iterable(read_episodes(path, stride=4) for path in paths)
    return prepare(episodes, HORIZON), recipes[0]


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
        console=Console(stderr=True),
    )


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
    from rlt_ros.sim.names import CAMERA_NAMES, JOINT_NAMES
    from rlt_ros.sim.tasks import TASKS
    from rlt_ros.vla.dataset import Recipe
    from rlt_ros.vla.demos import Order, collect_parallel, demonstration_seed, prepare

    orders = []
    for task in tasks or sorted(TASKS):
        for setting, count, stride in (("controlled", episodes, 4), ("full", full_episodes, 6)):
            orders.append(Order(task, setting, count, stride, demonstration_seed(seed, task, setting), randomisation))
    progress.update(bar, total=sum(order.episodes for order in orders))
    demos = prepare(
        (progress.advance(bar) or episode for episode in collect_parallel(orders)),  # type: ignore[func-returns-value]
        HORIZON,
    )
    return demos, Recipe("sim_aloha", JOINT_NAMES, CAMERA_NAMES, demos.images.shape[2], CONTROL_PERIOD)


@app.command()
def version() -> None:
    """Print version and where the package's files are."""
    print(f"rlt_ros {__version__} from {share_directory()}")


def main() -> None:
    """Entry point: expected errors become one line and exit code 2."""
    try:
        app(prog_name="rlt")
    except ImportError as error:
        print(f"error: {error}; run 'make setup', or source ROS 2 and the workspace of rlt_ros", file=sys.stderr)
        sys.exit(2)
    except (ConfigError, ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
