"""Learner and recorder alone, for a machine of their own."""

from launch import LaunchDescription
from rlt_ros.bringup.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """Called by `ros2 launch rlt_ros learner.launch.py`."""
    return launch_description("learner")
