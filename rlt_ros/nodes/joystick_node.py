"""A joystick or game pad as the `joy` package has it, for systems without that package.

Publishes: `joy` (Joy): one message for every press and release, and 50 times a second while a device is there;
`header.frame_id` is the device's name. Stays off while somebody else publishes `joy`.
Parameters: `rlt_ros.teleop.config.JoystickParameters`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import Joy

from rlt_ros.config import ConfigError
from rlt_ros.missing import remedy
from rlt_ros.ros.clock import STEADY
from rlt_ros.ros.node import read_parameters, run
from rlt_ros.ros.qos import EVENT_QOS
from rlt_ros.teleop.config import JoystickParameters

if TYPE_CHECKING:
    from rlt_ros.teleop.device import JoyState

_POLL = 0.005
_REPEAT = 1 / 50
"""Seconds between two messages while nothing changes: teleop_node takes silence for a lost joystick."""
_LOOK_AROUND = 1.0
"""Seconds between two looks for other publishers."""


class JoystickNode(Node):
    """Everything in one thread, as SDL wants it."""

    def __init__(self, **options: Any) -> None:
        """Read the parameters; the device may come later. `options` are rclpy's, for example a context."""
        super().__init__("joystick_node", **options)
        p = self._config = read_parameters(self, JoystickParameters)
        try:
            from rlt_ros.teleop.device import Joystick  # its library is not everywhere installed
        except ImportError as error:
            raise ConfigError(f"{remedy(error, 'teleop')}, or use the joy package") from error
        self._joystick = Joystick(p.device, layout=p.layout, deadzone=p.deadzone)
        self._publisher: Publisher | None = None
        self._name = ""
        self._said = False
        self._next_look = self._next_repeat = 0.0
        self.create_timer(_POLL, self._poll, clock=STEADY)

    def close(self) -> None:
        """Let go of the device."""
        self._joystick.close()

    def _poll(self) -> None:
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _LOOK_AROUND
            self._look_around()
        if self._publisher is None:
            return
        for state in self._joystick.poll():
            self._publish(state)
            self._next_repeat = now + _REPEAT
        if self._joystick.name != self._name:
            self._tell()
        if self._name and now >= self._next_repeat:
            self._next_repeat = now + _REPEAT
            self._publish(self._joystick.state())

    def _publish(self, state: JoyState) -> None:
        assert self._publisher is not None
        message = Joy(axes=list(state.axes), buttons=list(state.buttons))
        message.header.stamp = self.get_clock().now().to_msg()
        message.header.frame_id = self._joystick.name
        self._publisher.publish(message)

    def _look_around(self) -> None:
        """Two sources of `joy` would press and release each other's buttons."""
        others = self.count_publishers("joy") - (self._publisher is not None)
        if others > 0 and self._publisher is not None:
            self.get_logger().warning("somebody else publishes joy: this node stays off")
            self._joystick.close()
            self._name = ""
            self.destroy_publisher(self._publisher)
            self._publisher = None
        elif others == 0 and self._publisher is None:
            self._publisher = self.create_publisher(Joy, "joy", EVENT_QOS)

    def _tell(self) -> None:
        before, self._name = self._name, self._joystick.name
        if before:
            self.get_logger().error(f"{before} is gone; waiting for it")
        if self._name:
            self.get_logger().info(f"{self._name}, numbered as {self._joystick.layout}")
        elif not before and not self._said:
            self._said = True
            self.get_logger().warning("no joystick yet; it may be connected at any time")


def main() -> None:
    """Run the node."""
    run(JoystickNode)
