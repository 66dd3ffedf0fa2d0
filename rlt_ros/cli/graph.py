"""`rlt up` and `rlt demo`: the graph as separate processes."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from rlt_ros.bringup.graph import TARGETS, Bringup
from rlt_ros.bringup.runs import resumed
from rlt_ros.cli.options import (
    BundlePath,
    Json,
    OptionalSeed,
    OptionalTask,
    Recipe,
    RobotFile,
    Seed,
    Task,
    Trained,
    parse_settings,
)
from rlt_ros.config import ConfigError


def up(
    target: Annotated[str, typer.Argument(help=f"What to start: {', '.join(TARGETS)}.")],
    task: OptionalTask = None,
    bundle: BundlePath = None,
    config: Annotated[Path | None, typer.Option(help="ROS parameter file; default: config/TARGET.yaml.")] = None,
    robot: RobotFile = None,
    namespace: Annotated[str, typer.Option(help="ROS namespace of all nodes.")] = "/rlt",
    driver: Annotated[
        str, typer.Option(metavar="NAMESPACE", help="Of the robot's driver, cameras, joystick; default: global names.")
    ] = "",
    headless: Annotated[bool, typer.Option("--headless", help="Do not open the cell's window.")] = False,
    duration: Annotated[float, typer.Option(min=0, help="Seconds from the first episode; 0: until Ctrl-C.")] = 0.0,
    seed: OptionalSeed = None,
    runs: Annotated[Path, typer.Option(help="Where the run's directory is made.")] = Path("runs"),
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NODE.PARAMETER=VALUE", help="Override a parameter.")
    ] = None,
    human: Annotated[
        str, typer.Option(help="Who holds the joystick: none (you, if one is connected) or simulated (sim only).")
    ] = "none",
    recipe: Recipe = "default",
    trained: Trained = False,
    learner: Annotated[
        str | None,
        typer.Option(metavar="NAMESPACE", help="Learn from a learner elsewhere ('rlt up learner'), which records too."),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with this run: its settings, journal and checkpoints.")
    ] = None,
    use_sim_time: Annotated[
        bool, typer.Option("--use-sim-time", help="Live by /clock, that of a simulator (Gazebo, Isaac).")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run the graph as separate processes, with the operator's page, and print a summary at the end."""
    bringup = Bringup(
        target=target,
        task=task,
        bundle=bundle,
        config=config,
        robot_file=robot,
        namespace=namespace,
        driver=driver,
        headless=headless,
        seed=seed,
        human=human,
        recipe=recipe,
        learner=learner,
        trained=trained,
        settings=parse_settings(settings or [], "node.parameter=value"),
        use_sim_time=use_sim_time,
    )
    if resume is not None:
        bringup = resumed(bringup, resume)
    _run_graph(bringup, duration, runs, as_json)


def demo(
    duration: Annotated[float, typer.Option(min=0, help="Seconds from the first episode; 0: until Ctrl-C.")] = 180.0,
    task: Task = "ethernet",
    seed: Seed = 0,
    recipe: Recipe = "default",
    trained: Trained = False,
    as_json: Json = False,
) -> None:
    """Show the simulated robot at work: base VLA first, then an actor that learns from every episode."""
    end = f"It stops by itself after {duration:.0f} s; Ctrl-C stops it now." if duration else "Ctrl-C stops it."
    shown = (
        "In turn an episode is flown by the VLA's reference chunks and by the actor that was trained on top of it."
        if trained
        else "A scripted human shows six insertions, the VLA's reference chunks fly two more; then the actor takes\n"
        "over, and its weights are renewed while the robot moves. Where nothing moves on, the human helps."
    )
    print(
        f"A simulated two-armed robot pushes a plug into a socket, 50 commands a second.\n{shown}\n{end}\n",
        file=sys.stderr,
    )
    human = "none" if trained else "simulated"
    bringup = Bringup(task=task, headless=False, seed=seed, human=human, recipe=recipe, trained=trained)
    _run_graph(bringup, duration, Path("runs"), as_json)


def _run_graph(bringup: Bringup, duration: float, runs: Path, as_json: bool) -> None:
    from rlt_ros.bringup.doctor import display_works
    from rlt_ros.bringup.up import run_graph, tell_summary

    if bringup.target == "sim" and not bringup.headless and not display_works():
        bringup = dataclasses.replace(bringup, headless=True)
        print("no display: the cell's window stays closed", file=sys.stderr)
    for name in (bringup.namespace, bringup.learner or bringup.namespace, bringup.driver or bringup.namespace):
        if not re.fullmatch(r"(/[A-Za-z_][A-Za-z0-9_]*)+", name):
            raise ConfigError(f"namespace '{name}' must begin with '/' and hold letters, digits and '_' only")
    bringup.nodes()
    summary, code = run_graph(bringup, duration=duration, argv=sys.argv[1:], runs=runs)
    raise typer.Exit(tell_summary(summary, as_json) or code)
