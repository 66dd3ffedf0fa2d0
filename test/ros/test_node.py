"""The body of every node: it ends, whatever hangs beneath it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.live
HANGING = """
import threading
from rclpy.node import Node
from rlt_ros.ros import node

node._DISCONNECT_WITHIN = 0.5

class Hanging(Node):
    def close(self):
        print("closed", flush=True)

    def destroy_node(self):
        threading.Event().wait()

def make():
    made = Hanging("hanging")
    print("ready", flush=True)
    return made
node.run(make)
"""


def test_a_middleware_that_hangs_in_its_end_does_not_keep_the_process(domain: int) -> None:
    with subprocess.Popen([sys.executable, "-c", HANGING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGTERM)
        assert process.stdout.readline() == "closed\n", "its own end comes first"
        since = time.monotonic()
        assert process.wait(20) == -signal.SIGALRM
        assert time.monotonic() - since < 15
