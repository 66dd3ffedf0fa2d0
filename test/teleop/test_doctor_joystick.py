"""`rlt doctor joystick` with a pad that exists only here."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner
from virtual_pad import VirtualPad

from rlt_ros.cli import app


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["doctor", "joystick", *arguments])
    return result.exit_code, result.stdout


def test_without_a_joystick_it_says_what_to_do() -> None:
    code, output = run("--json")
    report = json.loads(output)
    assert (code, report["devices"]) == (1, [])
    assert "/dev/input" in report["remedy"]


def test_what_is_held_and_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    pad = VirtualPad()
    try:
        pad.press(10)
        pad.push(1, -1.0)
        code, output = run("--json")
        report = json.loads(output)
        assert code == 0
        assert (report["layout"], report["mapping"]) == ("gamepad", "gamepad")
        assert (report["axes"][1], report["buttons"][10]) == (1.0, 1)
        code, output = run("--seconds", "0.2")
        assert code == 0
        for text in ("mapping gamepad", "takeover", "emergency stop", "roll while LB is held", "held"):
            assert text in output, output
        code, output = run("--device", "SpaceMouse", "--json")
        assert code == 1
        assert "is not among" in json.loads(output)["error"]
    finally:
        pad.unplug()
