"""The arrows of the design: who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "rlt_ros"
ROOMS = (
    *("cli", "offline", "bringup", "nodes", "report", "ros", "robot", "vla", "rl", "console"),
    *("cameras", "teleop", "session", "sim", "journal", "control"),
)
"""Of the tree in CONTRIBUTING, from the top: each knows those below it."""
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
    "robot": ("rclpy", "torch", "mujoco"),
    "console": ("rclpy", "torch", "mujoco"),
}


MODULES = {
    ".".join(("rlt_ros", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def imports(path: Path) -> set[str]:
    """Names of what a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & set(MODULES)
            found |= inner or {node.module}
    return found


def room_of(module: str) -> str:
    """The folder that a module of ours is in; "" for those that stand at the bottom."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else ""


def test_every_room_stands_in_the_tree() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == set(ROOMS)
    tree = (PACKAGE.parent / "CONTRIBUTING.md").read_text()
    shown = [line.split("/")[0].strip() for line in tree.splitlines() if line.startswith("  ") and "/  " in line]
    assert tuple(shown) == ROOMS


def test_imports_go_down_the_tree() -> None:
    wrong = []
    for module, path in MODULES.items():
        here = room_of(module)
        for other in imports(path) & set(MODULES):
            there = room_of(other)
            if there and there != here and (not here or ROOMS.index(there) < ROOMS.index(here)):
                wrong.append(f"{module} -> {other}")
    assert not wrong


def test_no_file_leads_back_to_itself() -> None:
    """Imports inside a function or for a type checker count too: whoever reads must read both."""
    graph = {module: imports(path) & set(MODULES) - {module} for module, path in MODULES.items()}
    leads: dict[str, set[str]] = {}

    def behind(module: str) -> set[str]:
        if module not in leads:
            leads[module] = set()
            waiting = list(graph[module])
            while waiting:
                found = waiting.pop()
                if found not in leads[module]:
                    leads[module].add(found)
                    waiting += graph[found]
        return leads[module]

    assert not [module for module in graph if module in behind(module)]


def test_nobody_reaches_into_anothers_private_names() -> None:
    # Of named tuples; rclpy has no other way to ask, LeRobot's diffusion policy none to see what it is conditioned on,
    # its reader of datasets none to read a column alone.
    allowed = {"_replace", "_parameter_overrides", "_prepare_global_conditioning", "_query_hf_dataset"}
    wrong = []
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
                if not own and node.attr not in allowed:
                    wrong.append(f"{module}: {ast.unparse(node)}")
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [alias.name for alias in node.names]
                wrong += [f"{module}: {name}" for name in names if name[0] == "_" and name[:2] != "__"]
    assert not wrong


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


def test_nodes_do_not_import_each_other() -> None:
    for path in (PACKAGE / "nodes").glob("*.py"):
        wrong = {module for module in imports(path) if module.startswith("rlt_ros.nodes")}
        assert not wrong, f"{path.name} imports {wrong}"


def test_the_control_process_never_loads_torch() -> None:
    """Direct imports are not enough: executor_node's whole import closure must be free of it (memory, start-up)."""
    code = "import sys, rlt_ros.nodes.executor_node; print(any(m.split('.')[0] == 'torch' for m in sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_the_command_line_knows_the_tasks_where_no_physics_is_installed() -> None:
    """LeRobot's environment, a robot's computer: MuJoCo is for whoever simulates."""
    code = "import sys; sys.modules['mujoco'] = None; import rlt_ros.cli, rlt_ros.sim.tasks as t; print(len(t.TASKS))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(result.stdout) >= 3
