"""ROS parameter files, read as ROS reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlt_ros.config import ConfigError
from rlt_ros.yaml_file import read_yaml


def read_parameter_file(path: Path, namespace: str = "/rlt") -> dict[str, dict[str, Any]]:
    """The parameters of a ROS parameter file, by node name.

    Args:
        path: of the file.
        namespace: of the nodes; keys must be `/**/node` or `<namespace>/node`, others ROS would silently ignore.

    Raises:
        ConfigError: the file is missing or not a ROS parameter file.
    """
    data = read_yaml(path, ConfigError, ros=True)
    if not isinstance(data or {}, dict):
        raise ConfigError(f"{path} must hold a mapping of node names, it holds a {type(data).__name__}")
    out: dict[str, dict[str, Any]] = {}
    for key, value in (data or {}).items():
        where, _, node = str(key).rpartition("/")
        if where not in ("/**", namespace.rstrip("/")):
            raise ConfigError(f"{path}: '{key}' is no node of ours to ROS: write '/**/{node}'")
        if not isinstance(value, dict) or set(value) != {"ros__parameters"}:
            raise ConfigError(f"{path}: '{key}' must hold 'ros__parameters' and nothing else")
        if not isinstance(value["ros__parameters"], dict):
            raise ConfigError(f"{path}: 'ros__parameters' of '{key}' must be a mapping")
        if node in out:
            raise ConfigError(f"{path}: '{node}' stands there twice; put its parameters under one key")
        given = {name: _ros_reads(path, node, name, value) for name, value in value["ros__parameters"].items()}
        # ROS's own parameter, of every node.
        if not isinstance(given.pop("use_sim_time", False), bool):
            raise ConfigError(f"{path}: {node}.use_sim_time must be true or false")
        out[node] = given
    return out


def _ros_reads(path: Path, node: str, name: str, value: Any) -> Any:
    """A parameter's value, if ROS reads it as we do.

    Raises:
        ConfigError: ROS would refuse it, or read something else.
    """
    where = f"{path}: {node}.{name}"
    if value is None:
        raise ConfigError(f"{where} has no value; write one, '' for an empty text, or leave it out")
    if isinstance(value, dict):
        raise ConfigError(f"{where} is a mapping, which ROS reads as parameters '{name}.{next(iter(value), '')}', ...")
    if isinstance(value, list):
        kinds = sorted({type(item).__name__ for item in value})
        if {"list", "dict", "NoneType"} & set(kinds):
            raise ConfigError(f"{where} must be a plain list of values")
        if kinds == ["float", "int"]:
            raise ConfigError(f"{where} mixes whole and other numbers, which ROS refuses: write {float(value[0])} etc.")
        if len(kinds) > 1:
            raise ConfigError(f"{where} mixes {' and '.join(kinds)}, which ROS refuses")
    return value
