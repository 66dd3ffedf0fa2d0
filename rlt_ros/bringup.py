"""What runs: the nodes of `sim` and `robot`, their parameters and remappings.

`rlt up` and the launch files both take their list from here. Importable without ROS.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlt_ros.config import ConfigError, from_mapping
from rlt_ros.nodes.parameters import (
    PARAMETERS,
    ExecutorParameters,
    SessionParameters,
    SimParameters,
    TeleopParameters,
    VlaParameters,
)
from rlt_ros.sim.names import SIMULATED_ROBOT
from rlt_ros.sim.tasks import get_task
from rlt_ros.vla.bundle import load_bundle
from rlt_ros.yaml_file import read_yaml

PACKAGE = "rlt_ros"
TARGETS = ("sim", "robot", "learner")
HUMANS = ("none", "simulated")
DEFAULT_BUNDLE = "small_aloha"


@dataclass(frozen=True)
class NodeSpec:
    """One process.

    Attributes:
        name: of node and executable.
        parameters: values that are not in the parameter file, or override it.
        remappings: topic names of ours -> topic names of the robot.
        required: the graph is nothing without this node.
        stage: lower ones stop first; those of one stage stop at once.
        restart: it is started again when it dies; a required node that is not ends the graph.
        stop_seconds: how long it may take to stop before it is killed.
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    remappings: Mapping[str, str] = field(default_factory=dict)
    required: bool = True
    restart: bool = False
    stage: int = 2
    stop_seconds: float = 3.0


