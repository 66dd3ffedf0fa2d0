"""`rlt doctor robot` on drivers that misbehave: it names what is wrong, and moves nothing before all else fits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from driven import described, driver
from typer.testing import CliRunner

from rlt_ros.cli import app

pytestmark = pytest.mark.live
FOLLOWER = "/follower/forward_position_controller/commands"


def doctor(path: Path, *options: str) -> tuple[int, dict[str, str]]:
    """Its exit code, and its complaints by name. A machine that is busy may be late, which is not meant here."""
    command = ["doctor", "robot", "--robot", str(path), "--seconds", "5", "--json", *options]
    result = CliRunner().invoke(app, command, input="y\ny\n")
    checks = json.loads(result.stdout.splitlines()[-1])["checks"]
    wrong = [it for it in checks if not it["ok"] and "are late" not in it["remedy"]]
    return result.exit_code, {it["name"]: f"{it['detail']} -> {it['remedy']}" for it in wrong}


def test_a_camera_40_ms_late_is_named_where_its_stamps_fit_the_next_picture(domain: int, tmp_path: Path) -> None:
    """At 15 pictures a second it is 27 ms from the other camera's next one: within this robot's `camera_skew`."""
    path = described("franka", tmp_path)
    with driver("franka", tmp_path, "late=/base/image_raw/compressed"):
        code, wrong = doctor(path, "--move")
    assert code == 1
    assert "later after their stamps than those of wrist" in wrong["delay base"]
    assert not any(name.startswith("moves") for name in wrong), "nothing moves before all this fits"


def test_targets_in_another_unit_are_named_and_nothing_moves(domain: int, tmp_path: Path) -> None:
    path = described("so101", tmp_path)
    data = yaml.safe_load(path.read_text())
    del data["controllers"][0]["unit"]
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    with driver("so101", tmp_path):
        code, wrong = doctor(path, "--move")
    assert code == 1
    assert "write the same unit in sources and controllers" in wrong[f"controller {FOLLOWER}"]
    assert not any(name.startswith("moves") for name in wrong)


def test_an_order_that_the_controller_does_not_tell_is_found_by_the_first_motion_which_is_the_last(
    domain: int, tmp_path: Path
) -> None:
    """The robot's own pose in another order is another pose: each further joint would have thrown it there and back."""
    path = described("so101", tmp_path)
    with driver("so101", tmp_path, f"order={FOLLOWER}", f"untold={FOLLOWER}"):
        for _ in range(3):  # a driver that is late on a busy machine is not moved
            code, wrong = doctor(path, "--move")
            if "moves shoulder_pan" in wrong:
                break
    assert code == 1
    assert [name for name in wrong if name.startswith("moves")] == ["moves shoulder_pan"]
    assert "takes its targets in another order or unit" in wrong["moves shoulder_pan"]
