"""What runs: the nodes of `sim` and `robot`, their parameters and remappings.

`rlt up` and the launch files both take their list from here. Importable without ROS.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rlt_ros.config import ConfigError, from_mapping
from rlt_ros.nodes.parameters import PARAMETERS
from rlt_ros.sim.tasks import get_task

PACKAGE = "rlt_ros"
TARGETS = ("sim", "robot")
DEFAULT_BUNDLE = "small_aloha"


@dataclass(frozen=True)
class NodeSpec:
    """One process.

    Attributes:
        name: of node and executable.
        parameters: values that are not in the parameter file, or override it.
        remappings: topic names of ours -> topic names of the robot.
        required: the graph stops when this node dies.
        stop_seconds: how long it may take to stop before it is killed.
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    remappings: Mapping[str, str] = field(default_factory=dict)
    required: bool = True
    stop_seconds: float = 3.0


@dataclass(frozen=True)
class Bringup:
    """What to start.

    Attributes:
        target: `sim` or `robot`.
        task: task of the cell or name of the work on a robot.
        bundle: directory of the VLA bundle.
        config: ROS parameter file; None for the target's default.
        namespace: of all nodes.
        headless: do not open a window.
        seed: of start positions, exploration and learning.
        run_dir: where logs and checkpoints go; None: no checkpoints.
        settings: `node.parameter` -> value, beats everything else.
    """

    target: str = "sim"
    task: str = "ethernet"
    bundle: Path | None = None
    config: Path | None = None
    namespace: str = "/rlt"
    headless: bool = True
    seed: int = 0
    run_dir: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config_path(self) -> Path:
        """The parameter file in use."""
        return self.config or share_directory() / "config" / f"{self.target}.yaml"

    @property
    def bundle_path(self) -> Path:
        """The bundle in use."""
        return self.bundle or share_directory() / "bundles" / DEFAULT_BUNDLE

    def nodes(self) -> list[NodeSpec]:
        """The processes in the order in which they stop; they start in the reverse order.

        Raises:
            ConfigError: unknown target, node, parameter or value.
            ValueError: the simulated cell has no such task.
        """
        if self.target not in TARGETS:
            raise ConfigError(f"unknown target '{self.target}': choose {' or '.join(TARGETS)}")
        if self.target == "sim":
            get_task(self.task)
        bundle = {"bundle": str(self.bundle_path)}
        checkpoints = {"checkpoint_dir": str(self.run_dir / "checkpoints")} if self.run_dir else {}
        robot = _ROBOT_REMAPPINGS if self.target == "robot" else {}
        specs = [
            NodeSpec("session_node", {"task": self.task, "seed": self.seed}),
            NodeSpec("executor_node", {**bundle, "seed": self.seed}, robot),
            NodeSpec("vla_node", bundle, robot),
            NodeSpec("learner_node", {**bundle, "seed": self.seed, **checkpoints}, required=False, stop_seconds=15.0),
        ]
        if self.target == "sim":
            view = {"viewer": not self.headless}
            specs.append(NodeSpec("sim_node", {"task": self.task, "seed": self.seed, **view}))
        specs = [
            dataclasses.replace(spec, parameters={**spec.parameters, **self._settings(spec.name)}) for spec in specs
        ]
        self._check(specs)
        return specs

    def _settings(self, node: str) -> dict[str, Any]:
        prefix = f"{node}."
        return {key.removeprefix(prefix): value for key, value in self.settings.items() if key.startswith(prefix)}

    def _check(self, specs: list[NodeSpec]) -> None:
        """Everything that can be wrong in file and settings is found before any process starts."""
        names = [spec.name for spec in specs]
        for key in self.settings:
            if key.split(".")[0] not in names or "." not in key:
                raise ConfigError(f"--set {key}: write node.parameter=value with one of {', '.join(names)}")
        from_file = read_parameter_file(self.config_path)
        for node in from_file:
            if node not in names:
                raise ConfigError(f"{self.config_path}: unknown node '{node}'; known are {', '.join(names)}")
        for spec in specs:
            from_mapping(PARAMETERS[spec.name], {**from_file.get(spec.name, {}), **spec.parameters}, spec.name)


# Names of a ros2_control robot and of realsense-ros cameras, seen from inside our namespace.
_ROBOT_REMAPPINGS = {
    "joint_states": "/joint_states",
    "forward_position_controller/commands": "/forward_position_controller/commands",
    **{f"{name}/color/image_raw": f"/{name}/color/image_raw" for name in ("left_wrist", "right_wrist", "base")},
}


def read_parameter_file(path: Path) -> dict[str, dict[str, Any]]:
    """The parameters of a ROS parameter file, by node name (without the `/**/` of its namespace).

    Raises:
        ConfigError: the file is missing or not a ROS parameter file.
    """
    try:
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    out = {}
    for key, value in (data or {}).items():
        if not isinstance(value, dict) or set(value) != {"ros__parameters"}:
            raise ConfigError(f"{path}: '{key}' must hold 'ros__parameters' and nothing else")
        out[str(key).rsplit("/", 1)[-1]] = dict(value["ros__parameters"] or {})
    return out


def check_domain(environment: Mapping[str, str]) -> str:
    """The ROS domain in use.

    Raises:
        ConfigError: `ROS_DOMAIN_ID` is not a number that DDS can use on every system.
    """
    text = environment.get("ROS_DOMAIN_ID") or "0"
    if not text.isdigit() or int(text) > 101:
        raise ConfigError(f"ROS_DOMAIN_ID is '{text}': set it to a number from 0 to 101")
    return text


def share_directory() -> Path:
    """Where config, launch and bundles are installed; a source checkout is its own share directory."""
    source = Path(__file__).resolve().parents[1]
    if (source / "package.xml").is_file():
        return source
    from ament_index_python.packages import get_package_share_directory  # not installed in a source-only checkout

    return Path(get_package_share_directory(PACKAGE))
