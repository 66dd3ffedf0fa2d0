"""`rlt bench memory`: the simulated graph for a while, and how the resident memory of each process grows.

The reference is the process itself: `growth` is its mean of the last fifth against that of the fifth after start-up.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from running import own_domain, stopped, up_sim

_EVERY = 2.0
_PAGE = os.sysconf("SC_PAGE_SIZE") / 1e6


def children(parent: int) -> dict[str, int]:
    """Our nodes among the children of a process, by name."""
    out = {"rlt": parent}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            names = [word.decode().rsplit("/", 1)[-1] for word in words if word.endswith(b"_node")]
            if int(stat[1]) == parent and names:
                out[names[0]] = int(entry.name)
    return out


def resident(pid: int) -> float:
    """MB of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def main() -> None:
    """Run the graph, watch it, print one JSON object."""
    parser = argparse.ArgumentParser(prog="rlt bench memory", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--human", default="simulated", help="none or simulated")
    parser.add_argument("--images", action="store_true", help="record them too")
    arguments = parser.parse_args()
    own_domain()
    settings = {"recorder_node.reserve": 0.0, "recorder_node.images": str(arguments.images).lower()}
    with (
        tempfile.TemporaryDirectory() as directory,
        up_sim(Path(directory), settings, "--human", arguments.human) as graph,
    ):
        seen: dict[str, list[tuple[float, float]]] = {}
        began = time.monotonic()
        while (now := time.monotonic() - began) < arguments.seconds and graph.poll() is None:
            for name, pid in children(graph.pid).items():
                try:
                    seen.setdefault(name, []).append((now, resident(pid)))
                except OSError:
                    continue
            print(f"\r{now:.0f} of {arguments.seconds:.0f} s", end="", file=sys.stderr, flush=True)
            time.sleep(_EVERY)
        if graph.poll() is not None:
            sys.exit(f"error: the graph ended by itself:\n{(Path(directory) / 'errors').read_text()[-2000:]}")
        summary = stopped(graph)
    report = {}
    for name, points in sorted(seen.items()):
        at, size = np.array(points).T
        settled = at > at[-1] / 5
        slope = np.polyfit(at[settled], size[settled], 1)[0] * 600
        first, last = size[settled][: len(size) // 5].mean(), size[-len(size) // 5 :].mean()
        report[name] = {
            "mb": round(float(last), 1),
            "slope_mb_per_10min": round(float(slope), 2),
            "growth": round(float(last / first), 4),
        }
    figures = ("episodes", "transitions", "updates", "loop_p99_ms", "missed_ticks")
    print(file=sys.stderr)
    print(
        json.dumps(
            {
                "ratio": max(entry["growth"] for entry in report.values()),
                "seconds": arguments.seconds,
                "processes": report,
                **{name: summary[name] for name in figures},
            }
        )
    )


if __name__ == "__main__":
    main()
