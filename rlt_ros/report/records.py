"""Records of a sweep: what is kept of a run when its directory is gone, small enough to be committed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from rlt_ros.config import ConfigError

FORMAT = 1
LARGEST = 200_000
"""Bytes of a record."""
_FACTS = ("command", "started", "version", "commit", "python", "machine", "bundle_id")


def record_of_run(run: Path) -> dict[str, Any]:
    """What is kept of a directory of `rlt train`.

    Returns:
        `facts` (where it comes from), `train` and `learner` (settings), `curve` (evaluations, with the ticks of every
        episode), `episodes` (of the training, columns: minutes, ticks, human_ticks, success and actor as 0 or 1).

    Raises:
        ConfigError: the run is not complete.
    """
    try:
        described = json.loads((run / "config.json").read_text())
        curve = json.loads((run / "curve.json").read_text())
        with (run / "episodes.csv").open() as file:
            lines = list(csv.DictReader(file))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{run} is no finished run of rlt train: {error}") from error
    return {
        "facts": facts(described),
        "train": described["train"],
        "learner": described["learner"],
        "curve": [{key: _short(value) for key, value in entry.items()} for entry in curve],
        "episodes": {
            "minutes": [round(float(line["minutes"]), 2) for line in lines],
            **{key: [int(line[key]) for line in lines] for key in ("ticks", "human_ticks")},
            **{key: [int(line[key] == "True") for line in lines] for key in ("success", "actor")},
        },
    }


def facts(described: dict[str, Any]) -> dict[str, Any]:
    """Where figures come from, of a config.json or of `provenance`."""
    return {key: described[key] for key in _FACTS if key in described}


def _short(value: Any) -> Any:
    """Numbers with as many digits as they are worth."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return [_short(item) for item in value] if isinstance(value, list) else value


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write it new and rename it.

    Raises:
        ConfigError: it is too large to be kept.
        OSError: it cannot be written.
    """
    text = json.dumps({"format": FORMAT, **record}, separators=(",", ":")) + "\n"
    if len(text) > LARGEST:
        raise ConfigError(
            f"{path} would be {len(text) // 1000} kB, the limit is {LARGEST // 1000}: evaluate less often"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text)
    fresh.replace(path)


def read_record(path: Path) -> dict[str, Any]:
    """A record.

    Raises:
        ConfigError: it is none, or of another version.
    """
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        if record["format"] != FORMAT:
            raise ConfigError(f"{path} has format {record['format']}, this version reads {FORMAT}")
        if not isinstance(record["job"], dict):
            raise TypeError("its job is no mapping")
    except ConfigError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no record of rlt sweep: {error!r}") from error
    return record


def read_records(directory: Path) -> list[dict[str, Any]]:
    """All records of a directory, by name.

    Raises:
        ConfigError: one of them cannot be read.
    """
    return [read_record(path) for path in sorted(directory.glob("*.json"))]
