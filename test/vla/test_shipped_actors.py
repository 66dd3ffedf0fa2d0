"""The actors that ship with the bundle: they fit it, and they do something of their own."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rlt_ros.bringup.graph import Bringup
from rlt_ros.control.actor import read_actor
from rlt_ros.offline.rollout import make_executor
from rlt_ros.vla.bundle import load_bundle, shipped_actor

BUNDLE = load_bundle(Bringup().bundle_path)
SHIPPED = sorted(path.parent.name for path in BUNDLE.directory.glob("actors/*/actor.safetensors"))


@pytest.mark.parametrize("task", SHIPPED)
def test_a_shipped_actor_fits_its_bundle_and_has_its_log_beside_it(task: str) -> None:
    path = shipped_actor(BUNDLE.directory, task)
    actor = read_actor(path, BUNDLE.id)
    make_executor(BUNDLE).check_actor(actor)
    spec, rng = actor.spec, np.random.default_rng(0)
    token = rng.standard_normal(spec.token_dim).astype(np.float32)
    proprio = np.zeros(2 * spec.joints, np.float32)
    reference = np.zeros((spec.chunk, spec.joints), np.float32)
    assert np.abs(actor(token, proprio, reference)).max() > 0.01, "it adds to a reference that says nothing"
    assert json.loads(path.with_name("settings.json").read_text())["task"] == task
    assert path.with_name("curve.csv").read_text().count("\n") >= 2


def test_every_task_of_the_readme_has_one() -> None:
    assert "ethernet" in SHIPPED
