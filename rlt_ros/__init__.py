"""Real-time robot control with a frozen VLA and reinforcement learning on the robot (RL Token), on ROS 2."""

import pkgutil

# The generated messages live in the built overlay: let `rlt_ros.msg` be found from a source checkout too.
__path__ = pkgutil.extend_path(__path__, __name__)
__version__ = "0.1.0"
