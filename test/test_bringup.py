"""Bring-up: what is wrong in files and settings is found before any process starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from rlt_ros.bringup.graph import TARGETS, Bringup
from rlt_ros.bringup.parameters import PARAMETERS
from rlt_ros.config import ConfigError, from_mapping
from rlt_ros.rl.config import LearnerConfig, LearnerParameters
from rlt_ros.share import share_directory
from rlt_ros.vla.bundle import load_bundle

ALOHA = share_directory() / "config" / "robots" / "aloha.yaml"


def robot(**changes: object) -> Bringup:
    """The cell's robot as a real one."""
    return Bringup(target="robot", robot_file=ALOHA, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("target", TARGETS)
def test_the_shipped_parameters_are_valid(target: str) -> None:
    specs = Bringup(target=target, robot_file=ALOHA if target == "robot" else None).nodes()
    assert {spec.name for spec in specs} <= set(PARAMETERS)
    assert ("sim_node" in {spec.name for spec in specs}) == (target == "sim")


def test_the_session_stops_before_the_executor_and_the_executor_before_the_robot(tmp_path: Path) -> None:
    stage = {spec.name: spec.stage for spec in Bringup(run_dir=tmp_path).nodes()}
    assert stage["session_node"] < stage["executor_node"] < stage["vla_node"] < stage["sim_node"]
    assert stage["learner_node"] < stage["recorder_node"], "what it learns last is recorded"


def test_who_may_die_and_who_starts_again(tmp_path: Path) -> None:
    specs = Bringup(run_dir=tmp_path).nodes()
    optional = [spec.name for spec in specs if not spec.required]
    assert optional == ["teleop_node", "learner_node", "console_node", "recorder_node", "joystick_node"]
    never = [spec.name for spec in specs if not spec.restart]
    assert never == ["session_node", "executor_node", "sim_node"], "a robot that moves by itself again surprises"


def test_a_learner_elsewhere_records_too(tmp_path: Path) -> None:
    specs = {spec.name: spec for spec in robot(learner="/fleet", run_dir=tmp_path).nodes()}
    assert not {"learner_node", "recorder_node"} & set(specs)
    assert specs["executor_node"].remappings["policy"] == "/fleet/policy"
    assert specs["session_node"].remappings["policy"] == "/fleet/policy"
    settings = {"learner_node.robots": ["/cell_1", "/cell_2"], "recorder_node.robots": ["/cell_1", "/cell_2"]}
    there = Bringup(target="learner", namespace="/fleet", run_dir=tmp_path, settings=settings).nodes()
    assert [spec.name for spec in there] == ["learner_node", "recorder_node"]
    with pytest.raises(ConfigError, match="names a learner elsewhere"):
        Bringup(learner="/fleet", trained=True).nodes()


def test_a_run_that_is_gone_on_with_needs_no_second_warm_up(tmp_path: Path) -> None:
    specs = {spec.name: spec for spec in Bringup(run_dir=tmp_path, episodes_before=4).nodes()}
    assert specs["session_node"].parameters["episodes_before"] == 4
    assert specs["sim_node"].parameters["demonstrations"] == 2, "of six"


def test_a_simulated_human_takes_the_joysticks_place() -> None:
    specs = {spec.name: spec for spec in Bringup(human="simulated").nodes()}
    assert "joystick_node" not in specs
    assert specs["sim_node"].parameters["human"] is True
    assert specs["teleop_node"].parameters["mapping"] == "simulated"
    alone = {spec.name: spec for spec in Bringup().nodes()}
    assert alone["sim_node"].parameters["human"] is False
    with pytest.raises(ConfigError, match="lives in the simulated cell only"):
        robot(human="simulated").nodes()
    with pytest.raises(ConfigError, match="choose none or simulated"):
        Bringup(human="robot").nodes()


def test_a_choice_that_does_not_exist_is_refused_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match="handover 'later' is unknown"):
        Bringup(settings={"session_node.handover": "later"}).nodes()


def test_a_recipe_lies_beneath_file_and_settings(tmp_path: Path) -> None:
    def learner(make: Callable[..., Bringup] = Bringup, **changes: object) -> LearnerParameters:
        made = make(**changes)
        spec = next(spec for spec in made.nodes() if spec.name == "learner_node")
        given = {**made.parameters("learner_node"), **spec.parameters}
        return from_mapping(LearnerParameters, given, "learner_node")

    for make in (Bringup, robot):
        mine = asdict(learner(make))
        assert {name: mine[name] for name in asdict(LearnerConfig())} == asdict(LearnerConfig()), make
    assert not learner(recipe="paper").selection
    assert learner(recipe="paper", settings={"learner_node.critics": 3}).critics == 3
    file = tmp_path / "mine.yaml"
    file.write_text("/**/learner_node:\n  ros__parameters:\n    update_ratio: 0.7\n")
    assert learner(recipe="paper", config=file).update_ratio == 0.7
    with pytest.raises(ConfigError, match="unknown recipe 'secret': choose default or paper"):
        Bringup(recipe="secret").nodes()


