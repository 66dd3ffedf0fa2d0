"""All nodes of the simulated cell."""

from launch import LaunchDescription
from rlt_ros.bringup.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """Called by `ros2 launch rlt_ros sim.launch.py`."""
    return launch_description("sim")
