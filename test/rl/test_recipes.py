"""The recipes are what docs/algorithm.md says that they are."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from rlt_ros.config import from_mapping
from rlt_ros.rl.config import RECIPES, LearnerConfig

ROOT = Path(__file__).parents[2]
OF_THE_MACHINE = {"precision", "device", "capacity", "seed"}


def settings(recipe: str) -> LearnerConfig:
    if recipe == "default":
        return LearnerConfig()
    read = yaml.safe_load((ROOT / "config" / f"recipe_{recipe}.yaml").read_text())
    return from_mapping(LearnerConfig, read["/**/learner_node"]["ros__parameters"], recipe)


def told() -> dict[str, dict[str, str]]:
    """Of each recipe the table's column, by name."""
    text = (ROOT / "docs" / "algorithm.md").read_text()
    head = re.search(r"^\| `learner_node` \| (.+) \|$", text, re.MULTILINE)
    assert head is not None
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", text[head.end() :], re.MULTILINE)
    names = head.group(1).split(" | ")
    return {name: {row[0]: row[1 + number] for row in rows} for number, name in enumerate(names)}


def test_the_table_names_every_recipe() -> None:
    assert tuple(told()) == RECIPES
    assert {path.stem.removeprefix("recipe_") for path in (ROOT / "config").glob("recipe_*.yaml")} == {*RECIPES[1:]}


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_table_has_every_setting_of_a_recipe(recipe: str) -> None:
    config = settings(recipe)
    config.check()

    def written(value: object) -> str:
        if isinstance(value, tuple):
            return ", ".join(map(written, value))
        return str(value).lower() if isinstance(value, bool) else str(value)

    wanted = {name: written(value) for name, value in asdict(config).items() if name not in OF_THE_MACHINE}
    assert told()[recipe] == wanted