@dataclass(frozen=True)
class Bringup:
    """What to start.

    Attributes:
        target: `sim`, `robot`, or `learner`: learner and recorder alone, for the robots of their parameter `robots`.
        task: task of the cell or name of the work on a robot; None for the file's.
        bundle: directory of the VLA bundle; None for the file's, or the shipped one.
        config: ROS parameter file; None for the target's default.
        namespace: of all nodes.
        driver: namespace of the robot's driver, cameras and joystick; empty: their names are global.
        headless: do not open a window.
        seed: of start positions, exploration and learning; None for the file's.
        learner: namespace of a learner that runs elsewhere and records too; None: both are started here.
        human: `none`: whoever holds the joystick; `simulated`: the cell's scripted human does (sim only).
        trained: no learner; the actor that ships with the bundle flies every other episode, the base the others.
        run_dir: where logs, journal and checkpoints go; None: neither journal nor checkpoints.
        episodes_before: of this run, when it is gone on with.
        epoch_before: of its last session.
        settings: `node.parameter` -> value, beats everything else.
        use_sim_time: all nodes live by `/clock`, a simulator's.
    """

    target: str = "sim"
    task: str | None = None
    bundle: Path | None = None
    config: Path | None = None
    namespace: str = "/rlt"
    driver: str = ""
    headless: bool = True
    seed: int | None = None
    learner: str | None = None
    human: str = "none"
    trained: bool = False
    run_dir: Path | None = None
    episodes_before: int = 0
    epoch_before: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    use_sim_time: bool = False

    @property
    def config_path(self) -> Path:
        """The parameter file in use."""
        name = "robot" if self.target == "learner" else self.target
        return self.config or share_directory() / "config" / f"{name}.yaml"

    @property
    def bundle_path(self) -> Path:
        """The bundle in use: the one given, the executor's in the parameter file, or the shipped one."""
        named = self.settings.get("executor_node.bundle") or self._from_file().get("executor_node", {}).get("bundle")
        return self.bundle or (Path(named) if named else share_directory() / "bundles" / DEFAULT_BUNDLE)

    @property
    def task_name(self) -> str:
        """The task in use: the one given, or the session's in the parameter file."""
        named = self._from_file().get("session_node", {}).get("task", SessionParameters.task)
        return self.task or str(named)

    def parameters(self, node: str) -> dict[str, Any]:
        """The parameters of `node` in the parameter file, overridden by the settings."""
        return {**self._from_file().get(node, {}), **self._settings(node)}

    def _from_file(self) -> dict[str, dict[str, Any]]:
        return read_parameter_file(self.config_path, self.namespace)

    def nodes(self) -> list[NodeSpec]:
        """The processes in the reverse of the order in which they start.

        The session stops first, so that nobody asks for motion any more; then the executor, with a hold as its last
        command; then what it listened to; then recorder and robot.

        Raises:
            ConfigError: unknown target, node, parameter or value.
            ValueError: the simulated cell has no such task.
        """
        if self.target not in TARGETS:
            raise ConfigError(f"unknown target '{self.target}': choose {', '.join(TARGETS)}")
        if self.learner is not None and (self.trained or self.target == "learner"):
            raise ConfigError("--learner names a learner elsewhere: it goes with a robot that is to learn")
        if self.human not in HUMANS:
            raise ConfigError(f"unknown human '{self.human}': choose {' or '.join(HUMANS)}")
        simulated = self.human == "simulated"
        if self.target == "sim":
            get_task(self.task_name)
        elif simulated:
            raise ConfigError("a simulated human lives in the simulated cell only: 'rlt up sim --human simulated'")
        bundle = {"bundle": str(self.bundle_path)}
        known = {"robot": self.robot} if self.robot else {}
        kept: dict[str, str] = {}
        if self.run_dir:
            kept = {"checkpoint_dir": str(self.run_dir / "checkpoints"), "journal_dir": str(self.run_dir / "journal")}
        robot = self.remappings()
        weights = {} if self.learner is None else {"policy": f"{self.learner.rstrip('/')}/policy"}
        seed = {} if self.seed is None else {"seed": self.seed}
        task = {"task": self.task_name}
        actor = {"actor": str(shipped_actor(self.bundle_path, self.task_name))} if self.trained else {}
        compared = {"warmup_episodes": 0, "base_every": 2, "explore_share": 0.0, "learner_wait": 0.0}
        before = {name: getattr(self, name) for name in ("episodes_before", "epoch_before") if getattr(self, name)}
        specs = [
            NodeSpec(
                "session_node", {**task, **seed, **before, **(compared if self.trained else {})}, weights, stage=0
            ),
            NodeSpec("executor_node", {**bundle, **known, **seed, **actor}, {**robot, **weights}, stage=1),
            NodeSpec(
                "teleop_node",
                {**bundle, **({"mapping": "simulated"} if simulated else {})},
                robot,
                required=False,
                restart=True,
            ),
            NodeSpec("vla_node", {**bundle, **known, **task}, robot, restart=True),
            NodeSpec("learner_node", {**bundle, **seed, **kept}, required=False, restart=True, stop_seconds=15.0),
        ]
        if self.target != "learner":
            shown = {"cameras": list(self.parameters("vla_node").get("cameras", VlaParameters.cameras))}
            shown = {} if "cameras" in self.parameters("console_node") else shown
            far = {} if self.learner is None else {"learner_status": f"{self.learner.rstrip('/')}/learner_status"}
            specs.append(NodeSpec("console_node", shown, {**robot, **far}, required=False, restart=True))
        if self.run_dir:
            # Started before and stopped after all that it records.
            journal = {"directory": kept["journal_dir"]}
            recorder = NodeSpec(
                "recorder_node", journal, robot, required=False, restart=True, stage=3, stop_seconds=10.0
            )
            specs.append(recorder)
        if self.trained or self.learner is not None:
            specs = [spec for spec in specs if spec.name != "learner_node"]
        if self.learner is not None:
            specs = [spec for spec in specs if spec.name != "recorder_node"]
        if self.target == "learner":
            specs = [spec for spec in specs if spec.name in ("learner_node", "recorder_node")]
        if self.target == "sim":
            shown = self.parameters("sim_node").get("demonstrations", SimParameters.demonstrations)
            view = {"viewer": not self.headless, "demonstrations": max(0, int(shown) - self.episodes_before)}
            specs.append(NodeSpec("sim_node", {**task, **seed, **view, "human": simulated}, stage=3))
        if self.target == "robot" and "camera_node" in self._from_file():
            specs.append(NodeSpec("camera_node", bundle, robot, restart=True))
        if not simulated and self.target != "learner":
            specs.append(NodeSpec("joystick_node", {}, robot, required=False, restart=True))
        specs = [
            dataclasses.replace(spec, parameters={**spec.parameters, **self._settings(spec.name)}) for spec in specs
        ]
        self._check(specs)
        if self.use_sim_time:
            specs = [dataclasses.replace(spec, parameters={**spec.parameters, "use_sim_time": True}) for spec in specs]
        return specs

    @property
    def robot(self) -> str:
        """The robot's name: the executor's in file and settings, or the simulated cell's."""
        named = self.parameters("executor_node").get("robot", "")
        return str(named) or (SIMULATED_ROBOT if self.target == "sim" else "")

    def check_robot(self) -> None:
        """A bundle flies only the robot that it names.

        Raises:
            ConfigError: the robot has no name, or the bundle is another one's.
        """
        bundle = load_bundle(self.bundle_path)
        if not self.robot:
            raise ConfigError(
                f"{self.config_path} does not name the robot: set executor_node.robot to the name that its bundle has "
                f"(the bundle in use, {self.bundle_path}, flies '{bundle.robot}')"
            )
        bundle.check_fits(bundle.joints, bundle.cameras, robot=self.robot)

    def command_topics(self) -> list[str]:
        """Where a robot's commands go, as everybody names it; none in the simulated cell."""
        if self.target != "robot":
            return []
        topics = from_mapping(ExecutorParameters, self.parameters("executor_node"), "executor_node").wire_topics
        return [name if name.startswith("/") else f"{self.driver.rstrip('/')}/{name}" for name in topics]

    def remappings(self) -> dict[str, str]:
        """Names of a ros2_control robot and of realsense-ros cameras, seen from inside our namespace."""
        if self.target != "robot":
            return {}
        from_file = self._from_file()
        topics = from_mapping(ExecutorParameters, self.parameters("executor_node"), "executor_node").wire_topics
        cameras = from_file.get("vla_node", {}).get("cameras", VlaParameters.cameras)
        leader = from_file.get("teleop_node", {}).get("leader_topic", TeleopParameters.leader_topic)
        ours = [
            "joint_states",
            "robot_description",
            "joy",
            leader,
            *topics,
            *(f"{name}/color/{topic}" for name in cameras for topic in ("image_raw", "camera_info")),
        ]
        return {name: f"{self.driver.rstrip('/')}/{name}" for name in ours if not name.startswith("/")}

    def _settings(self, node: str) -> dict[str, Any]:
        prefix = f"{node}."
        return {key.removeprefix(prefix): value for key, value in self.settings.items() if key.startswith(prefix)}

    def _check(self, specs: list[NodeSpec]) -> None:
        """Everything that can be wrong in file and settings is found before any process starts."""
        names = [spec.name for spec in specs]
        # The file may speak of what does not run this time.
        elsewhere = ("learner_node", "joystick_node", "recorder_node", "console_node")
        names += [name for name in (PARAMETERS if self.target == "learner" else elsewhere) if name not in names]
        for key in self.settings:
            if key.split(".")[0] not in names or "." not in key:
                raise ConfigError(f"--set {key}: write node.parameter=value with one of {', '.join(names)}")
        from_file = self._from_file()
        for node in from_file:
            if node not in names:
                raise ConfigError(f"{self.config_path}: unknown node '{node}'; known are {', '.join(names)}")
        for spec in specs:
            read: Any = from_mapping(
                PARAMETERS[spec.name], {**from_file.get(spec.name, {}), **spec.parameters}, spec.name
            )
            if hasattr(read, "check"):
                read.check()


