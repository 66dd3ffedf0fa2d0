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
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
_FIRST, _COUNT = (90 + int(_WORKER.removeprefix("gw")) % 4 * 2, 2) if _WORKER else (1, 89)
"""Tests that run side by side must not meet, and another suite on this machine hardly ever. Of the live ones, one after
the other, no two have the same: of a node inside the test something may be heard until pytest ends."""


@pytest.fixture(scope="session")
def domains() -> Iterator[int]:
    """ROS domains on which nobody has been before, for what lives longer than a test."""
    return (_FIRST + number % _COUNT for number in itertools.count(os.getpid()))


@pytest.fixture
def domain(domains: Iterator[int], monkeypatch: pytest.MonkeyPatch) -> int:
    """A ROS domain of this test's own."""
    number = next(domains)
    monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
    return number
