"""The command line: help, clear errors, JSON as the last line."""

from __future__ import annotations

import contextlib
import ctypes.util
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rlt_ros.sim.tasks import TASKS


def rlt(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rlt_ros.cli", *arguments], capture_output=True, text=True, timeout=120, cwd=cwd
    )


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["up"],
        ["demo"],
        ["doctor"],
        ["runs"],
        ["report"],
        ["replay"],
        ["export"],
        ["train"],
        ["eval"],
        ["collect"],
        ["adapt"],
        ["bench"],
        ["bench", "loop"],
    ],
)
def test_everything_has_help(command: list[str]) -> None:
    result = rlt(*command, "--help")
    assert result.returncode == 0
    assert "usage: rlt" in result.stdout.lower()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["up", "mars"], "unknown target 'mars': choose sim, robot, learner"),
        (["up", "sim", "--set", "nonsense"], "write node.parameter=value"),
        (["up", "sim", "--set", "executor_node.perod=1"], "unknown parameter perod"),
        (["up", "sim", "--bundle", "/nowhere"], "no bundle at /nowhere"),
        (["up", "sim", "--config", "/nowhere.yaml"], "cannot read /nowhere.yaml"),
        (["up", "sim", "--task", "usb"], f"unknown task 'usb': choose one of {', '.join(sorted(TASKS))}"),
        (["up", "sim", "--namespace", "rlt"], "must begin with '/'"),
        (["eval"], "say what to evaluate: --base, --trained, or --run DIR"),
        (["eval", "--base", "--task", "usb"], "unknown task 'usb'"),
        (["eval", "--base", "--clearance", "0.02"], "20 mm a side, it must be within 0.3 and 4 mm"),
        (["eval", "--run", "nowhere"], "nowhere holds no checkpoint"),
        (["train", "--without", "luck"], "choose one of token, chunk"),
        (["train", "--set", "critcs=2"], "unknown parameter critcs"),
        (["train", "--set", "critics"], "write name=value"),
        (["collect", "--out", "data", "--task", "usb"], "unknown task 'usb'"),
        (["adapt", "--out", "b", "--resume"], "holds no interrupted training to resume"),
        (["adapt", "export", "--out", "b"], "holds no interrupted training"),
        (["adapt", "fly", "--out", "b"], "No such command 'fly'"),
        (["adapt", "--out", "b", "--data", "nowhere"], "nowhere is not a LeRobot dataset"),
        (["adapt", "--out", "b", "--device", "cuda"], "finds no CUDA"),
        (["bench", "luck"], "unknown benchmark 'luck'"),
        (["doctor", "weather"], "doctor looks at 'all', 'bundle', 'joystick', 'cameras' or 'robot'"),
        (["doctor", "cameras", "--pick", "base=1,2,3,4"], "--pick needs the cameras' parameter file"),
        (["doctor", "bundle", "--bundle", "/nowhere"], "no bundle at /nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = rlt(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir()), "nothing is left behind by a run that never began"


def test_doctor_looks_at_all_that_the_cell_needs() -> None:
    result = rlt("doctor", "--json")
    report = json.loads(result.stdout.splitlines()[-1])
    found = {check["name"]: check for check in report["checks"]}
    assert {"ros", "gl rendering", "real-time priority", "realsense", "joystick", "onnx providers"} <= set(found)
    assert all(check["ok"] for check in found.values() if check["required"]), report
    assert all(check["remedy"] for check in found.values() if not check["ok"])
    assert result.returncode == 0


def test_doctor_finds_what_is_missing(tmp_path: Path) -> None:
    result = rlt("doctor", "--json", "--bundle", str(tmp_path))
    report = json.loads(result.stdout.splitlines()[-1])
    assert result.returncode == 1
    assert not report["ok"]
    bundle = next(check for check in report["checks"] if check["name"] == "bundle")
    assert "rlt adapt" in bundle["remedy"]


def test_doctor_prints_the_probe_of_a_bundle() -> None:
    report = json.loads(rlt("doctor", "bundle", "--json").stdout)
    assert set(report["token_probe"]) == {"true", "shuffled", "zero"}


def test_the_whole_of_stage_1_from_a_dataset_to_an_evaluated_bundle(tmp_path: Path) -> None:
    """What a lab does: record, adapt from the recording, look at the probe, evaluate."""
    data, bundle = tmp_path / "data", tmp_path / "bundle"
    recorded = json.loads(rlt("collect", "--out", str(data), "--episodes", "3", "--json").stdout.splitlines()[-1])
    assert recorded["episodes"] == 3
    assert recorded["successes"] >= 2
    small = ["--eyes", "3", "--steps", "3", "--token-steps", "2"]
    adapted = rlt("adapt", "--out", str(bundle), "--data", str(data), *small, "--json")
    assert adapted.returncode == 0, adapted.stderr
    assert json.loads(adapted.stdout.splitlines()[-1])["episodes"] == 3
    assert sorted(path.name for path in bundle.iterdir()) == ["bundle.yaml", "model.onnx", "motion.safetensors"]
    arguments = ["--bundle", str(bundle), "--episodes", "1", "--no-variants", "--blind", "--workers", "1"]
    report = json.loads(rlt("eval", "--base", *arguments, "--json").stdout.splitlines()[-1])
    assert {"base", "final", "speedup", "throughput_ratio", "blind"} <= set(report)
    again = rlt("collect", "--out", str(data), "--episodes", "1")
    assert again.returncode == 2
    assert "not empty" in again.stderr


def test_adapt_does_not_overwrite_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "bundle.yaml").write_text("precious")
    result = rlt("adapt", "--out", str(tmp_path))
    assert result.returncode == 2
    assert "already holds a bundle" in result.stderr
    assert (tmp_path / "bundle.yaml").read_text() == "precious"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("MUJOCO_GL", "osmesa", "install libegl1 and libgl1-mesa-dri"),
        ("ROS_DOMAIN_ID", "many", "set it to a number from 0 to 101"),
    ],
)
def test_an_environment_in_which_nothing_can_run_is_explained(
    variable: str, value: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable == "MUJOCO_GL" and ctypes.util.find_library("OSMesa"):
        pytest.skip("OSMesa is installed here, so this renderer works")
    monkeypatch.setenv(variable, value)
    result = rlt("up", "sim", "--headless", cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["--help"], ["runs"], ["doctor", "bundle"]])
def test_colours_are_for_terminals_that_want_them(arguments: list[str], tmp_path: Path) -> None:
    """A pipe gets no escape codes; NO_COLOR is respected on a terminal (https://no-color.org)."""
    assert "\x1b" not in rlt(*arguments, cwd=tmp_path).stdout
    master, terminal = os.openpty()
    command = [sys.executable, "-m", "rlt_ros.cli", *arguments]
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "xterm-256color"}
    shown = bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):  # the end of a terminal is an error
            while data := os.read(master, 4096):
                shown.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        subprocess.run(command, stdout=terminal, stderr=terminal, env=environment, cwd=tmp_path, check=True)
    finally:
        os.close(terminal)  # else a test that fails here keeps pytest from ending
        reader.join(10)
        os.close(master)
    assert shown
    codes = re.findall(rb"\x1b\[([0-9;]*)m", bytes(shown))
    coloured = [code for code in codes if re.search(rb"(^|;)(3[0-7]|9[0-7]|38|48)(;|$)", code)]
    assert not coloured
