"""A VLA server in a thread of the test."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rlt_ros.vla.loaded import LoadedVla
from rlt_ros.vla.openpi_server import VlaServer


@contextmanager
def in_thread(run: Callable[[Callable[[int], None]], Any]) -> Iterator[str]:
    """A server in a thread; its address."""
    loop, ports = asyncio.new_event_loop(), []
    task = loop.create_task(run(ports.append))

    def live() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not ports:
            assert time.monotonic() < deadline, "the server is ready"
            time.sleep(0.005)
        yield f"ws://127.0.0.1:{ports[0]}"
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


@contextmanager
def served(vla: LoadedVla) -> Iterator[str]:
    """`rlt serve`, in this process; its address."""
    server = VlaServer(vla)
    server.warm_up()
    with in_thread(lambda ready: server.run("127.0.0.1", 0, ready)) as uri:
        yield uri
