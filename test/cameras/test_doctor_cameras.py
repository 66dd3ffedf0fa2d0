"""`rlt doctor cameras` with test pictures."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner

from rlt_ros.cli import app
from rlt_ros.config import ConfigError


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "robot.yaml"
    path.write_text(
        "/**/camera_node: {ros__parameters: {backend: pattern, cameras: [left_wrist, right_wrist, base], width: 320, "
        "height: 240, fps: 20}}\n"
    )
    return path


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["doctor", "cameras", *arguments], catch_exceptions=False)
    return result.exit_code, result.stdout


def test_without_a_file_it_lists_what_is_connected() -> None:
    code, output = run("--json")
    report = json.loads(output)
    assert code == 0
    assert report["devices"] or "no camera found" in report["notes"][0]


def test_configured_cameras_run_together_and_leave_stills(config: Path, tmp_path: Path) -> None:
    stills = tmp_path / "stills"
    arguments = ["--config", str(config), "--seconds", "2", "--stills", str(stills), "--json"]
    code, output = run(*arguments, "--pick", "base=10,20,100,110")
    report = json.loads(output)
    assert code == 0, report
    assert report["trial"]["sets_per_s"] >= 15
    assert set(report["trial"]["cameras"]) == {"left_wrist", "right_wrist", "base"}
    assert report["crops"] == [0] * 8 + [10, 20, 100, 110]
    picture = cv2.imread(str(stills / "base.png"))
    assert picture.shape == (240, 320, 3)
    assert tuple(picture[20, 10]) == (0, 160, 255), "the crop is drawn"
    code, output = run(*arguments[:-1])
    assert code == 0
    assert "2 s together" in output


@pytest.mark.parametrize(
    ("pick", "message"), [("base=1,2,3", "write name=x,y,width,height"), ("top=1,2,3,4", "one of left_wrist")]
)
def test_a_wrong_crop_is_refused(config: Path, pick: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run("--config", str(config), "--pick", pick)
