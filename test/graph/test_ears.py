"""A topic is heard however it is offered."""

from __future__ import annotations

import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_support import listener
from std_msgs.msg import Bool

from rlt_ros.ros.ears import Ears

pytestmark = pytest.mark.live


@pytest.mark.parametrize("reliability", [ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT])
@pytest.mark.parametrize("durability", [DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL])
def test_every_way_to_offer_a_topic_is_heard(
    domain: int, reliability: ReliabilityPolicy, durability: DurabilityPolicy
) -> None:
    with listener() as ros:
        heard: list[Bool] = []
        ears = Ears(ros.node, Bool, "stop", heard.append)
        quality = QoSProfile(depth=1, reliability=reliability, durability=durability)
        speaker = ros.node.create_publisher(Bool, "stop", quality)
        if durability is DurabilityPolicy.TRANSIENT_LOCAL and reliability is ReliabilityPolicy.RELIABLE:
            speaker.publish(Bool(data=True))
        else:
            ros.node.create_timer(0.1, lambda: speaker.publish(Bool(data=True)))
        ros.wait(lambda: bool(heard), 5, "a word")
        ears.destroy()
        ros.spin(0.3)
        heard.clear()
        ros.spin(0.5)
        assert not heard
