"""Options that several commands share, and their progress bars."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from rlt_ros.config import ConfigError
from rlt_ros.rl.config import RECIPES
from rlt_ros.yaml_file import parse_yaml

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
Task = Annotated[str, typer.Option(help="Task of the simulated cell, or name of the work on a robot.")]
OptionalTask = Annotated[str | None, typer.Option(help="Task of the cell, or name of the work; default: the file's.")]
Setting = Annotated[str, typer.Option(help="Start: controlled (parts in hand) or full (parts on the table).")]
Clearance = Annotated[float | None, typer.Option(help="Free play a side in metres; default: the task's.")]
Randomisation = Annotated[float, typer.Option(min=0, max=1, help="How much light, colours and cameras change.")]
OptionalSeed = Annotated[int | None, typer.Option(min=0, help="Seed of starts, noise, learning; default: the file's.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of start positions, exploration and learning.")]
Trained = Annotated[
    bool, typer.Option("--trained", help="The actor that ships with the bundle, in turn with the base; no learning.")
]
Recipe = Annotated[str, typer.Option(help=f"Named settings of learning: {' or '.join(RECIPES)}.")]
BundlePath = Annotated[Path | None, typer.Option("--bundle", help="VLA bundle; default: the shipped one.")]
RobotFile = Annotated[
    Path | None, typer.Option("--robot", metavar="FILE", help="Description of the robot (robot.yaml).")
]
NewBundle = Annotated[Path, typer.Option("--out", help="Directory of the new bundle.")]


def progress_bars() -> Progress:
    """Bars on stderr with a field `figures` at the end."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
        console=Console(stderr=True),
    )


def parse_settings(settings: list[str], form: str) -> dict[str, Any]:
    """What `--set` gave, as names and YAML values.

    Args:
        settings: one string an option.
        form: how it is to be written, `name=value` or `node.parameter=value`.

    Raises:
        ConfigError: a setting is not of that form, or its value is not YAML.
    """
    out = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator or ("." in form and "." not in key):
            raise ConfigError(f"--set {setting}: write {form}")
        try:
            out[key] = parse_yaml(value, ros=True)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {setting}: the value is not valid YAML") from error
    return out


def report(figures: dict[str, Any], as_json: bool) -> None:
    """What a command says at its end."""
    print(json.dumps(figures) if as_json else yaml.safe_dump(figures, sort_keys=False), end="\n" if as_json else "")


def check_free(out: Path) -> None:
    """Refuse a directory that holds a bundle.

    Raises:
        ConfigError: it does.
    """
    if (out / "bundle.yaml").exists():
        raise ConfigError(f"{out} already holds a bundle; choose another directory or remove it")


def check_datasets(paths: list[Path]) -> None:
    """Refuse datasets of different robots.

    Raises:
        ConfigError: one cannot be read, or is of another robot than the first.
    """
    from rlt_ros.vla.dataset import read_contents

    found = [read_contents(path) for path in paths]
    for path, contents in zip(paths, found, strict=True):
        if contents != found[0]:
            raise ConfigError(f"{path} is {contents}, but {paths[0]} is {found[0]}; they cannot be mixed")
