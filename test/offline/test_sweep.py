"""`rlt sweep`: the table, and processes that are killed, fail, and are never done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rlt_ros.config import ConfigError
from rlt_ros.offline.plan import Job, read_plan
from rlt_ros.offline.sweep import Status, Sweep, SweepConfig
from rlt_ros.report.records import read_record, write_record

ROOT = Path(__file__).parents[2]
TINY = """
task: ethernet
minutes: 0.2
episodes: 1
evaluate_at: []
set:
  {vla_rate: 10, demonstrations: 1, human_patience: 0.3, warmup_episodes: 0, save_minutes: 0.1, hidden: [16],
   warmup_samples: 50}
runs:
  - method: [dagger, hil_serl]
"""


def plan(tmp_path: Path, text: str) -> list[Job]:
    (tmp_path / "plan.yaml").write_text(text)
    return read_plan(tmp_path / "plan.yaml")


def test_lists_are_axes_and_what_stands_above_holds_for_all(tmp_path: Path) -> None:
    jobs = plan(
        tmp_path,
        """
task: [ethernet, charger]
seed: [0, 1]
minutes: 15
runs:
  - method: base
  - {method: [rlt, pld], minutes: [15, 30]}
  - {without: ["", "chunk, token"], seed: 2, set: {return_share: 0.0}, task: ethernet}
""",
    )
    assert len(jobs) == 2 + 2 * 2 * 2 * 2 + 2
    names = [job.name for job in jobs]
    assert names[:2] == ["ethernet-base", "charger-base"], "not drawn by chance: one a task"
    assert "charger-pld-30min-seed1" in names
    assert names[-1] == "ethernet-rlt-without-token-chunk-return_share-0.0-15min-seed2"
    assert len(set(names)) == len(names)
    words = jobs[-1].arguments(Path("runs"), None)
    assert words[:7] == ["train", "--task", "ethernet", "--method", "rlt", "--without", "token,chunk"]
    assert "return_share=0.0" in words
    assert "evaluate_base=false" in words


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("runs: []", "has no runs"),
        ("task: ethernet", "a list 'runs'"),
        ("runs: [{metod: rlt}]", "run 1: unknown key metod"),
        ("runs: [{method: ppo}]", "choose one of rlt"),
        ("runs: [{task: usb}]", "unknown task"),
        ("runs: [{method: pld, without: chunk}]", "choose one of token, intervention, the parts of pld"),
        ("runs: [{minutes: 0}]", "minutes must be a number above 0"),
        ("runs: [{seed: 0}, {seed: 0, episodes: 5}]", "is there already"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        plan(tmp_path, text)


@pytest.mark.parametrize("name", ["paper", "ablations"])
def test_the_shipped_tables_can_be_read(name: str) -> None:
    jobs = read_plan(ROOT / "config" / "sweeps" / f"{name}.yaml")
    assert {job.method for job in jobs} >= {"base", "rlt"}


def test_a_record_of_other_settings_is_not_taken_for_the_run(tmp_path: Path) -> None:
    job = Job(episodes=100)
    write_record(tmp_path / "results" / f"{job.name}.json", {"job": Job(episodes=5).described()})
    with pytest.raises(ConfigError, match="made with another episodes"):
        Sweep([job], SweepConfig(tmp_path / "runs", tmp_path / "results"))
    assert Sweep([Job(episodes=5)], SweepConfig(tmp_path, tmp_path / "results")).status.finished == [job.name]


def test_a_run_of_other_settings_is_not_gone_on_with(tmp_path: Path) -> None:
    job = Job(episodes=100)
    begun = tmp_path / "runs" / job.name / "job.json"
    begun.parent.mkdir(parents=True)
    begun.write_text(json.dumps(Job(episodes=5).described()))
    with pytest.raises(ConfigError, match="made with another episodes"):
        Sweep([job], SweepConfig(tmp_path / "runs", tmp_path / "results"))


def test_a_run_that_fails_is_tried_again_and_told_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bad run must not cost a night: here one fails always, one the first time, one never."""
    script = (
        "import json, pathlib, sys; name, runs = sys.argv[1:]; tried = pathlib.Path(runs) / 'tried';"
        "again = tried.exists(); tried.touch();"
        "sys.exit(1) if name == '0' or (name == '1' and not again) else print(json.dumps({'base': {}}))"
    )
    monkeypatch.setattr(Job, "arguments", lambda self, runs, bundle: [str(self.episodes), str(runs)])
    # What is run in the place of `python -m rlt_ros.cli`.
    fake = tmp_path / "python"
    fake.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} -c "$SCRIPT" "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("SCRIPT", script)
    monkeypatch.setattr(sys, "executable", str(fake))
    jobs = [Job(task, "base", episodes=number) for number, task in enumerate(("ethernet", "charger", "screw"))]
    seen: list[Status] = []
    status = Sweep(jobs, SweepConfig(tmp_path / "runs", tmp_path / "results", jobs=3, nice=0)).run(seen.append)
    assert sorted(status.finished) == ["charger-base", "screw-base"]
    assert list(status.failed) == ["ethernet-base"]
    assert "attempt 2" in Path(status.failed["ethernet-base"]).read_text()
    assert read_record(tmp_path / "results/charger-base.json")["attempts"] == 2


def start(tmp_path: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rlt_ros.cli", "sweep", str(tmp_path / "plan.yaml"), "--jobs", "1", *words]
    places = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    return subprocess.Popen([*command, *places], stdout=subprocess.PIPE, start_new_session=True)


def until(condition: Any, process: subprocess.Popen[bytes], seconds: float = 900.0) -> None:
    """Wait for an event."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < end, "it never came"
        time.sleep(0.1)


def test_a_sweep_that_is_killed_goes_on_and_does_nothing_twice(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(TINY)
    first = start(tmp_path)

    def checkpoint() -> bool:
        return any(tmp_path.glob("runs/*hil_serl*/*/checkpoints/step-*/replay.safetensors"))

    until(checkpoint, first)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    records = list((tmp_path / "results").glob("*.json"))
    assert [read_record(path)["job"]["method"] for path in records] == ["dagger"]
    stamp = records[0].stat().st_mtime_ns
    second = start(tmp_path, "--json")
    out, _ = second.communicate(timeout=900)
    assert second.returncode == 0
    told = json.loads(out.decode().strip().splitlines()[-1])
    assert told["total"] == len(told["finished"]) == 2
    assert told["done"] == pytest.approx(0.4)
    assert records[0].stat().st_mtime_ns == stamp, "what was finished was left"
    (log,) = tmp_path.glob("runs/*hil_serl*/log.txt")
    assert "$ rlt train --resume" in log.read_text(), "what was interrupted went on from its checkpoint"
    assert len(list(tmp_path.glob("runs/*hil_serl*/*/config.json"))) == 1
    (path,) = (tmp_path / "results").glob("*hil_serl*")
    record = read_record(path)
    assert (record["reaction_ms"], record["train"]["method"]) == (20, "hil_serl")
    assert record["curve"][-1]["due"] == 0.2
    assert len(record["curve"][-1]["ticks"]) == 1
    assert path.stat().st_size < 200_000
