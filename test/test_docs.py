"""What stands in the documentation is so: generated pages are fresh, links lead somewhere, commands are run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from documented import COMMANDS, commands_in, covering
from refusals_page import PAGE, with_tables

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_the_pages_of_the_nodes_are_what_the_nodes_declare(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(ROOT / "scripts" / "node_pages.py"), str(tmp_path)], check=True)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    there = {path.name: path.read_text() for path in (ROOT / "docs" / "nodes").iterdir()}
    assert made == there, "run ./rlt exec python scripts/node_pages.py"


def test_the_picture_of_the_graph_is_the_list_of_nodes(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "graph_picture.py"), str(tmp_path / "graph.svg")], check=True
    )
    assert (tmp_path / "graph.svg").read_text() == (ROOT / "docs" / "images" / "graph.svg").read_text(), (
        "run ./rlt exec python scripts/graph_picture.py"
    )


def test_every_reason_and_refusal_is_in_troubleshooting() -> None:
    assert PAGE.read_text() == with_tables(PAGE.read_text()), "run ./rlt exec python scripts/refusals_page.py"


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_no_page_has_an_open_place() -> None:
    for page in PAGES:
        assert not re.findall(r"\b(?:TODO|FIXME|TBD|CONSOLE_[A-Z]+)\b", page.read_text()), page.name


@pytest.mark.parametrize("page", ["README.md", "docs/getting_started.md"])
def test_every_command_is_run_by_a_test(page: str) -> None:
    """`test/test_commands.py` runs them: CI calls it after the suite, for it takes some minutes."""
    missing = [command for command in commands_in(ROOT / page) if covering(command) is None]
    assert missing == [], "add them to COMMANDS in test/documented.py"


def test_no_command_is_kept_that_nobody_documents() -> None:
    documented = [command for page in ("README.md", "docs/getting_started.md") for command in commands_in(ROOT / page)]
    assert [known for known in COMMANDS if known not in map(covering, documented)] == []
