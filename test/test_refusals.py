"""Whoever refuses says so: one table, no counter beside it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from rlt_ros.control.actor import WeightsError
from rlt_ros.refusals import HOLDS, REFUSALS, Refusals, explained, merged, sentence

PACKAGE = Path(__file__).parents[1] / "rlt_ros"
FILES = sorted(PACKAGE.rglob("*.py"))
COMPOSED = {
    "input_": ("wrong_bundle", "shape", "not_finite", "token_zero", "future", "out_of_order"),
    "weights_": ("other_session", "old", "checksum", "format", "bundle", "shape", "finite", "version"),
    "_of_unknown_robot": ("input", "session", "step", "event"),
}
"""Kinds that the code puts together of two parts."""


def refused_in_code() -> set[str]:
    """Kinds that stand in the code as they are."""
    found = set()
    for path in FILES:
        if path.name == "refusals.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in REFUSALS:
                found.add(node.value)
    return found


def test_every_row_of_the_table_is_used() -> None:
    composed = {
        f"{part}{other}" if part.endswith("_") else f"{other}{part}"
        for part, others in COMPOSED.items()
        for other in others
    }
    assert composed <= set(REFUSALS)
    assert set(REFUSALS) - refused_in_code() - composed == set(), "nobody refuses these"


def test_every_reason_to_hold_is_explained() -> None:
    source = (PACKAGE / "control" / "executor.py").read_text() + (PACKAGE / "control" / "measured.py").read_text()
    source += (PACKAGE / "control" / "chunks.py").read_text()
    reasons = set(re.findall(r'State\.HOLD, "(\w+)"', source)) | set(re.findall(r'return "(\w+)", None', source))
    reasons |= set(re.findall(r'return "(joint_states_\w+|no_joint_states)"', source))
    assert reasons
    assert reasons <= set(HOLDS)
    assert {"policy_input_stale", "no_policy_input", "phase_idle", "phase_reset", "phase_ended"} <= set(HOLDS)
    assert explained("HOLD", "mode_hold") is HOLDS["mode_hold"]
    assert explained("ESTOP", "by whomever") is not None
    assert explained("ACTOR", "") is None


def test_nothing_is_counted_without_being_told() -> None:
    for path in FILES:
        assert not re.search(r"counters\[[^]]*\] \+= ", path.read_text()), f"{path}: use Refusals.refuse"


def test_an_unknown_refusal_is_a_fault_of_the_code() -> None:
    with pytest.raises(KeyError, match=r"refusals\.py"):
        Refusals().refuse("because")


def test_what_is_refused_is_told_with_topic_reason_and_remedy_and_not_all_the_time() -> None:
    refusals = Refusals()
    refusals.refuse("input_future", "3.000 s old")
    (line,) = refusals.untold(10.0)
    row = REFUSALS["input_future"]
    for part in (row.topic, row.reason, row.remedy[1:], "3.000 s old", "1x"):
        assert part in line
    for _ in range(100):
        refusals.refuse("input_future")
    assert refusals.untold(12.0) == []
    assert "101x" in refusals.untold(15.1)[0]
    assert refusals.untold(30.0) == [], "nothing new"
    assert merged([refusals, refusals])["input_future"] == 202
    assert sentence("input_future", "", 1).startswith("policy_input: ")


def test_weights_are_refused_by_kinds_that_are_in_the_table() -> None:
    source = (PACKAGE / "control" / "actor.py").read_text()
    for kind in re.findall(r'WeightsError\("(\w+)"', source):
        assert f"weights_{kind}" in REFUSALS
    assert WeightsError("shape", "x").kind == "shape"