def test_settings_beat_the_file_and_land_at_their_node() -> None:
    specs = {spec.name: spec for spec in Bringup(settings={"session_node.time_limit": 5}).nodes()}
    assert specs["session_node"].parameters["time_limit"] == 5
    assert "time_limit" not in specs["learner_node"].parameters


def test_a_trained_actor_flies_in_turn_with_the_base_and_without_a_learner(tmp_path: Path) -> None:
    file = tmp_path / "actors" / "ethernet" / "actor.safetensors"
    file.parent.mkdir(parents=True)
    file.touch()
    specs = {spec.name: spec for spec in Bringup(bundle=tmp_path, trained=True).nodes()}
    assert "learner_node" not in specs
    assert specs["executor_node"].parameters["actor"] == str(file)
    assert specs["session_node"].parameters["base_every"] == 2
    assert specs["sim_node"].parameters["human"] is False, "what is compared flies alone"
    with pytest.raises(ConfigError, match="no trained actor for 'charger'; it has ethernet"):
        Bringup(bundle=tmp_path, task="charger", trained=True).nodes()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sesion_node.time_limit": 5}, "one of session_node, executor_node"),
        ({"session_node": 5}, "node.parameter=value"),
        ({"session_node.time_limt": 5}, "unknown parameter time_limt"),
        ({"session_node.time_limit": "long"}, "must be float"),
        ({"session_node.time_limit": -1.0}, "out of range"),
    ],
)
def test_a_wrong_setting_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Bringup(settings=settings).nodes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("/**/executor_node: {ros__parameters: {periode: 0.02}}", "unknown parameter periode"),
        ("/**/exekutor_node: {ros__parameters: {}}", "unknown node 'exekutor_node'"),
        ("/**/executor_node: {period: 0.02}", "must hold 'ros__parameters'"),
        ("a: [", "not valid YAML"),
        ("[1, 2]", "must hold a mapping"),
        ("/**/executor_node: {ros__parameters: [1]}", "must be a mapping"),
        ("executor_node: {ros__parameters: {period: 0.02}}", "no node of ours to ROS: write '/../executor_node'"),
        ("/a/executor_node: {ros__parameters: {}}", "no node of ours"),
        ("/**/vla_node: {ros__parameters: {}}\n/rlt/vla_node: {ros__parameters: {}}", "stands there twice"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "robot.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        Bringup(config=file).nodes()
    with pytest.raises(ConfigError, match="cannot read"):
        Bringup(config=tmp_path / "absent.yaml").nodes()


def test_an_unknown_target_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="choose sim, robot, learner"):
        Bringup(target="mars").nodes()


def test_every_joint_of_the_described_robot_has_its_limits() -> None:
    executor = robot().parameters("executor_node")
    lists = ("joints", "joint_low", "joint_high", "joint_velocity", "joint_acceleration", "joint_following")
    assert {len(executor[name]) for name in lists} == {14}


