"""Fixtures shared by all tests."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

import rlt_ros.sim  # noqa: F401  (before any test imports mujoco: it selects the renderer)

# Two slow cores: a deadline per example would test the machine.
settings.register_profile("default", deadline=None, max_examples=200)
settings.load_profile("default")

# Workers side by side have a core each: torch's threads would wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_COUNT = 100 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


@pytest.fixture(scope="session")
def domains() -> Iterator[int]:
    """ROS domains: workers beside each other never meet, another suite on this machine hardly ever.

    None comes twice before all have come once: of a node inside a test something may be heard until pytest ends.
    """
    return (1 + _WORKER * _COUNT + number % _COUNT for number in itertools.count(os.getpid()))


@pytest.fixture
def domain(domains: Iterator[int], monkeypatch: pytest.MonkeyPatch) -> int:
    """A ROS domain of this test's own."""
    number = next(domains)
    monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
    return number
