"""How topics are offered and asked for."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

SENSOR_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""For consumers of pictures and joint states: the newest one or none."""
COMMAND_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
"""Volatile: a late joiner never gets an old command."""
LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""Weights, session: the last one is kept for whoever joins."""
PICTURES_QOS = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
"""For who wants every picture: drivers offer best effort, and match nobody who asks for more."""
EVENT_QOS = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
"""Joysticks: every press and release counts."""
RECORD_QOS = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
"""Steps and events: 20 s of history, so that a busy reader loses nothing."""
HISTORY_QOS = QoSProfile(
    depth=1000, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
"""The same, given to late joiners too: a recorder or learner that starts again asks for what it missed."""
