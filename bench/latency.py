"""`rlt bench latency`: from a camera set's stamp to the first command that used it, in the simulated graph.

`ratio` is that age in the median through the VLA's part of it, which nobody can save.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from running import own_domain, up_sim

from rlt_ros import msg
from rlt_ros.ros.fields import from_stamp
from rlt_ros.ros.qos import RECORD_QOS


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(prog="rlt bench latency", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    own_domain()
    rclpy.init()
    node = rclpy.create_node("latency")
    ages: list[float] = []
    inputs: list[float] = []
    node.create_subscription(msg.ActionChunk, "/rlt/action_chunk", lambda m: ages.append(m.input_age), RECORD_QOS)
    node.create_subscription(
        msg.PolicyInput,
        "/rlt/policy_input",
        lambda m: inputs.append(time.time() - from_stamp(m.header.stamp)),
        RECORD_QOS,
    )
    spinner = SingleThreadedExecutor()
    spinner.add_node(node)
    with tempfile.TemporaryDirectory() as directory, up_sim(Path(directory), {}) as running:
        deadline = None
        while deadline is None or time.monotonic() < deadline:
            spinner.spin_once(timeout_sec=0.1)
            if running.poll() is not None:
                sys.exit(f"error: the graph ended:\n{Path(directory, 'errors').read_text()[-2000:]}")
            if deadline is None and ages:
                ages.clear()
                inputs.clear()
                deadline = time.monotonic() + arguments.seconds
    node.destroy_node()
    rclpy.try_shutdown()
    report: dict[str, object] = {"chunks": len(ages), "inputs": len(inputs)}
    for name, values in (("latency", ages), ("input", inputs)):
        for share in (50, 99):
            report[f"{name}_p{share}_ms"] = round(float(np.percentile(values, share)) * 1e3, 2)
    report["ratio"] = round(report["latency_p50_ms"] / report["input_p50_ms"], 2)  # type: ignore[operator]
    print(json.dumps(report))


if __name__ == "__main__":
    main()
