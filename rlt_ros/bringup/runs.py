"""Run directories: what was run, going on with it, and what came of it."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rlt_ros.bringup.graph import Bringup, NodeSpec
from rlt_ros.config import ConfigError, from_mapping
from rlt_ros.journal.journal import is_being_written, read_journal
from rlt_ros.provenance import provenance
from rlt_ros.rl.config import CHECKPOINT_FORMAT, LearnerParameters, differences, settings
from rlt_ros.robot.description import portable
from rlt_ros.session.statistics import EpisodeRecord, summarise
from rlt_ros.vla.bundle import load_bundle

RECORD = "run.json"
SUMMARY = "summary.json"
PARAMETERS = "parameters.yaml"
ROBOT = "robot.yaml"
JOURNAL = "journal"
CHECKPOINTS = "checkpoints"


def new_run_dir(root: Path, name: str) -> Path:
    """Make a directory that nobody else has, named by time.

    Raises:
        ConfigError: it cannot be made.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    for number in itertools.count(1):
        path = root / (f"{stamp}-{name}" if number == 1 else f"{stamp}-{name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            if root.exists() and not root.is_dir():
                raise ConfigError(f"{root} is no directory: choose another one for runs (--runs)") from None
            continue
        except OSError as error:
            raise ConfigError(f"{path} cannot be made: {error.strerror}; choose another directory (--runs)") from error
        return path.absolute()
    raise AssertionError("never ends")


def read_record(run: Path) -> dict[str, Any]:
    """What was run.

    Raises:
        ConfigError: there is no run, or none of `rlt up`.
    """
    try:
        record: dict[str, Any] = json.loads((run / RECORD).read_text())
    except OSError as error:
        raise ConfigError(f"{run} is no run: {RECORD} cannot be read ({error.strerror})") from error
    except json.JSONDecodeError as error:
        raise ConfigError(f"{run / RECORD} is damaged: {error}") from error
    if not isinstance(record, dict):
        raise ConfigError(f"{run / RECORD} must hold one object")
    return record


def write_record(bringup: Bringup, specs: list[NodeSpec], argv: list[str]) -> None:
    """What is run, for whoever looks at the results later, and for going on with it; earlier files are kept."""
    run = bringup.run_dir
    assert run is not None
    run.mkdir(parents=True, exist_ok=True)
    now = {**provenance(["rlt", *argv]), "episodes_before": bringup.episodes_before}
    record = {
        **now,
        "target": bringup.target,
        "task": bringup.task_name,
        "bundle": str(bringup.bundle_path.absolute()),
        "bundle_id": load_bundle(bringup.bundle_path).id,
        "clearance": bringup.parameters("sim_node").get("clearance") or None,
        "config": str(bringup.config_path),
        "namespace": bringup.namespace,
        "driver": bringup.driver,
        "period": bringup.period,
        "seed": bringup.seed,
        "human": bringup.human,
        "recipe": bringup.recipe,
        "learner": bringup.learner,
        "trained": bringup.trained,
        "settings": dict(bringup.settings),
        "nodes": {spec.name: dict(spec.parameters) for spec in specs},
    }
    parameters = bringup.config_path.read_bytes()
    if (run / RECORD).is_file():
        earlier = read_record(run)
        lives = 1 + len(earlier.get("resumed", []))
        _keep(run / SUMMARY, lives)
        if (run / PARAMETERS).is_file() and (run / PARAMETERS).read_bytes() != parameters:
            _keep(run / PARAMETERS, lives)
        record = {**earlier, "resumed": [*earlier.get("resumed", []), now], "settings": dict(bringup.settings)}
    _write(run / RECORD, json.dumps(record, indent=2) + "\n")
    if bringup.robot_file is not None:
        _write(run / ROBOT, portable(bringup.robot_file))
    if not (run / PARAMETERS).is_file():
        (run / PARAMETERS).write_bytes(parameters)


def write_summary(run: Path, summary: dict[str, Any]) -> None:
    """The figures at the end of a run."""
    _write(run / SUMMARY, json.dumps(summary, indent=2) + "\n")


def resumed(given: Bringup, run: Path) -> Bringup:
    """The bring-up that goes on with a run: as it was, but for what is given anew.

    Args:
        given: from the command line.
        run: its directory.

    Raises:
        ConfigError: it is no run, it still runs, or it was another robot's, task's or bundle's.
    """
    record = read_record(run)
    for key in ("target", "bundle_id", "settings"):
        if key not in record:
            raise ConfigError(
                f"{run} cannot be gone on with: it was made by 'rlt train' or an older version of rlt_ros"
            )
    if record["target"] != given.target:
        raise ConfigError(f"{run} is a run of '{record['target']}', not of '{given.target}'")
    if given.task and given.task != record["task"]:
        raise ConfigError(f"{run} learnt task '{record['task']}', not '{given.task}'; begin a new run")
    if given.namespace not in (Bringup.namespace, record["namespace"]):
        raise ConfigError(f"{run} was flown in namespace {record['namespace']}, which names the robot in its journal")
    if given.trained and not record["trained"]:
        raise ConfigError(f"{run} was begun without --trained")
    if given.human not in ("none", record["human"]):
        raise ConfigError(f"{run} was begun with --human {record['human']}")
    if given.recipe not in (Bringup.recipe, record.get("recipe", Bringup.recipe)):
        raise ConfigError(f"{run} was begun with another recipe than '{given.recipe}'; begin a new run")
    bundle = given.bundle or Path(record["bundle"])
    found = load_bundle(bundle).id
    if found != record["bundle_id"]:
        raise ConfigError(f"{run} was flown with bundle {record['bundle_id']}, {bundle} is {found}: tokens differ")
    if is_being_written(run / JOURNAL):
        raise ConfigError(f"{run} is still running: stop it first")
    ended = _ended(run)
    bringup = dataclasses.replace(
        given,
        task=record["task"],
        bundle=bundle,
        config=given.config or run / PARAMETERS,
        robot_file=given.robot_file or (run / ROBOT if (run / ROBOT).is_file() else None),
        namespace=record["namespace"],
        driver=given.driver or record.get("driver", ""),
        seed=record["seed"] if given.seed is None else given.seed,
        human=record["human"],
        recipe=record.get("recipe", Bringup.recipe),
        learner=given.learner or record.get("learner"),
        trained=record["trained"],
        settings={**record["settings"], **given.settings},
        run_dir=run.absolute(),
        episodes_before=max((episode for _, _, episode in ended), default=0),
        epoch_before=max((epoch for _, epoch, _ in ended), default=0),
    )
    _refuse_other_settings(bringup, run)
    return bringup


def _refuse_other_settings(bringup: Bringup, run: Path) -> None:
    """A learner refuses a checkpoint of other settings; better before the robot moves than after."""
    spec = next((spec for spec in bringup.nodes() if spec.name == "learner_node"), None)
    newest = max((run / CHECKPOINTS).glob("step-*/checkpoint.json"), default=None)
    if spec is None or newest is None:
        return
    try:
        described = json.loads(newest.read_text())
        theirs, layout = described["config"], described.get("layout", {})
    except (OSError, ValueError, KeyError):
        return  # damaged: the learner goes back to an older one
    given = {**bringup.parameters(spec.name), **spec.parameters}
    learner = from_mapping(LearnerParameters, given, spec.name)
    mine = {name: getattr(learner, name) for name in ("chunk", "stride") if name in layout}
    changed = differences({**theirs, **{name: layout[name] for name in mine}}, {**settings(learner), **mine})
    if described.get("format", CHECKPOINT_FORMAT) != CHECKPOINT_FORMAT:
        raise ConfigError(
            f"{run} has checkpoints of format {described['format']}, this version reads {CHECKPOINT_FORMAT}: begin a "
            "new run, or go on with the version of rlt_ros that made it"
        )
    if changed:
        raise ConfigError(
            f"{run} was trained with other settings (its -> now): {'; '.join(changed)}. "
            "Set them back, or begin a new run"
        )


def episodes(run: Path) -> list[EpisodeRecord]:
    """The ended episodes of a run as its journal has them, with their last label, in order."""
    return list(_ended(run).values())


def _ended(run: Path) -> dict[tuple[str, int, int], EpisodeRecord]:
    """The same by robot, epoch and number."""
    from rlt_ros import msg  # type: ignore[attr-defined]  # only where ROS 2 is installed
    from rlt_ros.ros.convert import episode_from_msg
    from rlt_ros.ros.records import message_of

    found: dict[tuple[str, int, int], EpisodeRecord] = {}
    for record in read_journal(run / JOURNAL, ("episode",)):
        try:
            message: msg.EpisodeEvent = message_of(record)
            if message.kind in (msg.EpisodeEvent.KIND_END, msg.EpisodeEvent.KIND_LABEL, msg.EpisodeEvent.KIND_UNDO):
                found[message.robot, message.epoch, message.episode] = episode_from_msg(message)
        except ValueError:
            continue
    return found


@dataclass(frozen=True)
class Run:
    """A line of `rlt runs`.

    Attributes:
        path: of its directory.
        started: when, ISO 8601.
        what: target or `train`, and task.
        lives: times it was started.
        running: it is recorded to at this moment.
        episodes: ended; None where there is no journal.
        successes: of these.
        per_10min: successes in 10 minutes of episode time.
        updates: of the newest checkpoint; None without one.
        size: bytes of everything.
    """

    path: Path
    started: str
    what: str
    lives: int
    running: bool
    episodes: int | None
    successes: int | None
    per_10min: float | None
    updates: int | None
    size: int


def list_runs(root: Path) -> list[Run]:
    """The runs in a directory, oldest first."""
    out = []
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        if not (path / RECORD).is_file():
            continue
        try:
            record = read_record(path)
        except ConfigError:
            record = {}
        figures = summarise(episodes(path)) if (path / JOURNAL).is_dir() else {}
        checkpoints = sorted((path / CHECKPOINTS).glob("step-*/checkpoint.json"))
        out.append(
            Run(
                path=path,
                started=record.get("started", "?"),
                what=f"{record.get('target', '?')} {record.get('task', '?')}",
                lives=1 + len(record.get("resumed", [])),
                running=is_being_written(path / JOURNAL),
                episodes=figures.get("episodes"),
                successes=figures.get("successes"),
                per_10min=figures.get("throughput_per_10min"),
                updates=int(checkpoints[-1].parent.name.split("-")[1].split(".")[0]) if checkpoints else None,
                size=_size(path),
            )
        )
    return out


def _size(path: Path) -> int:
    total = 0
    for file in path.rglob("*"):
        with contextlib.suppress(OSError):  # a running learner prunes its checkpoints
            total += file.stat().st_size if file.is_file() else 0
    return total


def _keep(path: Path, number: int) -> None:
    """Make room for a newer file of the same name."""
    if path.is_file():
        path.rename(path.with_name(f"{path.stem}-{number}{path.suffix}"))


def _write(path: Path, text: str) -> None:
    fresh = path.with_suffix(f"{path.suffix}.new")
    fresh.write_text(text)
    fresh.replace(path)
