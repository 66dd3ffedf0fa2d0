"""The arrows of the design: who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "rlt_ros"
FORBIDDEN = {
    "control": ("torch", "rclpy", "onnxruntime", "mujoco"),
    "rl": ("rclpy", "mujoco"),
    "vla": ("rclpy", "mujoco"),
    "offline": ("rclpy",),
    "session": ("rclpy", "torch"),
    "teleop": ("rclpy", "torch"),
    "cameras": ("rclpy", "torch", "mujoco"),
    "journal": ("rclpy", "torch", "mujoco"),
    "sim": ("rclpy", "torch"),
    "console": ("rclpy", "torch", "mujoco"),
}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("folder", sorted(FORBIDDEN))
def test_folder_does_not_import_what_it_must_not_know(folder: str) -> None:
    for path in (PACKAGE / folder).glob("*.py"):
        wrong = {name for name in imports(path) if name.split(".")[0] in FORBIDDEN[folder]}
        assert not wrong, f"{path.name} imports {wrong}"


def test_stage_1_from_recordings_needs_no_simulator() -> None:
    """A robot's computer has no MuJoCo: vla must not lean on sim, nor sim on vla."""
    for folder, other in (("vla", "sim"), ("sim", "vla")):
        for path in (PACKAGE / folder).rglob("*.py"):
            assert not {name for name in imports(path) if name.startswith(f"rlt_ros.{other}")}, path.name


def test_words_and_configuration_stand_below_everything() -> None:
    for name in ("types.py", "config.py", "normaliser.py"):
        assert not {module for module in imports(PACKAGE / name) if module.startswith("rlt_ros")}


def test_nodes_do_not_import_each_other() -> None:
    for path in (PACKAGE / "nodes").glob("*_node.py"):
        wrong = {module for module in imports(path) if module.startswith("rlt_ros.nodes") and module.endswith("_node")}
        assert not wrong, f"{path.name} imports {wrong}"


def test_the_control_process_never_loads_torch() -> None:
    """Direct imports are not enough: executor_node's whole import closure must be free of it (memory, start-up)."""
    code = "import sys, rlt_ros.nodes.executor_node; print(any(m.split('.')[0] == 'torch' for m in sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
