"""`rlt bench console`: what the operator's page costs the graph.

The simulated graph runs; the CPU time of `console_node`, and of all other nodes together, is taken with no page open
and with one open: three views, plots twice a second. Who reads is a program that throws everything away, because a
browser on the same two cores slows everybody down; `--browser` opens the page in Chromium instead. `ratio` is the open
page's cost against that of `sim_node`, in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from memory import children
from running import own_domain, stopped, up_sim
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

_TICKS = os.sysconf("SC_CLK_TCK")


def seconds_of(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def measure(graph: int, seconds: float, what: str) -> dict[str, float]:
    """Share of a core of every node over a while."""
    nodes = children(graph)
    before = {name: seconds_of(pid) for name, pid in nodes.items()}
    began = time.monotonic()
    while (now := time.monotonic() - began) < seconds:
        print(f"\r{what}: {now:.0f} of {seconds:.0f} s", end="", file=sys.stderr, flush=True)
        time.sleep(0.5)
    print(file=sys.stderr)
    return {name: (seconds_of(pid) - before[name]) / now for name, pid in nodes.items()}


@contextmanager
def page(url: str, browser: str | None, profile: str) -> Iterator[Counter[str]]:
    """An open page; counts frames where no browser opens it."""
    counts: Counter[str] = Counter()
    if browser:
        options = (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--window-size=1400,950",
            "--remote-debugging-port=0",
        )
        shown = subprocess.Popen(
            [browser, *options, f"--user-data-dir={profile}", url],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        yield counts
        os.killpg(shown.pid, signal.SIGTERM)
        shown.wait(10)
        return
    with connect(url.replace("http", "ws") + "/ws") as socket:

        def read() -> None:
            with suppress(ConnectionClosed):
                for frame in socket:
                    counts["pictures" if isinstance(frame, bytes) else "texts"] += 1

        reader = threading.Thread(target=read)
        reader.start()
        yield counts
        socket.close()
        reader.join(5.0)


def main() -> None:
    """Run the graph, open the page, print one JSON object."""
    parser = argparse.ArgumentParser(prog="rlt bench console", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each measurement")
    parser.add_argument("--browser", metavar="PROGRAM", help="for example chromium: it opens the page")
    arguments = parser.parse_args()
    own_domain()
    settings = {"recorder_node.reserve": 0.0, "console_node.port": 0}
    with (
        tempfile.TemporaryDirectory() as directory,
        up_sim(Path(directory), settings, "--human", "simulated") as graph,
    ):
        url = None
        deadline = time.monotonic() + 60.0
        while url is None:
            found = [path.read_text() for path in Path(directory).glob("*/log/console_node.log")]
            matched = re.search(r"console: (http://\S+)", found[0]) if found else None
            url = matched.group(1) if matched else None
            if graph.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"error: no console:\n{(Path(directory) / 'errors').read_text()[-2000:]}")
            time.sleep(0.2)
        time.sleep(10.0)
        closed = measure(graph.pid, arguments.seconds, "no page open")
        with page(url, arguments.browser, f"{directory}/browser") as frames:
            time.sleep(8.0)
            opened = measure(graph.pid, arguments.seconds, "a page open")
        stopped(graph)
    open_, closed_ = opened["console_node"], closed["console_node"]
    others = sum(opened.values()) - sum(closed.values()) - (open_ - closed_)
    print(
        json.dumps(
            {
                "ratio": round(open_ / opened["sim_node"], 3),
                "cpu_open": round(open_, 4),
                "cpu_closed": round(closed_, 4),
                "cpu_others_more": round(others, 4),
                "frames": dict(frames),
                "seconds": arguments.seconds,
            }
        )
    )


if __name__ == "__main__":
    main()
