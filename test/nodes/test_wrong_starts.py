"""Every node that is started wrongly ends with code 2 and one sentence that says what to do."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from running import node

from rlt_ros.bringup.graph import Bringup

BUNDLE = {"bundle": str(Bringup().bundle_path)}
CAMERAS = {"cameras": "[left_wrist, right_wrist, base]", "image_size": "96"}
RECORDER = {"reserve": "0.0"}


def realsense() -> bool:
    """Whether the SDK and the system library that it needs are there."""
    if importlib.util.find_spec("pyrealsense2") is None:
        return False
    try:
        importlib.import_module("pyrealsense2")
    except ImportError:
        return False
    return True


STARTS = {
    ("executor_node", "unknown parameter perod"): {**BUNDLE, "perod": "0.02"},
    ("executor_node", "period must be float"): {**BUNDLE, "period": "fast"},
    ("executor_node", "period is 0.001 s: 0.002 s is the shortest"): {**BUNDLE, "period": "0.001"},
    ("executor_node", "no bundle at /nowhere"): {"bundle": "/nowhere"},
    ("executor_node", "joints is not set: name the robot's joints"): {**BUNDLE, "joints": "['']"},
    ("executor_node", "joints left_waist, .* are not on this robot"): {**BUNDLE, "joints": "[a,b]"},
    ("executor_node", "joint_low has 3 entries for 14 joints"): {**BUNDLE, "joint_low": "[-1.0, -1.0, -1.0]"},
    ("executor_node", "forward_position or joint_trajectory"): {**BUNDLE, "command_interface": "magic"},
    ("executor_node", "3 topics cannot share 14 joints"): {**BUNDLE, "command_topics": "[a,b,c]"},
    ("executor_node", "home has 2 entries for 14 joints"): {**BUNDLE, "home": "[0.0, 0.1]"},
    ("executor_node", "home needs command_interface joint_trajectory"): {**BUNDLE, "home": f"{[0.1] * 14}"},
    ("vla_node", "cameras left_wrist, right_wrist are not on this robot"): {**BUNDLE, "cameras": "[base]"},
    ("vla_node", "make one with 'rlt adapt'"): {"bundle": "/nowhere"},
    ("vla_node", "holds no word"): {**BUNDLE, "instruction": "'!'"},
    ("teleop_node", "there is no mapping 'abacus': choose dualshock"): {**BUNDLE, "mapping": "abacus"},
    ("teleop_node", "cannot read /nowhere/pad.yaml"): {**BUNDLE, "mapping": "/nowhere/pad.yaml"},
    ("teleop_node", "no site or body 'a'"): {**BUNDLE, "frames": "[a, b]"},
    ("teleop_node", "cannot read the robot's model"): {**BUNDLE, "model": "/nowhere/robot.urdf"},
    ("teleop_node", "sticks or leader"): {**BUNDLE, "source": "mind"},
    ("recorder_node", "set directory"): {**RECORDER, "directory": "''"},
    ("recorder_node", "phase 'critcal' is unknown"): {**RECORDER, "directory": "/tmp", "phases": "['critcal']"},
    ("recorder_node", "reserve = -3.0 GB is out of range"): {"directory": "/tmp", "reserve": "-3.0"},
    ("camera_node", "cameras is not set: name the cameras"): {"backend": "pattern", "image_size": "96"},
    ("camera_node", "backend 'polaroid' is unknown: choose realsense"): {**CAMERAS, "backend": "polaroid"},
    ("camera_node", "devices says nothing for left_wrist"): {**CAMERAS, "backend": "realsense"},
    ("camera_node", "devices names one camera twice"): {
        **CAMERAS,
        "backend": "realsense",
        "devices": "['1', '1', '2']",
    },
    ("camera_node", "no camera with serial number '1'"): {
        **CAMERAS,
        "backend": "realsense",
        "devices": "['1', '2', '3']",
    },
    ("camera_node", "no camera at /dev/v4l/by-path/a"): {
        **CAMERAS,
        "backend": "v4l2",
        "devices": "[/dev/v4l/by-path/a, b, c]",
    },
    ("camera_node", "there is no recording a.mcap"): {
        **CAMERAS,
        "backend": "recorded",
        "devices": "[a.mcap, a.mcap, a.mcap]",
    },
    ("camera_node", "crops has 2 entries, 3 cameras need 12"): {**CAMERAS, "backend": "pattern", "crops": "[0, 0]"},
    ("camera_node", "left_wrist: crop 600, 0, 100 x 100 does not lie"): {
        **CAMERAS,
        "backend": "pattern",
        "crops": f"{[600, 0, 100, 100] * 3}",
    },
    ("camera_node", "image_size is 0 and no bundle says"): {**CAMERAS, "backend": "pattern", "image_size": "0"},
}


@pytest.mark.parametrize(("name", "told"), STARTS)
def test_a_wrong_start_ends_with_one_clear_error(
    name: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "101")  # nobody else's
    if "serial number" in told and not realsense():
        pytest.skip("needs libusb-1.0-0")
    log = tmp_path / "log"
    with node(name, STARTS[name, told], log) as process:
        assert process.wait(60) == 2, log.read_text()
    text = log.read_text()
    assert re.search(told, text), text
    assert "Traceback" not in text