def test_file_and_settings_beat_the_description(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("/**/executor_node: {ros__parameters: {joint_velocity: [0.1], robot: other}}")
    specs = {spec.name: spec for spec in robot(config=file, settings={"executor_node.robot": "third"}).nodes()}
    assert "joint_velocity" not in specs["executor_node"].parameters, "ROS takes the file's"
    assert specs["executor_node"].parameters["robot"] == "third"
    assert specs["executor_node"].parameters["joints"] == specs["vla_node"].parameters["joints"]


def test_a_robot_that_nobody_describes_is_told_how() -> None:
    with pytest.raises(ConfigError, match=r"which robot.*rlt init robot"):
        Bringup(target="robot").nodes()
    with pytest.raises(ConfigError, match="goes with 'rlt up robot'"):
        Bringup(robot_file=ALOHA).nodes()


def test_a_described_robots_topics_are_its_drivers(tmp_path: Path) -> None:
    file = tmp_path / "robot.yaml"
    file.write_text(
        "name: r\nrate: 50\narms: {a: {joints: [j]}}\nlimits: {j: {low: -1, high: 1, velocity: 1}}\n"
        "sources: [{topic: /driver/joint_states, joints: {joint_1: j}}]\n"
        "controllers: [{topic: my_controller/commands, joints: [j]}]\n"
        "cameras: {wrist: /camera/camera/color/image_raw, base: cam/image_raw/compressed}\n"
    )
    bringup = Bringup(target="robot", robot_file=file, driver="/cell", run_dir=tmp_path / "run")
    assert bringup.command_topics() == ["/cell/my_controller/commands"]
    assert bringup.remappings() == {
        "joy": "/cell/joy",
        "robot_description": "/cell/robot_description",
        "my_controller/commands": "/cell/my_controller/commands",
        "wrist/color/image_raw": "/camera/camera/color/image_raw",
        "wrist/color/camera_info": "/camera/camera/color/camera_info",
        "base/color/image_raw": "/cell/cam/image_raw/compressed",
        "base/color/camera_info": "/cell/cam/camera_info",
    }
    specs = {spec.name: spec for spec in bringup.nodes()}
    for node in ("vla_node", "recorder_node", "console_node"):
        assert specs[node].parameters["cameras"] == ["wrist", "base"]


def test_launch_files_start_the_same_nodes() -> None:
    launch = pytest.importorskip("launch", reason="needs a ROS distribution's launch")
    pytest.importorskip("launch_ros", reason="needs a ROS distribution's launch_ros")
    from rlt_ros.bringup.launching import launch_description

    for target in TARGETS:
        context = launch.LaunchContext()
        actions = launch_description(target).entities
        for action in actions[:-1]:
            action.execute(context)
        nodes = actions[-1].execute(context)
        specs = Bringup(target=target).nodes()
        assert [node.node_executable for node in nodes] == [spec.name for spec in specs]


def test_interfaces_explain_every_field() -> None:
    """An integrator reads the .msg files: each field says what it is, in its unit."""
    for path in sorted(share_directory().glob("msg/*.msg")):
        for line in path.read_text().splitlines():
            code = line.split("#")[0].strip()
            if code and "=" not in code and code not in ("std_msgs/Header header", "---"):
                assert "#" in line, f"{path.name}: {line}"


def test_parameter_files_are_plain_ros_parameter_files() -> None:
    for path in (share_directory() / "config").glob("*.yaml"):
        assert all(key.startswith("/**/") for key in yaml.safe_load(path.read_text()))


def test_a_second_robots_driver_has_a_namespace_of_its_own() -> None:
    one, two = robot(), robot(namespace="/cell_2", driver="/right_robot")
    assert one.command_topics() == ["/forward_position_controller/commands"]
    assert two.command_topics() == ["/right_robot/forward_position_controller/commands"]
    assert set(one.remappings()) == set(two.remappings())
    assert {name: f"/right_robot{theirs}" for name, theirs in one.remappings().items()} == two.remappings()
    for spec in two.nodes():
        if spec.name in ("executor_node", "vla_node"):
            assert spec.remappings["joint_states"] == "/right_robot/joint_states"


def test_cameras_that_no_file_names_are_the_bundles(tmp_path: Path) -> None:
    """Without their names nothing would be remapped, and the VLA would wait for pictures without a word."""
    file = tmp_path / "robot.yaml"
    file.write_text(
        "/**/executor_node: {ros__parameters: {joints: [j, k]}}\n"
        "/**/camera_node: {ros__parameters: {backend: pattern}}\n"
    )
    specs = {spec.name: spec for spec in Bringup(target="robot", config=file, run_dir=tmp_path).nodes()}
    cameras = list(load_bundle(Bringup().bundle_path).cameras)
    assert all(f"{name}/color/image_raw" in specs["vla_node"].remappings for name in cameras)
    assert all(
        specs[node].parameters["cameras"] == cameras for node in ("camera_node", "console_node", "recorder_node")
    )


def test_the_users_file_beats_our_defaults(tmp_path: Path) -> None:
    """The shipped VLA must not fly where the file names another."""
    file = tmp_path / "robot.yaml"
    file.write_text(
        "/**/executor_node:\n  ros__parameters:\n"
        "    {joints: [j, k], bundle: /my/bundle, seed: 7, command_interface: joint_trajectory}\n"
        "/**/session_node: {ros__parameters: {task: my_task}}\n"
        "/**/vla_node: {ros__parameters: {cameras: [a, b]}}\n"
    )
    bringup = Bringup(target="robot", config=file)
    specs = {spec.name: spec for spec in bringup.nodes()}
    assert specs["executor_node"].parameters["bundle"] == specs["vla_node"].parameters["bundle"] == "/my/bundle"
    assert "seed" not in specs["executor_node"].parameters
    assert bringup.task_name == "my_task"
    assert specs["vla_node"].remappings["b/color/image_raw"] == "/b/color/image_raw"
    topic = "joint_trajectory_controller/joint_trajectory"
    assert specs["executor_node"].remappings[topic] == f"/{topic}"
    given = Bringup(target="robot", config=file, seed=3, bundle=Path("/other"))
    assert {spec.name: spec for spec in given.nodes()}["executor_node"].parameters["bundle"] == "/other"
