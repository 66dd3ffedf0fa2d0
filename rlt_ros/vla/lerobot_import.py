"""A LeRobot checkpoint becomes a bundle: one ONNX graph where it exports, else the checkpoint itself."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.lerobot_types import TransitionKey
from torch import Tensor, nn

from rlt_ros import __version__
from rlt_ros.vla.bundle import MODEL_FILE, POLICY, Bundle, BundleError, file_sha256
from rlt_ros.vla.export import strip
from rlt_ros.vla.imports import Robot
from rlt_ros.vla.lerobot_policy import WEIGHTS, LeRobotPolicy, load_policy
from rlt_ros.vla.onnx_backend import OnnxBackend

EXPORTED = ("act", "smolvla")
"""Kinds of which one graph can be made; the others are served in process."""
_TOLERANCE = 1e-3
"""Largest difference of graph and torch, in the units of actions and embeddings."""
_LARGE = 1_500_000_000
"""Bytes from which on weights lie beside the graph: protobuf ends at 2 GB."""
_SIMPLIFIED = 400e6
"""Bytes of weights below which the exporter simplifies the graph: of a large one it takes more than a quarter of an
hour, and ONNX Runtime does the same once more when it loads it."""


@dataclass(frozen=True)
class Given:
    """What the checkpoint does not say.

    Attributes:
        cameras: the robot's name of a camera where the checkpoint has another one.
        instructions: sentences beside those of the dataset that the policy is to know.
        vlm: directory of SmolVLA's language model's configuration and tokenizer.
        tokenizer: directory of the tokenizer.
        seed: of the flow's noise.
        onnx: export one graph where the kind allows it.
    """

    cameras: Mapping[str, str]
    instructions: Sequence[str] = ()
    vlm: Path | None = None
    tokenizer: Path | None = None
    seed: int = 0
    onnx: bool = True


def import_lerobot(
    checkpoint: Path, out: Path, name: str, robot: Robot, given: Given, told: Callable[[str], None] = lambda _: None
) -> Bundle:
    """Make the bundle.

    Args:
        checkpoint: LeRobot's `pretrained_model` directory.
        out: directory of the bundle.
        name: of the bundle.
        robot: from a dataset of the robot that it is to fly: what a checkpoint does not say.
        given: what nobody else says.
        told: called with lines for people.

    Raises:
        BundleError: the checkpoint cannot be loaded, is of another embodiment, or the graph says something else.
    """
    policy = load_policy(checkpoint, vlm=given.vlm, tokenizer=given.tokenizer, seed=given.seed)
    cameras = tuple(given.cameras.get(camera, camera) for camera in policy.cameras)
    contents = robot.contents
    if policy.joints != len(contents.joints):
        raise BundleError(
            f"{checkpoint} is of another embodiment: it moves {policy.joints} joints, the dataset's robot "
            f"'{contents.robot}' has {len(contents.joints)}: {', '.join(contents.joints)}"
        )
    missing = [camera for camera in cameras if camera not in contents.cameras]
    if missing:
        raise BundleError(
            f"{checkpoint} looks through {', '.join(cameras)}; {', '.join(missing)} are none of the dataset's "
            f"({', '.join(contents.cameras)}): name them by --camera {missing[0]}=NAME"
        )
    told(f"{policy.kind}: every tensor is the file's; {policy.joints} joints, cameras {', '.join(cameras)}")
    sentences = list(dict.fromkeys([*robot.tasks.values(), *given.instructions]))
    first = policy.infer(*_moment(policy, 0), sentences[0])
    out.mkdir(parents=True, exist_ok=True)
    training: dict[str, Any] = {
        "imported": f"lerobot {policy.kind}",
        "checkpoint": file_sha256(checkpoint / WEIGHTS),
        "embeddings": list(first.embeddings.shape),
        "parameters": sum(weight.numel() for weight in policy.policy.parameters()),
    }
    description: dict[str, Any] = {
        "directory": out,
        "name": name,
        "version": __version__,
        "robot": contents.robot,
        "cameras": cameras,
        "image_size": policy.image_size,
        "joints": contents.joints,
        "horizon": len(first.rows),
        "period": contents.period,
        "token_dim": 0,
        "tasks": robot.tasks,
        "normaliser": robot.normaliser,
    }
    if given.onnx and policy.kind in EXPORTED:
        settings = _export(policy, sentences, out / MODEL_FILE, told)
        bundle = Bundle(**description, sha256=file_sha256(out / MODEL_FILE), training=training, settings=settings)
        training["onnx_difference"] = _check(policy, bundle, sentences)
        told(f"one ONNX graph; it and torch differ by {training['onnx_difference']}")
    else:
        files = _copy(checkpoint, given, out)
        sha256 = files.pop(f"{POLICY}/{WEIGHTS}")
        bundle = Bundle(**description, sha256=sha256, training=training, backend="lerobot", files=files)
    bundle.save()
    return bundle


class _Graph(nn.Module):
    """What is exported: pictures, joint positions and words in; embeddings and rows in physical units out."""

    def __init__(self, policy: LeRobotPolicy) -> None:
        super().__init__()
        self.inner = policy.policy
        self._policy = policy
        self._normalise = _step(policy.pre, "NormalizerProcessorStep")

    def forward(
        self, images: Tensor, position: Tensor, tokens: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        pictures = images.permute(0, 3, 1, 2).float() / 255
        seen = {f"observation.images.{name}": pictures[i][None] for i, name in enumerate(self._policy.cameras)}
        seen["observation.state"] = position[None]
        batch = dict(self._normalise({TransitionKey.OBSERVATION: seen})[TransitionKey.OBSERVATION])
        if tokens is not None:
            batch |= {"observation.language.tokens": tokens, "observation.language.attention_mask": mask}
        self._policy.stand_at(position[None])
        made = self._policy.chunk(batch)
        return made.embeddings[0], made.rows[0]


def _export(policy: LeRobotPolicy, sentences: Sequence[str], path: Path, told: Callable[[str], None]) -> dict[str, Any]:
    """Write the graph; the settings that its back end needs."""
    images, position = _moment(policy, 0)
    example = [torch.from_numpy(images), torch.from_numpy(position)]
    names, settings = ["images", "position"], {}
    words = {text: policy.words(text) for text in sentences}
    if words[sentences[0]] is not None:
        settings["instructions"] = {text: {"tokens": w[0], "mask": w[1]} for text, w in words.items() if w}
        ids, mask = words[sentences[0]] or ([], [])
        example += [torch.tensor([ids]), torch.tensor([mask])]
        names += ["tokens", "mask"]
    if policy.kind == "smolvla":
        _whole_pictures(policy)
    size = sum(weight.numel() * 4 for weight in policy.policy.parameters())
    large = size > _LARGE
    told(f"exporting{'' if size < _SIMPLIFIED else ' (some minutes)'}")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Graph(policy).eval(),
            tuple(example),
            path,
            input_names=names,
            output_names=["embeddings", "reference"],
            dynamo=True,
            external_data=large,
            optimize=size < _SIMPLIFIED,
            verbose=False,
        )
    if not large:
        strip(path)
    return settings


def _whole_pictures(policy: LeRobotPolicy) -> None:
    """SmolVLM's positions of patches export wrongly; those of a whole square picture are the whole table, in order."""
    inside = policy.policy.model.vlm_with_expert.vlm.model.vision_model.embeddings

    def embed(pixel_values: Tensor, **_: Any) -> Tensor:
        patches: Tensor = inside.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
        return patches + inside.position_embedding.weight

    inside.forward = embed


