"""Write docs/nodes/: a page for every node, from its docstring and its declared parameters.

Usage: node_pages.py [DIRECTORY]
"""

from __future__ import annotations

import ast
import dataclasses
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlt_ros.bringup.parameters import PARAMETERS

NODES = Path(__file__).parents[1] / "rlt_ros" / "nodes"
SECTIONS = ("Publishes", "Subscribes", "Services", "Services called", "Actions called")
_DEFAULT_LENGTH = 60


@dataclass
class Described:
    """What a node's docstring says.

    Attributes:
        name: of the node.
        does: first line.
        text: what stands between it and the sections.
        sections: by name, as it is written.
    """

    name: str
    does: str
    text: str
    sections: dict[str, str] = field(default_factory=dict)

    def names(self, section: str) -> dict[str, list[str]]:
        """Topics or services of a section, each with its types."""
        found: dict[str, list[str]] = {}
        waiting: list[str] = []
        for token in re.finditer(r"`([^`]+)`|\(([^)]*)\)", self.sections.get(section, "")):
            if token.group(1):
                waiting.append(token.group(1))
            else:
                types = re.findall(r"\b[A-Z]\w+", token.group(2))
                if types:
                    found |= dict.fromkeys(waiting, types)
                    waiting = []
        return found


def describe(path: Path) -> Described:
    """Read the docstring of a node's module.

    Raises:
        ValueError: a line of it begins like a section, but is none.
    """
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    does, _, rest = docstring.partition("\n")
    out = Described(path.stem, does.strip(), "")
    texts: list[str] = []
    section = ""
    for line in rest.splitlines():
        head = re.match(r"([A-Z][a-z]+(?: [a-z]+)?)(, of every robot)?: ", line)
        if head and head.group(1) == "Parameters":
            section = "Parameters"
        elif head and head.group(1) in SECTIONS:
            section = head.group(1)
            out.sections[section] = line[head.end() :] if not head.group(2) else f"of every robot {line[head.end() :]}"
        elif section in SECTIONS:
            out.sections[section] += f" {line.strip()}"
        elif not section:
            texts.append(line)
        else:
            raise ValueError(f"{path}: '{line}' belongs to no section")
    out.text = "\n".join(texts).strip()
    return out


def described() -> list[Described]:
    """Every node, in the order of `PARAMETERS`."""
    return [describe(NODES / f"{name}.py") for name in PARAMETERS]


def page(node: Described) -> str:
    """Markdown of a node."""
    lines = [f"# {node.name}", "", node.does, ""]
    if node.text:
        lines += [node.text, ""]
    for section in SECTIONS:
        if section in node.sections:
            lines += [f"## {section}", ""]
            text = re.sub(r"\.$", "", node.sections[section])
            lines += [f"- {part.strip()}" for part in _parts(text)]
            lines.append("")
    lines += [
        "## Parameters",
        "",
        f"Read-only while the node runs; set them in the parameter file or with `--set {node.name}.NAME=VALUE`.",
        "",
        "| name | default | unit | range | |",
        "|---|---|---|---|---|",
    ]
    lines += [_row(entry) for entry in dataclasses.fields(PARAMETERS[node.name])]
    return "\n".join(lines) + "\n"


def _parts(text: str) -> list[str]:
    """Items of a list: names that share a type stay together."""
    out, depth, start = [], 0, 0
    for index, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter in ",;" and not depth and ")" in text[start:index]:
            out.append(text[start:index])
            start = index + 1
    return [*out, text[start:]]


def _row(entry: Any) -> str:
    default = entry.default
    shown = list(default) if isinstance(default, tuple) else default
    text = f"`{shown!r}`".replace("'", '"').replace("True", "true").replace("False", "false")
    if len(text) > _DEFAULT_LENGTH:
        text = f"{len(shown)} values"
    low, high = entry.metadata.get("low"), entry.metadata.get("high")
    limits = "" if low is None and high is None else f"{_bound(low)} to {_bound(high)}"
    description = entry.metadata["description"].replace("|", "\\|")
    return f"| `{entry.name}` | {text} | {entry.metadata.get('unit', '')} | {limits} | {description} |"


def _bound(value: float | None) -> str:
    return "any" if value is None else f"{value:g}"


def index(nodes: list[Described]) -> str:
    """Markdown of the list."""
    lines = ["# Nodes", "", "A page each, written by `scripts/node_pages.py` from what the nodes declare.", ""]
    lines += [f"- [{node.name}]({node.name}.md): {node.does}" for node in nodes]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write all pages."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "nodes"
    out.mkdir(parents=True, exist_ok=True)
    nodes = described()
    for node in nodes:
        (out / f"{node.name}.md").write_text(page(node))
    (out / "README.md").write_text(index(nodes))


if __name__ == "__main__":
    main()
