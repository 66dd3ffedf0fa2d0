"""The `rlt` command."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from rlt_ros import __version__
from rlt_ros.bringup import DEFAULT_BUNDLE, TARGETS, Bringup, share_directory
from rlt_ros.config import ConfigError

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
OptionalSeed = Annotated[int | None, typer.Option(min=0, help="Seed of starts, noise, learning; default: the file's.")]
BundlePath = Annotated[Path | None, typer.Option("--bundle", help="VLA bundle; default: the shipped one.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of start positions, exploration and learning.")]


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
        "tasks": list(bundle.tasks),
        "cameras": list(bundle.cameras),
        "token_dim": bundle.token_dim,
        "horizon": bundle.horizon,
        "period": bundle.period,
        **{key: bundle.training[key] for key in ("token_probe", "loss_held_out") if key in bundle.training},
    }
    print(json.dumps(report) if as_json else yaml.safe_dump(report, sort_keys=False), end="\n" if as_json else "")


@app.command()
def adapt(
    out: Annotated[Path, typer.Option(help="Directory of the new bundle.")],
    task: Task = "ethernet",
    episodes: Annotated[int, typer.Option(min=2, help="Demonstrations by the scripted expert.")] = 1000,
    steps: Annotated[int, typer.Option(min=1, help="Gradient steps.")] = 5000,
    seed: Annotated[int, typer.Option(min=0, help="Of demonstrations, weights and batches.")] = 0,
    name: Annotated[str, typer.Option(help="Name of the bundle.")] = DEFAULT_BUNDLE,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = os.cpu_count() or 1,
    as_json: Json = False,
) -> None:
    """Stage 1: demonstrate, train the small VLA and the RL token, export a bundle."""
    import onnxscript  # noqa: F401  (the export at the end needs it)
    import torch

    from rlt_ros.sim.cell import CONTROL_PERIOD, Cell
    from rlt_ros.sim.names import CAMERA_NAMES, JOINT_NAMES
    from rlt_ros.sim.tasks import get_task
    from rlt_ros.vla.adapt import AdaptConfig, export
    from rlt_ros.vla.adapt import adapt as train
    from rlt_ros.vla.demos import collect

    if (out / "bundle.yaml").exists():
        raise ConfigError(f"{out} already holds a bundle; choose another directory or remove it")
    out.mkdir(parents=True, exist_ok=True)  # found out before, not after, an hour of training
    torch.set_num_threads(threads)
    cell = Cell(get_task(task))
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("demonstrations", total=episodes, figures="")
        demos = collect(
            cell,
            episodes=episodes,
            horizon=50,
            stride=4,
            seed=10_000 * (seed + 1),
            progress=lambda done: progress.update(bar, completed=done),
        )
        bar = progress.add_task("training", total=steps, figures="")
        adapted = train(
            demos,
            cell.task.instruction,
            AdaptConfig(steps=steps, seed=seed),
            progress=lambda step, losses: progress.update(
                bar, completed=step, figures=f"vla {losses['vla']:.4f}  token {losses['token']:.4f}"
            ),
        )
    cell.close()
    bundle = export(
        adapted,
        out,
        name=name,
        version=__version__,
        robot="sim_aloha",
        cameras=CAMERA_NAMES,
        joints=JOINT_NAMES,
        period=CONTROL_PERIOD,
        instruction=cell.task.instruction,
        tasks=(task,),
    )
    report = {"bundle": str(out), "id": bundle.id, **adapted.summary}
    print(json.dumps(report) if as_json else yaml.safe_dump(report, sort_keys=False))


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