def _check(policy: LeRobotPolicy, bundle: Bundle, sentences: Sequence[str]) -> dict[str, float]:
    """The largest differences of the graph and the policy.

    Raises:
        BundleError: they do not say the same.
    """
    served = OnnxBackend(bundle, threads=torch.get_num_threads())
    worst = {"embeddings": 0.0, "reference": 0.0}
    for number, text in enumerate(sentences[:2] * 2):
        images, position = _moment(policy, number + 1)
        served.set_instruction(text)
        graph, plain = served.infer(images[None], position[None])[0], policy.infer(images, position, text)
        for name, one, other in (
            ("embeddings", graph.embeddings, plain.embeddings),
            ("reference", graph.reference, plain.rows),
        ):
            assert one is not None
            worst[name] = max(worst[name], float(np.abs(one - other.cpu().numpy()).max()))
    if max(worst.values()) > _TOLERANCE:
        raise BundleError(f"the exported graph says something else than the policy ({worst}): import it with --no-onnx")
    return {name: float(f"{value:.2g}") for name, value in worst.items()}


def _copy(checkpoint: Path, given: Given, out: Path) -> dict[str, str]:
    """Take everything that is read at run time into the bundle; the hash of each file."""
    for source, target in ((checkpoint, POLICY), (given.vlm, "vlm"), (given.tokenizer, "tokenizer")):
        if source is None:
            continue
        (out / target).mkdir(parents=True, exist_ok=True)
        for path in sorted(source.iterdir()):
            wanted = target == POLICY or path.suffix in (".json", ".model", ".txt", ".jinja")
            if path.is_file() and wanted:
                shutil.copyfile(path, out / target / path.name)
    return {
        str(path.relative_to(out)): file_sha256(path)
        for target in (POLICY, "vlm", "tokenizer")
        for path in sorted((out / target).glob("*"))
    }


def _moment(policy: LeRobotPolicy, seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    shape = (len(policy.cameras), policy.image_size, policy.image_size, 3)
    return rng.integers(0, 255, shape, np.uint8), rng.normal(size=policy.joints).astype(np.float32)


def _step(pipeline: Any, name: str) -> Any:
    return next(step for step in pipeline.steps if type(step).__name__ == name)