def read_parameter_file(path: Path, namespace: str = "/rlt") -> dict[str, dict[str, Any]]:
    """The parameters of a ROS parameter file, by node name.

    Args:
        path: of the file.
        namespace: of the nodes; keys must be `/**/node` or `<namespace>/node`, others ROS would silently ignore.

    Raises:
        ConfigError: the file is missing or not a ROS parameter file.
    """
    data = read_yaml(path, ConfigError, ros=True)
    if not isinstance(data or {}, dict):
        raise ConfigError(f"{path} must hold a mapping of node names, it holds a {type(data).__name__}")
    out: dict[str, dict[str, Any]] = {}
    for key, value in (data or {}).items():
        where, _, node = str(key).rpartition("/")
        if where not in ("/**", namespace.rstrip("/")):
            raise ConfigError(f"{path}: '{key}' is no node of ours to ROS: write '/**/{node}'")
        if not isinstance(value, dict) or set(value) != {"ros__parameters"}:
            raise ConfigError(f"{path}: '{key}' must hold 'ros__parameters' and nothing else")
        if not isinstance(value["ros__parameters"], dict):
            raise ConfigError(f"{path}: 'ros__parameters' of '{key}' must be a mapping")
        if node in out:
            raise ConfigError(f"{path}: '{node}' stands there twice; put its parameters under one key")
        given = {name: _ros_reads(path, node, name, value) for name, value in value["ros__parameters"].items()}
        # ROS's own parameter, of every node.
        if not isinstance(given.pop("use_sim_time", False), bool):
            raise ConfigError(f"{path}: {node}.use_sim_time must be true or false")
        out[node] = given
    return out


def _ros_reads(path: Path, node: str, name: str, value: Any) -> Any:
    """A parameter's value, if ROS reads it as we do.

    Raises:
        ConfigError: ROS would refuse it, or read something else.
    """
    where = f"{path}: {node}.{name}"
    if value is None:
        raise ConfigError(f"{where} has no value; write one, '' for an empty text, or leave it out")
    if isinstance(value, dict):
        raise ConfigError(f"{where} is a mapping, which ROS reads as parameters '{name}.{next(iter(value), '')}', ...")
    if isinstance(value, list):
        kinds = sorted({type(item).__name__ for item in value})
        if {"list", "dict", "NoneType"} & set(kinds):
            raise ConfigError(f"{where} must be a plain list of values")
        if kinds == ["float", "int"]:
            raise ConfigError(f"{where} mixes whole and other numbers, which ROS refuses: write {float(value[0])} etc.")
        if len(kinds) > 1:
            raise ConfigError(f"{where} mixes {' and '.join(kinds)}, which ROS refuses")
    return value


def shipped_actor(bundle: Path, task: str) -> Path:
    """The trained actor beside a bundle.

    Raises:
        ConfigError: none ships for this task.
    """
    path = bundle / "actors" / task / "actor.safetensors"
    if not path.is_file():
        known = sorted(found.parent.name for found in bundle.glob("actors/*/actor.safetensors"))
        raise ConfigError(f"{bundle} has no trained actor for '{task}'; it has {', '.join(known) or 'none'}")
    return path


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
