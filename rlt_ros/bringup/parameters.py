"""The parameters of every node, by its name."""

from __future__ import annotations

from rlt_ros.cameras.config import CameraParameters
from rlt_ros.console.config import ConsoleParameters
from rlt_ros.control.config import ExecutorParameters
from rlt_ros.journal.config import RecorderParameters
from rlt_ros.rl.config import LearnerParameters
from rlt_ros.session.config import SessionParameters
from rlt_ros.sim.config import SimParameters
from rlt_ros.teleop.config import JoystickParameters, TeleopParameters
from rlt_ros.vla.config import VlaParameters

PARAMETERS: dict[str, type] = {
    "executor_node": ExecutorParameters,
    "vla_node": VlaParameters,
    "learner_node": LearnerParameters,
    "recorder_node": RecorderParameters,
    "session_node": SessionParameters,
    "teleop_node": TeleopParameters,
    "joystick_node": JoystickParameters,
    "camera_node": CameraParameters,
    "console_node": ConsoleParameters,
    "sim_node": SimParameters,
}
