"""Fixtures shared by all tests."""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import settings

import rlt_ros.sim  # noqa: F401  (before any test imports mujoco: it selects the renderer)

# Two slow cores: a deadline per example would test the machine.
settings.register_profile("default", deadline=None, max_examples=200)
settings.load_profile("default")

os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
_DOMAINS = itertools.count(1 + os.getpid() % 80)


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> int:
    """A ROS domain of this test's own."""
    number = next(_DOMAINS) % 100 + 1
    monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
    return number
