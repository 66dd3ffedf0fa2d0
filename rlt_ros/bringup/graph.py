"""What runs: the nodes of `sim` and `robot`, their parameters and remappings.

`rlt up` and the launch files both take their list from here. Importable without ROS.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rlt_ros.bringup.parameter_file import read_parameter_file
from rlt_ros.bringup.parameters import PARAMETERS
from rlt_ros.config import ConfigError, from_mapping
from rlt_ros.control.config import ExecutorParameters
from rlt_ros.rl.config import RECIPES
from rlt_ros.robot import derive
from rlt_ros.robot.description import read_robot
from rlt_ros.robot.sections import Robot
from rlt_ros.session.config import SessionParameters
from rlt_ros.share import share_directory
from rlt_ros.sim.config import SimParameters
from rlt_ros.sim.tasks import get_task
from rlt_ros.teleop.config import TeleopParameters
from rlt_ros.vla.bundle import BundleError, load_bundle, shipped_actor

TARGETS = ("sim", "robot", "learner")
HUMANS = ("none", "simulated")
DEFAULT_BUNDLE = "small_aloha"
CELL = share_directory() / "config" / "robots" / "aloha.yaml"
"""What the simulated cell is to the nodes."""


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
        robot_file: description of the robot (robot.yaml), which parameter file and settings override; None: there is
            only a parameter file.
        namespace: of all nodes.
        driver: namespace of the robot's driver, cameras and joystick; empty: their names are global.
        headless: do not open a window.
        seed: of start positions, exploration and learning; None for the file's.
        learner: namespace of a learner that runs elsewhere and records too; None: both are started here.
        recipe: named settings of learning, see `rlt_ros.rl.config.RECIPES`.
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
    robot_file: Path | None = None
    namespace: str = "/rlt"
    driver: str = ""
    headless: bool = True
    seed: int | None = None
    learner: str | None = None
    recipe: str = "default"
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
        named = self.settings.get("executor_node.bundle") or self._from_file.get("executor_node", {}).get("bundle")
        return self.bundle or (Path(named) if named else share_directory() / "bundles" / DEFAULT_BUNDLE)

    @property
    def task_name(self) -> str:
        """The task in use: the one given, or the session's in the parameter file."""
        named = self._from_file.get("session_node", {}).get("task", SessionParameters.task)
        return self.task or str(named)

    def parameters(self, node: str) -> dict[str, Any]:
        """The parameters of `node`: settings, beneath them the parameter file, the recipe, and what the robot is."""
        return {**self._beneath(node), **self._from_file.get(node, {}), **self._settings(node)}

    @cached_property
    def _from_file(self) -> dict[str, dict[str, Any]]:
        return read_parameter_file(self.config_path, self.namespace)

    @cached_property
    def _from_recipe(self) -> dict[str, dict[str, Any]]:
        if self.recipe == "default":
            return {}
        if self.recipe not in RECIPES:
            raise ConfigError(f"unknown recipe '{self.recipe}': choose {' or '.join(RECIPES)}")
        return read_parameter_file(share_directory() / "config" / f"recipe_{self.recipe}.yaml", self.namespace)

    def of_robot(self, node: str) -> dict[str, Any]:
        """What all nodes are told of the robot, where neither file nor settings say it."""
        return dict(self._described.get(node, {}))

    def _beneath(self, node: str) -> dict[str, Any]:
        """What a node is told of the robot, and by the recipe, where neither file nor settings say it."""
        return {**self.of_robot(node), **self._from_recipe.get(node, {})}

    @cached_property
    def described(self) -> Robot | None:
        """The robot that `robot_file` describes, or the simulated cell's."""
        return read_robot(self._described_in) if self._described_in is not None else None

    @property
    def _described_in(self) -> Path | None:
        return CELL if self.target == "sim" else self.robot_file

    @cached_property
    def _described(self) -> dict[str, dict[str, Any]]:
        if self.described is None or self._described_in is None:
            return {}
        return derive.node_parameters(self.described, self._described_in)

    def nodes(self) -> list[NodeSpec]:
        """The processes in the reverse of the order in which they start.

        The session stops first, so that nobody asks for motion any more; then the executor, with a hold as its last
        command; then what it listened to; then recorder and robot.

        Raises:
            ConfigError: unknown target, node, parameter or value.
            ValueError: the simulated cell has no such task.
        """
        self._check_choices()
        if self.target == "learner":
            specs = [self._learner(), *self._recorder()]
        else:
            learns = self.has_vla and not self.trained and self.learner is None
            specs = [
                *(self._session(), self._executor(), self._teleop()),
                *([self._vla()] if self.has_vla else []),
                *([self._learner()] if learns else []),
                self._console(),
                *(self._recorder() if self.learner is None else []),
                *self._driver(),
            ]
        specs = [self._completed(spec) for spec in specs]
        self._check(specs)
        if self.use_sim_time:
            specs = [dataclasses.replace(spec, parameters={**spec.parameters, "use_sim_time": True}) for spec in specs]
        return specs

    def _check_choices(self) -> None:
        if self.target not in TARGETS:
            raise ConfigError(f"unknown target '{self.target}': choose {', '.join(TARGETS)}")
        if self.learner is not None and (self.trained or self.target == "learner"):
            raise ConfigError("--learner names a learner elsewhere: it goes with a robot that is to learn")
        if self.human not in HUMANS:
            raise ConfigError(f"unknown human '{self.human}': choose {' or '.join(HUMANS)}")
        if self.target == "sim":
            if self.robot_file is not None:
                raise ConfigError("--robot describes a robot: it goes with 'rlt up robot'")
            get_task(self.task_name)
        elif self.target == "robot" and self.described is None and not self.parameters("executor_node").get("joints"):
            raise ConfigError(
                "which robot? Describe it with --robot FILE: 'rlt init robot' writes a first one from what its driver "
                f"says, {share_directory() / 'config' / 'robots'} has examples"
            )
        elif self._simulated_human:
            raise ConfigError("a simulated human lives in the simulated cell only: 'rlt up sim --human simulated'")

    @cached_property
    def has_vla(self) -> bool:
        """Whether the bundle has one; without it a human flies, and there is nothing to learn on top of."""
        try:
            return load_bundle(self.bundle_path).has_vla
        except BundleError:
            return True  # whoever starts with it says what is wrong

    @property
    def _simulated_human(self) -> bool:
        return self.human == "simulated"

    @property
    def _bundle(self) -> dict[str, Any]:
        return {"bundle": str(self.bundle_path)}

    @property
    def _bundle_and_robot(self) -> dict[str, Any]:
        return {**self._bundle, **({"robot": self.robot} if self.robot else {})}

    @property
    def _seed(self) -> dict[str, Any]:
        return {} if self.seed is None else {"seed": self.seed}

    @property
    def _weights(self) -> dict[str, str]:
        return {} if self.learner is None else {"policy": f"{self.learner.rstrip('/')}/policy"}

    def _session(self) -> NodeSpec:
        before = {name: getattr(self, name) for name in ("episodes_before", "epoch_before") if getattr(self, name)}
        compared = {"warmup_episodes": 0, "base_every": 2, "explore_share": 0.0, "learner_wait": 0.0}
        parameters = {"task": self.task_name, **self._seed, **before, **(compared if self.trained else {})}
        return NodeSpec("session_node", parameters, self._weights, stage=0)

    def _executor(self) -> NodeSpec:
        actor = {"actor": str(shipped_actor(self.bundle_path, self.task_name))} if self.trained else {}
        parameters = {**self._bundle_and_robot, **self._seed, **actor}
        return NodeSpec("executor_node", parameters, {**self.remappings(), **self._weights}, stage=1)

    def _teleop(self) -> NodeSpec:
        parameters = {**self._bundle, **({"mapping": "simulated"} if self._simulated_human else {})}
        return NodeSpec("teleop_node", parameters, self.remappings(), required=False, restart=True)

    def _vla(self) -> NodeSpec:
        parameters = {**self._bundle_and_robot, "task": self.task_name}
        return NodeSpec("vla_node", parameters, self.remappings(), restart=True)

    def _learner(self) -> NodeSpec:
        kept = {}
        if self.run_dir:
            kept = {"checkpoint_dir": str(self.run_dir / "checkpoints"), "journal_dir": str(self.run_dir / "journal")}
        parameters = {**self._bundle, **self._seed, **kept}
        return NodeSpec("learner_node", parameters, required=False, restart=True, stop_seconds=15.0)

    def _console(self) -> NodeSpec:
        far = {} if self.learner is None else {"learner_status": f"{self.learner.rstrip('/')}/learner_status"}
        parameters = self._cameras("console_node")
        return NodeSpec("console_node", parameters, {**self.remappings(), **far}, required=False, restart=True)

    def _recorder(self) -> list[NodeSpec]:
        """Started before and stopped after all that it records."""
        if not self.run_dir:
            return []
        parameters = {"directory": str(self.run_dir / "journal"), **self._cameras("recorder_node")}
        options: dict[str, Any] = {"required": False, "restart": True, "stage": 3, "stop_seconds": 10.0}
        return [NodeSpec("recorder_node", parameters, self.remappings(), **options)]

    def _driver(self) -> list[NodeSpec]:
        """What is part of the robot: the cell, or our cameras, and the joystick."""
        specs = []
        if self.target == "sim":
            parameters = self.parameters("sim_node")
            demonstrations = int(parameters.get("demonstrations", SimParameters.demonstrations)) - self.episodes_before
            view = {"viewer": not self.headless, "demonstrations": max(0, demonstrations)}
            parameters = {"task": self.task_name, **self._seed, **view, "human": self._simulated_human}
            specs.append(NodeSpec("sim_node", parameters, stage=3))
        elif "camera_node" in self._from_file:
            parameters = {**self._bundle, **self._cameras("camera_node")}
            specs.append(NodeSpec("camera_node", parameters, self.remappings(), restart=True))
        if not self._simulated_human:
            specs.append(NodeSpec("joystick_node", {}, self.remappings(), required=False, restart=True))
        return specs

    def _cameras(self, node: str) -> dict[str, Any]:
        """The VLA's cameras, for a node that is told of no others."""
        return {"cameras": self.cameras} if "cameras" not in self.parameters(node) else {}

    def _completed(self, spec: NodeSpec) -> NodeSpec:
        """With what the robot is beneath the parameter file, and the settings above everything."""
        file = self._from_file.get(spec.name, {})
        beneath = {name: value for name, value in self._beneath(spec.name).items() if name not in file}
        return dataclasses.replace(spec, parameters={**beneath, **spec.parameters, **self._settings(spec.name)})

    @cached_property
    def cameras(self) -> list[str]:
        """The VLA's cameras: those in file and settings, else the bundle's."""
        given = self.parameters("vla_node").get("cameras", [])
        return [name for name in given if name] or list(load_bundle(self.bundle_path).cameras)

    @property
    def robot(self) -> str:
        """The robot's name: the executor's in file and settings, or the simulated cell's."""
        return str(self.parameters("executor_node").get("robot", ""))

    @property
    def period(self) -> float:
        """Seconds between two commands."""
        given = self.parameters("executor_node").get("period", ExecutorParameters.period)
        return float(given or load_bundle(self.bundle_path).period)

    def check_robot(self) -> None:
        """A bundle flies only the robot that it names.

        Raises:
            ConfigError: the robot has no name, or the bundle is another one's.
        """
        bundle = load_bundle(self.bundle_path)
        if not self.robot:
            raise ConfigError(
                f"{self.config_path} does not name the robot: describe it (--robot FILE), or set executor_node.robot "
                f"to the name that its bundle has (the bundle in use, {self.bundle_path}, flies '{bundle.robot}')"
            )
        bundle.check_fits(bundle.joints, bundle.cameras, robot=self.robot)

    def command_topics(self) -> list[str]:
        """Where a robot's commands go, as everybody names it; none in the simulated cell."""
        if self.target != "robot":
            return []
        return [self._outside(name) for name in self._command_topics]

    @property
    def _command_topics(self) -> list[str]:
        parameters = from_mapping(ExecutorParameters, self.parameters("executor_node"), "executor_node")
        if self.described is not None and parameters.described:
            return derive.command_topics(self.described)
        return list(parameters.wire_topics)

    def remappings(self) -> dict[str, str]:
        """Names of a robot's driver and of its cameras, seen from inside our namespace."""
        if self.target != "robot":
            return {}
        pictures = {
            f"{name}/color/{topic}": f"{name}/color/{topic}"
            for name in self.cameras
            for topic in ("image_raw", "camera_info")
        }
        if self.described is not None:
            pictures |= derive.camera_topics(self.described)
            known = ("joy", *derive.topics(self.described), *self._command_topics)
            names = {name: name for name in known if not name.startswith("/")}
            return {ours: self._outside(theirs) for ours, theirs in {**names, **pictures}.items()}
        leader = self.parameters("teleop_node").get("leader_topic", TeleopParameters.leader_topic)
        ours = [
            "joint_states",
            "robot_description",
            "joy",
            leader,
            *self._command_topics,
            *pictures,
        ]
        return {name: self._outside(name) for name in ours if not name.startswith("/")}

    def _outside(self, name: str) -> str:
        """A name of the robot's, as everybody has it."""
        return name if name.startswith("/") else f"{self.driver.rstrip('/')}/{name}"

    def _settings(self, node: str) -> dict[str, Any]:
        prefix = f"{node}."
        return {key.removeprefix(prefix): value for key, value in self.settings.items() if key.startswith(prefix)}

    def _check(self, specs: list[NodeSpec]) -> None:
        """Everything that can be wrong in file and settings is found before any process starts."""
        names = [spec.name for spec in specs]
        # The file may speak of what does not run this time.
        elsewhere = ("vla_node", "learner_node", "joystick_node", "recorder_node", "console_node")
        names += [name for name in (PARAMETERS if self.target == "learner" else elsewhere) if name not in names]
        for key in self.settings:
            if key.split(".")[0] not in names or "." not in key:
                raise ConfigError(f"--set {key}: write node.parameter=value with one of {', '.join(names)}")
        for node in self._from_file:
            if node not in names:
                raise ConfigError(f"{self.config_path}: unknown node '{node}'; known are {', '.join(names)}")
        for spec in specs:
            read: Any = from_mapping(
                PARAMETERS[spec.name], {**self._from_file.get(spec.name, {}), **spec.parameters}, spec.name
            )
            if hasattr(read, "check"):
                read.check()


def check_domain(environment: Mapping[str, str]) -> str:
    """The ROS domain in use.

    Raises:
        ConfigError: `ROS_DOMAIN_ID` is not a number that DDS can use on every system.
    """
    text = environment.get("ROS_DOMAIN_ID") or "0"
    if not text.isdigit() or int(text) > 101:
        raise ConfigError(f"ROS_DOMAIN_ID is '{text}': set it to a number from 0 to 101")
    return text
