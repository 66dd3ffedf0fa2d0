"""What the table of nodes knows of a process that died and came back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from rlt_ros.console import processes
from rlt_ros.console.processes import Processes

NAMESPACE = "/processes_of_this_test"
Start = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(name: str) -> subprocess.Popen[bytes]:
            code = "import sys; print(flush=True); sys.stdin.read()"
            arguments = [sys.executable, "-c", code, f"/lib/{name}", f"__ns:={NAMESPACE}"]
            process = stack.enter_context(subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            stack.callback(process.kill)
            assert process.stdout is not None
            process.stdout.readline()
            return process

        yield begin


def test_a_node_that_was_replaced_between_two_looks_is_known_to_be_new(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The learner died and was started again within a second: the page never said so."""
    monkeypatch.setattr(processes, "_LOOK_AROUND_EVERY", 0.0)
    nodes = Processes(NAMESPACE)
    first = start("learner_node")
    cost = nodes.look()["learner_node"]
    assert cost is not None
    assert cost.pid == first.pid
    assert cost.since == float("inf"), "the first takes nobody's place"

    first.kill()
    first.wait()
    assert nodes.look()["learner_node"] is None

    second = start("learner_node")
    cost = nodes.look()["learner_node"]
    assert cost is not None
    assert cost.pid == second.pid
    assert 0 <= cost.since < 5
