"""The one YAML reader: what it reads is what ROS reads, and a key that stands twice is an error.

ROS merges sections and takes the last of two equal keys, PyYAML drops the first section: commands would go to another
topic than the one that is guarded. Scalars follow rcl's parser: `yes` and `on` are true, `1e3` is a number, `1:30`,
`1_000` and dates are text; in parameter files `y` is true too, and nothing may refer to what was said before.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

import yaml

E = TypeVar("E", bound=ValueError)

_WORDS = {True: ("yes", "on", "true"), False: ("no", "off", "false")}
_BOOL = {
    form: value for value, words in _WORDS.items() for word in words for form in (word, word.capitalize(), word.upper())
}
_ROS_BOOL = {**_BOOL, "y": True, "Y": True, "n": False, "N": False}
_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"^[-+]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)$")
_FLOAT = re.compile(
    r"^[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|\.?(?:inf|Inf|INF))$|^\.?(?:nan|NaN|NAN)$"
)
_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")


class _Loader(yaml.SafeLoader):
    """See the module."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are all different."""
        seen: dict[Any, yaml.Node] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag == _TAG + "bool":
                key.tag = _TAG + "str"  # a key is a name
            name = self.construct_object(key, deep=True)
            if isinstance(key, yaml.ScalarNode) and name in seen:
                raise yaml.MarkedYAMLError(
                    context=f"'{name}' stands there",
                    context_mark=seen[name].start_mark,
                    problem=f"'{name}' stands there twice; put what belongs together under one key",
                    problem_mark=key.start_mark,
                )
            if isinstance(key, yaml.ScalarNode):
                seen[name] = key
        return super().construct_mapping(node, deep=deep)

    def boolean(self, node: yaml.ScalarNode) -> bool:
        return _ROS_BOOL[str(self.construct_scalar(node))]

    def integer(self, node: yaml.ScalarNode) -> int | float:
        text = str(self.construct_scalar(node))
        sign, digits = (-1, text[1:]) if text[0] == "-" else (1, text.lstrip("+"))
        base = 16 if digits[:2].lower() == "0x" else 8 if digits[0] == "0" and len(digits) > 1 else 10
        value = sign * int(digits, base)
        return value if -(2**63) <= value < 2**63 else float(value)

    def number(self, node: yaml.ScalarNode) -> float:
        return float(str(self.construct_scalar(node)).lower().replace(".inf", "inf").replace(".nan", "nan"))


class _RosLoader(_Loader):
    """Of parameter files."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """ROS knows no references to what was said before."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.MarkedYAMLError(problem=f"ROS reads no alias (*{event.anchor})", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


for _loader, _words in ((_Loader, _BOOL), (_RosLoader, _ROS_BOOL)):
    for _tag, _form, _first in (
        ("bool", re.compile("^(?:" + "|".join(sorted(_words)) + ")$"), "yYnNtTfFoO"),
        ("int", _INT, "-+0123456789"),
        ("float", _FLOAT, "-+0123456789.iInN"),
        ("null", _NULL, ["~", "n", "N", ""]),
    ):
        _loader.add_implicit_resolver(_TAG + _tag, _form, list(_first))
    _loader.add_constructor(_TAG + "bool", _loader.boolean)
    _loader.add_constructor(_TAG + "int", _loader.integer)
    _loader.add_constructor(_TAG + "float", _loader.number)


def parse_yaml(text: str, *, ros: bool = False) -> Any:
    """The value of a YAML text.

    Args:
        text: of a file, or of one value.
        ros: it is a parameter file of ROS, or a value of one.

    Raises:
        yaml.YAMLError: it is none, or a key stands there twice; the message names line and column.
    """
    return yaml.load(text, Loader=_RosLoader if ros else _Loader)  # both are SafeLoaders


def read_yaml(path: Path, kind: type[E], *, ros: bool = False) -> Any:
    """The value of a YAML file.

    Args:
        path: of the file.
        kind: of the error that is raised.
        ros: it is a parameter file of ROS.

    Raises:
        E: the file cannot be read or is not valid YAML; the message names the file and the line.
    """
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), ros=ros)
    except OSError as error:
        raise kind(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise kind(f"{path} is no text in UTF-8: {error.reason} at byte {error.start}") from error
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise kind(f"{path}{line} is not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise kind(f"{path} is not valid YAML: {error}") from error


def lines_of(text: str) -> dict[tuple[str | int, ...], int]:
    """The line on which every value of a YAML text stands, by the keys and numbers that lead to it.

    Raises:
        yaml.YAMLError: it is none.
    """
    found: dict[tuple[str | int, ...], int] = {}

    def look(node: yaml.Node, at: tuple[str | int, ...], line: int) -> None:
        found[at] = line + 1
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                look(value, (*at, str(key.value)), key.start_mark.line)
        elif isinstance(node, yaml.SequenceNode):
            for number, value in enumerate(node.value):
                look(value, (*at, number), value.start_mark.line)

    root = yaml.compose(text, Loader=_Loader)
    if root is not None:
        look(root, (), root.start_mark.line)
    return found
