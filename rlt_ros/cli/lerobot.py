"""Commands that need LeRobot go on in its environment (`make lerobot`)."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import typer

import rlt_ros
from rlt_ros.config import ConfigError


def needs_lerobot() -> None:
    """Where LeRobot is not: run this command again where it is, and end with its exit code.

    Raises:
        ConfigError: there is no such environment.
    """
    if importlib.util.find_spec("lerobot") is not None:
        return
    python = Path(os.environ.get("RLT_LEROBOT", "") or Path(sys.prefix).with_name(".venv-lerobot") / "bin" / "python")
    if not python.is_file():
        raise ConfigError(f"LeRobot is not installed here, and not at {python}: run 'make lerobot' (Python 3.12, 6 GB)")
    # This package, not one that happens to be installed there.
    environment = {**os.environ, "PYTHONPATH": str(Path(rlt_ros.__file__).parent.parent)}
    raise typer.Exit(subprocess.run([str(python), "-m", "rlt_ros.cli", *sys.argv[1:]], env=environment).returncode)
