"""Small bundles for tests: an ONNX graph made node by node, with the inputs and outputs of an imported VLA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rlt_ros.normaliser import Normaliser
from rlt_ros.vla.bundle import Bundle, Encoder, file_sha256

CAMERAS, JOINTS = ("left", "base"), ("shoulder", "elbow", "gripper")
SIZE, HORIZON, LENGTH, WIDTH, TOKEN = 32, 12, 2, 8, 16
SENTENCES = {"plug": "insert the plug", "wait": "wait here"}


def tiny_bundle(directory: Path, *, seed: int = 0, encoder: bool = False, **changes: Any) -> Bundle:
    """Embeddings (L, W) are mixed mean colours of the pictures, plus what it is told; rows go up from the robot.

    Args:
        directory: of the bundle.
        seed: of the rows: another one is another VLA.
        encoder: with an RL token of them.
        changes: of the bundle's fields.
    """
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows = np.cumsum(rng.uniform(0, 0.01, (HORIZON, len(JOINTS))), 0).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["images"], ["colours"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["colours", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "mix"], ["mixed"]),
        helper.make_node("Cast", ["tokens"], ["words"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["mask"], ["counted"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["words", "counted"], ["heard"]),
        helper.make_node("ReduceSum", ["heard"], ["told"], keepdims=0),
        helper.make_node("Add", ["mixed", "told"], ["embeddings"]),
        helper.make_node("Add", ["position", "rows"], ["reference"]),
    ]
    made = model(
        nodes,
        {
            "images": (TensorProto.UINT8, [len(CAMERAS), SIZE, SIZE, 3]),
            "position": (TensorProto.FLOAT, [len(JOINTS)]),
            "tokens": (TensorProto.INT64, [1, 4]),
            "mask": (TensorProto.BOOL, [1, 4]),
        },
        {"embeddings": [LENGTH, WIDTH], "reference": [HORIZON, len(JOINTS)]},
        {
            "axes": np.array([1, 2], np.int64),
            "rows": rows,
            "mix": rng.normal(0, 0.1, (3, WIDTH)).astype(np.float32),
        },
    )
    onnx.save(made, directory / "model.onnx")
    words = {
        text: {"tokens": [number + 1, 1, 7, 7], "mask": [True, True, False, False]}
        for number, text in enumerate(SENTENCES.values())
    }
    bundle = Bundle(
        **{
            "directory": directory,
            "name": "tiny",
            "version": "0",
            "robot": "bench",
            "cameras": CAMERAS,
            "image_size": SIZE,
            "joints": JOINTS,
            "horizon": HORIZON,
            "period": 0.02,
            "token_dim": TOKEN if encoder else 0,
            "tasks": SENTENCES,
            "normaliser": Normaliser(np.zeros(6), np.ones(6), np.full(3, 0.01)),
            "sha256": file_sha256(directory / "model.onnx"),
            "training": {},
            "settings": {"instructions": words},
            **changes,
        }
    )
    if encoder:
        encode(directory / "encoder.onnx")
        bundle = Bundle(**{**vars(bundle), "encoder": Encoder("encoder.onnx", bundle.vla)})
    bundle.save()
    return bundle


def encode(path: Path) -> None:
    """A token: the embeddings, flat."""
    nodes = [helper.make_node("Reshape", ["embeddings", "flat"], ["token"])]
    made = model(
        nodes,
        {"embeddings": (TensorProto.FLOAT, [LENGTH, WIDTH])},
        {"token": [TOKEN]},
        {"flat": np.array([TOKEN], np.int64)},
    )
    onnx.save(made, path)


def model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[int]]],
    outputs: dict[str, list[int]],
    constants: dict[str, np.ndarray[Any, Any]],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def moment(seed: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Pictures and joint positions."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 255, (len(CAMERAS), SIZE, SIZE, 3), np.uint8), rng.normal(size=len(JOINTS))
