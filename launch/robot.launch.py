"""All nodes of the robot."""

from launch import LaunchDescription
from rlt_ros.bringup.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """Called by `ros2 launch rlt_ros robot.launch.py`."""
    return launch_description("robot")
