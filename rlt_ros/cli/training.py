"""`rlt train`: the learning of the live graph without ROS, as fast as the machine allows."""

from __future__ import annotations

import dataclasses
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlt_ros.bringup.graph import Bringup
from rlt_ros.cli.options import BundlePath, Json, Recipe, Seed, Task, parse_settings, progress_bars
from rlt_ros.config import ConfigError, from_mapping
from rlt_ros.vla.bundle import load_bundle

if TYPE_CHECKING:
    from rlt_ros.offline.train import TrainConfig
    from rlt_ros.rl.method import MethodConfig


def train(
    task: Task = "ethernet",
    minutes: Annotated[float, typer.Option(min=0.1, help="Robot time, warm-up included.")] = 15.0,
    seed: Seed = 0,
    method: Annotated[
        str, typer.Option(help="What learns: rlt, or beside it hil_serl, pld or dagger (docs/baselines.md).")
    ] = "rlt",
    without: Annotated[
        str,
        typer.Option(
            help="Switch off, with commas between: token, chunk, anchor, Q, selection, passthrough, dropout, returns, "
            "intervention."
        ),
    ] = "",
    recipe: Recipe = "default",
    bundle: BundlePath = None,
    resume: Annotated[
        Path | None, typer.Option(help="Directory of an interrupted run to go on with; only --minutes may change.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where the run's directory is made.")] = Path("runs"),
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Override a setting of trainer or learner, e.g. critics=2."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Learn in the simulated cell as the live graph does, and evaluate on the way and at the end."""
    from rlt_ros.bringup.runs import new_run_dir
    from rlt_ros.offline.ablations import ordered
    from rlt_ros.offline.methods import method_of
    from rlt_ros.offline.train import TrainConfig, read_settings

    if resume is not None:
        if without or settings or bundle is not None or recipe != "default" or method != "rlt":
            raise ConfigError("--resume takes everything but --minutes from the run")
        bundle_path, config, learner = read_settings(resume)
        config = dataclasses.replace(config, minutes=max(minutes, config.minutes))
        _run(bundle_path, config, learner, resume, as_json, resume=True)
        return
    entry = method_of(method)
    if method != "rlt" and recipe != "default":
        raise ConfigError(f"--recipe {recipe} is one of rlt, not of {method}")
    without = ordered(without, method)
    given = {
        **entry.trainer,
        **parse_settings(settings or [], "name=value"),
        "task": task,
        "method": method,
        "minutes": minutes,
        "seed": seed,
        "without": without,
    }
    own = {field.name for field in dataclasses.fields(TrainConfig)}
    config = from_mapping(TrainConfig, {key: value for key, value in given.items() if key in own}, "rlt train")
    bringup = Bringup(target="sim", task=task, bundle=bundle, recipe=recipe)
    fields = {field.name for field in dataclasses.fields(entry.config)}
    from_file = bringup.parameters("learner_node") if method == "rlt" else {}
    others = {key: value for key, value in given.items() if key not in own}
    known = {key: value for key, value in from_file.items() if key in fields}
    learner = from_mapping(entry.config, {**known, **others}, "rlt train")
    named = (
        "" if method == "rlt" else method,
        "" if recipe == "default" else recipe,
        without and f"without-{without.replace(',', '-')}",
    )
    name = "-".join(["train", task, *filter(None, named)])
    run_dir = new_run_dir(runs, name)
    try:
        _run(bringup.bundle_path, config, learner, run_dir, as_json)
    except ValueError:
        for made in (run_dir, runs):
            with suppress(OSError):  # only where nothing is in it
                made.rmdir()
        raise


def _run(
    bundle: Path, config: TrainConfig, learner: MethodConfig, run_dir: Path, as_json: bool, *, resume: bool = False
) -> None:
    from rlt_ros.offline.ablations import by_encoder
    from rlt_ros.offline.train import Trainer, train
    from rlt_ros.vla.resnet import load_resnet

    loaded = load_bundle(bundle)
    if told := loaded.unknown(config.task):
        print(f"warning: {told}", file=sys.stderr)
    if by_encoder(config.without) and load_resnet(loaded) is None:
        print("warning: the bundle has no pre-trained ResNet ('rlt adapt resnet'): it is a random one", file=sys.stderr)
    with progress_bars() as progress:
        bar = progress.add_task("robot time, s", total=round(60 * config.minutes), figures="")

        def show(trainer: Trainer, line: str) -> None:
            recent = trainer.trials[-20:]
            wins = sum(trial.success and not trial.human_ticks for trial in recent)
            figures = f"episode {trainer.episode}, last 20: {wins} of {len(recent)}, {trainer.learner.updates} updates"
            progress.update(bar, completed=round(60 * trainer.minutes), figures=figures)
            if line:
                progress.console.print(line, highlight=False)

        report = train(bundle, config, learner, run_dir, show, resume=resume)
    print(json.dumps(report) if as_json else f"everything is in {run_dir}")
