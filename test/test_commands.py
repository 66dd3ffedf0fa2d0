"""Every command of README and getting_started.md, shortened, one after the other as a newcomer would run them."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from documented import COMMANDS, Documented

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.commands
_WITHIN = 240.0


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("newcomer")
    shutil.copy(ROOT / "config" / "sim.yaml", root / "my.yaml")
    # A description names the robot: the bundle of the cell flies no other.
    shutil.copy(ROOT / "config" / "robots" / "aloha.yaml", root / "my_robot.yaml")
    return {
        **{name: str(root / name.lower()) for name in ("RUNS", "OUT", "DATASET", "BUNDLE", "TRAINED")},
        "FILE": str(root / "my.yaml"),
        "ROBOT": str(root / "my_robot.yaml"),
    }


@pytest.mark.parametrize("command", [known for known in COMMANDS if known.run], ids=lambda known: known.pattern[:60])
def test_it_works_as_written(command: Documented, places: dict[str, str], domain: int) -> None:
    words = shlex.split(command.run)
    if "RUN" in words:
        runs = sorted(Path(places["RUNS"]).iterdir())
        places["RUN"] = str(runs[0])
    if "TRAINED" in words:
        shutil.rmtree(places["TRAINED"], ignore_errors=True)
    words = [places.get(word, word) for word in words]
    process = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    lines: list[str] = []
    try:
        assert process.stdout is not None
        if command.until:
            for line in process.stdout:
                lines.append(line)
                if command.until in line:
                    break
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1.0)
            process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=_WITHIN)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    output = "".join(lines) + output
    assert process.returncode == command.code, output
    assert "Traceback" not in output
