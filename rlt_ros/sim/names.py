"""Names and order of the simulated robot's joints and cameras, and the period of its commands."""

SIMULATED_ROBOT = "sim_aloha"
"""As its bundles and datasets name it."""
ARMS = ("left", "right")
ARM_JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
JOINT_NAMES = tuple(f"{arm}_{joint}" for arm in ARMS for joint in (*ARM_JOINTS, "gripper"))
"""Order of every 14-vector: left arm and gripper, then right."""
CAMERA_NAMES = ("left_wrist", "right_wrist", "base")
FINGER_RANGE = (0.021, 0.057)
"""Travel of a finger in metres: gripper 0 (closed) and 1 (open)."""
CONTROL_PERIOD = 0.02
"""Seconds of simulated time per command."""
