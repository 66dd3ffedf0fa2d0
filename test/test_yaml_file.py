"""What we read of a YAML file is what ROS reads (W10)."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from rlt_ros.bringup.parameter_file import read_parameter_file
from rlt_ros.config import ConfigError
from rlt_ros.teleop.mapping import MappingError, load_mapping
from rlt_ros.vla.bundle import BundleError, load_bundle
from rlt_ros.yaml_file import parse_yaml

TEXTS = {
    "1e3": 1000.0,
    "yes": True,
    "y": True,
    "N": False,
    "off": False,
    "010": 8,
    "08": 8.0,
    "1_000": "1_000",
    "1:30": "1:30",
    "2026-11-26": "2026-11-26",
    ".inf": math.inf,
    "-.inf": -math.inf,
    '"3"': "3",
    "0x10": 16,
    "-.5": -0.5,
    "1.": 1.0,
    "0o7": "0o7",
    "tRue": "tRue",
    "[1.0, 2.0]": [1.0, 2.0],
}


@pytest.mark.parametrize("text", TEXTS)
def test_scalars_are_what_rcl_makes_of_them(text: str) -> None:
    value = parse_yaml(f"a: {text}", ros=True)["a"]
    assert (value, type(value)) == (TEXTS[text], type(TEXTS[text]))


def test_rcl_itself_agrees(tmp_path: Path) -> None:
    rclpy = pytest.importorskip("rclpy")
    path = tmp_path / "p.yaml"
    lines = "\n".join(f"    p{number}: {text}" for number, text in enumerate(TEXTS))
    path.write_text(f"/**/x:\n  ros__parameters:\n{lines}\n")
    context = rclpy.Context()
    rclpy.init(args=["--ros-args", "--params-file", str(path)], context=context)
    try:
        node = rclpy.create_node("x", namespace="/rlt", context=context)
        theirs = {name: value.value for name, value in node._parameter_overrides.items()}
        node.destroy_node()
    finally:
        rclpy.shutdown(context=context)
    ours = read_parameter_file(path)["x"]
    assert theirs == ours


NODE = "/**/executor_node:\n  ros__parameters:\n    "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{NODE}command_topics: [a]\n    command_topics: [b]\n", "'command_topics' stands there twice"),
        (f"{NODE}period: 0.02\n{NODE}chunk: 10\n", "'/\\*\\*/executor_node' stands there twice"),
        (f"{NODE}period: 0.02\n/rlt/executor_node:\n  ros__parameters:\n    chunk: 10\n", "stands there twice"),
        (f"{NODE}joint_low: [-3, -1.5]\n", "mixes whole and other numbers"),
        (f"{NODE}bundle:\n", "has no value"),
        (f"{NODE}limits: {{low: 1}}\n", "is a mapping"),
        (f"{NODE}period: &p 0.02\n    x: *p\n", "ROS reads no alias"),
        (f"{NODE}joints: [a, 1]\n", "mixes int and str"),
    ],
)
def test_what_ros_would_read_otherwise_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as raised:
        read_parameter_file(path)
    assert str(path) in str(raised.value)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(ConfigError, match="no text in UTF-8"):
        read_parameter_file(path)


def test_mappings_and_bundles_are_read_by_the_same_reader(tmp_path: Path) -> None:
    twice = "name: a\nname: b\n"
    (tmp_path / "bundle.yaml").write_text(twice)
    (tmp_path / "pad.yaml").write_text(twice)
    with pytest.raises(BundleError, match="line 2 is not valid YAML: 'name' stands there twice"):
        load_bundle(tmp_path)
    with pytest.raises(MappingError, match="line 2 is not valid YAML: 'name' stands there twice"):
        load_mapping(tmp_path / "pad.yaml")
