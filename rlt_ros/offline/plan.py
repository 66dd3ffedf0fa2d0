"""What `rlt sweep` is to run: tasks x methods x ablations x seeds x minutes, read from a YAML file as a table."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlt_ros.config import ConfigError
from rlt_ros.offline import ablations
from rlt_ros.offline.methods import method_of
from rlt_ros.sim.tasks import get_task
from rlt_ros.yaml_file import read_yaml

BASE = "base"
"""The VLA alone beside its best static variants: flown, not trained."""
AXES = ("task", "method", "without", "seed", "minutes")
"""Keys whose value may be a list: the table has a run for each of its entries."""


@dataclass(frozen=True)
class Job:
    """One run of the table.

    Attributes:
        task: of the cell.
        method: what learns, or `BASE`.
        without: what is switched off, as `--without` has it.
        seed: of starts, noise, weights and batches.
        minutes: of robot time.
        evaluate_at: minutes of the evaluations on the way.
        episodes: of an evaluation.
        settings: what `--set` is given, name and value.
        variants: of `BASE`: the static variants too.
    """

    task: str = "ethernet"
    method: str = "rlt"
    without: str = ""
    seed: int = 0
    minutes: float = 15.0
    evaluate_at: tuple[float, ...] = (5.0, 10.0)
    episodes: int = 100
    settings: tuple[tuple[str, Any], ...] = ()
    variants: bool = True

    @property
    def name(self) -> str:
        """A file name that says what it is; other jobs have other ones."""
        if self.method == BASE:
            return f"{self.task}-base"
        parts = [self.task, self.method, *([f"without-{self.without.replace(',', '-')}"] if self.without else [])]
        parts += [re.sub(r"[^\w.-]+", "_", f"{name}-{value}") for name, value in self.settings]
        parts += [f"{self.minutes:g}min", f"seed{self.seed}"]
        text = "-".join(parts)
        return text if len(text) <= 120 else f"{text[:100]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    @property
    def robot_minutes(self) -> float:
        """What it takes of robot time in training."""
        return 0.0 if self.method == BASE else self.minutes

    def described(self) -> dict[str, Any]:
        """As JSON gives it back."""
        out: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return out

    def arguments(self, runs: Path, bundle: Path | None) -> list[str]:
        """Of the `rlt` command that does it anew.

        Args:
            runs: where a run's directory is made.
            bundle: of the VLA; None: the shipped one.
        """
        given = ["--bundle", str(bundle)] if bundle is not None else []
        if self.method == BASE:
            variants = [] if self.variants else ["--no-variants"]
            options = ["--task", self.task, "--episodes", str(self.episodes), "--workers", "1", "--json"]
            return ["eval", "--base", *options, *variants, *given]
        settings = (
            ("evaluate_at", list(self.evaluate_at)),
            ("evaluate_episodes", self.episodes),
            ("evaluate_base", False),
            *self.settings,
        )
        changed = [word for name, value in settings for word in ("--set", f"{name}={json.dumps(value)}")]
        without = ["--without", self.without] if self.without else []
        return [
            *("train", "--task", self.task, "--method", self.method, *without),
            *("--seed", str(self.seed), "--minutes", f"{self.minutes:g}", *changed, "--runs", str(runs), *given),
        ]


def read_plan(path: Path) -> list[Job]:
    """The jobs of a file, in its order.

    Its `runs` is a list of mappings; what is given beside `runs` holds for all of them that do not say otherwise. Keys
    are the fields of `Job`, with `set` (a mapping) for `settings`; of `AXES` a list is a run for each of its entries.

    Raises:
        ConfigError: it cannot be read, a key or a name is unknown, or nothing is in it.
    """
    read = read_yaml(path, ConfigError)
    if not isinstance(read, dict) or not isinstance(read.get("runs"), list):
        raise ConfigError(f"{path} must hold a mapping with a list 'runs'")
    common = {key: value for key, value in read.items() if key != "runs"}
    jobs: dict[str, Job] = {}
    for number, entry in enumerate(read["runs"], 1):
        where = f"{path}: run {number}"
        if not isinstance(entry, dict):
            raise ConfigError(f"{where} must be a mapping, it is {entry!r}")
        for job in _expanded({**common, **entry}, where):
            other = jobs.setdefault(job.name, job)
            if other != job:
                raise ConfigError(f"{where}: {job.name} is there already, with other evaluations")
    if not jobs:
        raise ConfigError(f"{path} has no runs")
    return list(jobs.values())


def _expanded(entry: Mapping[str, Any], where: str) -> list[Job]:
    known = {field.name for field in dataclasses.fields(Job)} - {"settings"} | {"set"}
    unknown = sorted(set(entry) - known)
    if unknown:
        raise ConfigError(f"{where}: unknown key {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    settings = entry.get("set", {})
    if not isinstance(settings, dict):
        raise ConfigError(f"{where}: set must be a mapping, it is {settings!r}")
    given = {key: value for key, value in entry.items() if key not in ("set", *AXES)}
    if "evaluate_at" in given:
        given["evaluate_at"] = tuple(float(at) for at in given["evaluate_at"])
    axes = [(key, value if isinstance(value, list) else [value]) for key, value in entry.items() if key in AXES]
    jobs = []
    for values in itertools.product(*(values for _, values in axes)):
        fields = {**given, **dict(zip((key for key, _ in axes), values, strict=True))}
        jobs.append(_checked(Job(**fields, settings=tuple(settings.items())), where))
    return jobs


def _checked(job: Job, where: str) -> Job:
    """The job in its one form: a name that was written otherwise is the same run."""
    for field in ("minutes", "seed", "episodes"):
        value = getattr(job, field)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < (field != "seed") * 0.001:
            raise ConfigError(f"{where}: {field} must be a number above 0, it is {value!r}")
    try:
        get_task(job.task)
        if job.method == BASE:
            # Neither trained nor drawn by chance: one for each task.
            return Job(job.task, BASE, episodes=job.episodes, variants=job.variants)
        method_of(job.method)
        return dataclasses.replace(
            job, without=ablations.ordered(job.without, job.method), minutes=float(job.minutes), seed=int(job.seed)
        )
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
