"""Graphs of LeRobot's policies (test/with_lerobot/make_graphs.py) say, without LeRobot, what the policies said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rlt_ros.vla.bundle import load_bundle
from rlt_ros.vla.loaded import LoadedVla

GRAPHS = Path(__file__).parent / "graphs"


@pytest.mark.parametrize("kind", ["smolvla", "act"])
def test_what_an_imported_graph_says_is_what_the_policy_said(kind: str) -> None:
    bundle = load_bundle(GRAPHS / kind)
    assert bundle.training["imported"] == f"lerobot {kind}"
    vla, expected = LoadedVla(bundle), np.load(GRAPHS / kind / "expected.npz")
    size = bundle.image_size
    images = np.random.default_rng(0).integers(0, 255, (2, len(bundle.cameras), size, size, 3), np.uint8)
    for moment, words in enumerate(bundle.tasks.values()):
        vla.set_instruction(words)
        made = vla.infer(images[moment], expected["positions"][moment])
        assert made.embeddings is not None
        np.testing.assert_allclose(made.embeddings, expected["embeddings"][moment], atol=1e-4)
        np.testing.assert_allclose(made.reference, expected["rows"][moment], atol=1e-4)
    if kind == "smolvla":
        with pytest.raises(ValueError, match=r"it knows 'insert the plug', 'wait here'.*--instruction"):
            vla.set_instruction("dance")
        assert not np.allclose(vla.infer(images[0], expected["positions"][0]).reference, expected["rows"][0])
