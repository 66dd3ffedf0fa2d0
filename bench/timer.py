"""The reference of `rlt bench loop`: 50 Hz by a plain rclpy timer; prints the time of every tick until it is killed."""

import sys
import time

import rclpy

from rlt_ros.sim.names import CONTROL_PERIOD

if __name__ == "__main__":
    rclpy.init()
    node = rclpy.create_node("timer")
    node.create_timer(CONTROL_PERIOD, lambda: print(f"{time.monotonic():.6f}"))
    try:
        rclpy.spin(node)
    except BaseException:
        sys.stdout.flush()
