"""A LeRobot policy from its checkpoint: loaded without the network, compared with its file, with a tap for embeddings.

LeRobot and its models are another world (Python 3.12, a torch of its own): only this file, the back end that serves
such a policy and its export import them, in LeRobot's own environment (`make lerobot`).
"""

from __future__ import annotations

import json
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the libraries are imported: a robot asks no hub
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.lerobot_types import TransitionKey
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.processor.relative_action_processor import RelativeActionsProcessorStep
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from rlt_ros.vla.bundle import BundleError
from rlt_ros.vla.lerobot_plugin import relative as _relative  # noqa: F401  (names a step of checkpoints)

KINDS = ("act", "diffusion", "smolvla", "pi0", "pi05")
WEIGHTS = "model.safetensors"
_STATE, _IMAGES, _TASK = "observation.state", "observation.images.", "task"
_TAPS = {
    # The norms themselves: LeRobot calls `forward` of the module above them directly, so that hooks there never fire.
    "smolvla": "model.vlm_with_expert.vlm.model.text_model.norm",
    "pi0": "model.paligemma_with_expert.paligemma.model.language_model.norm",
    "pi05": "model.paligemma_with_expert.paligemma.model.language_model.norm",
    "act": "model.encoder",
}
_WORDS = {
    "smolvla": "model.vlm_with_expert.vlm.model.text_model.embed_tokens",
    "pi0": "model.paligemma_with_expert.paligemma.model.language_model.embed_tokens",
    "pi05": "model.paligemma_with_expert.paligemma.model.language_model.embed_tokens",
}
_WITHOUT_NETWORK = {
    "pretrained_backbone_weights": None,  # ACT fetches ImageNet's even where the checkpoint has its own
    "load_vlm_weights": False,
    "compile_model": False,
    "rtc_config": None,
    "pad_language_to": "max_length",  # a fixed length of the words: one graph, one place for each embedding
}


@dataclass(frozen=True)
class Made:
    """One pass.

    Attributes:
        embeddings: shape (L, W); of a batch (N, L, W).
        rows: the chunk as the checkpoint gives it, absolute targets in the dataset's units, shape (H, J); of a batch
            (N, H, J).
    """

    embeddings: Tensor
    rows: Tensor


def load_policy(
    path: Path, *, vlm: Path | None = None, tokenizer: Path | None = None, device: str = "cpu", seed: int = 0
) -> LeRobotPolicy:
    """A checkpoint of one of `KINDS`, loaded and compared with its file.

    Args:
        path: the checkpoint's directory (`config.json`, `model.safetensors`, processors).
        vlm: directory with configuration and tokenizer of SmolVLA's language model; default: what the checkpoint
            names, from the hub's cache.
        tokenizer: directory of the tokenizer; default: likewise.
        device: of torch.
        seed: see `LeRobotPolicy`.

    Raises:
        BundleError: the checkpoint is none, of an unknown kind, not whole, needs files from the hub, or takes what is
            not given here.
    """
    if not (path / "config.json").is_file() or not (path / WEIGHTS).is_file():
        raise BundleError(f"{path} is no LeRobot checkpoint: it needs config.json and {WEIGHTS} (pretrained_model)")
    config = _configured(path, vlm, device)
    try:
        policy = get_policy_class(config.type).from_pretrained(path, config=config, strict=True)
        pre, post = _processors(config, path, vlm, tokenizer, device)
    except Exception as error:
        raise BundleError(_explained(path, error)) from error
    _compare_words(policy, pre, path)
    try:
        _compare(policy, path / WEIGHTS)
    except SafetensorError as error:
        raise BundleError(_explained(path, error)) from error
    try:
        return LeRobotPolicy(policy, pre, post, device, seed)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error


class LeRobotPolicy:
    """A policy of one of `KINDS`, with its processors and a tap for its embeddings."""

    def __init__(self, policy: Any, pre: Any, post: Any, device: str = "cpu", seed: int = 0) -> None:
        """Tap it.

        Args:
            policy: of LeRobot.
            pre: its pre-processor.
            post: its post-processor.
            device: of torch.
            seed: of the noise that a flow or diffusion begins with; the same in every pass, so that the chunk follows
                from what is seen.

        Raises:
            BundleError: its state is not the positions of the joints that it moves, or its pictures are not square.
        """
        self.policy, self.pre, self.post, self.config = policy, pre, post, policy.config
        self.kind: str = self.config.type
        self.policy.to(device).eval().requires_grad_(False)
        self.device = torch.device(device)
        self.cameras = tuple(
            name.removeprefix(_IMAGES) for name in self.config.image_features if "empty_camera" not in name
        )
        self.joints = int(self.config.action_feature.shape[0])
        if self.config.robot_state_feature is None or int(self.config.robot_state_feature.shape[0]) != self.joints:
            raise BundleError("state and action of the policy have different sizes: not joints and their targets")
        self.image_size = self._image_size()
        self.rows = int(getattr(self.config, "chunk_size", 0) or self.config.n_action_steps)
        self._seen: list[Tensor] = []
        self._tap()
        self.noise: Tensor | None = None
        if hasattr(self.config, "max_action_dim"):
            shape = (1, self.config.chunk_size, self.config.max_action_dim)
            self.noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(self.device)
        self._seed = seed
        steps = (step for step in pre.steps if isinstance(step, RelativeActionsProcessorStep) and step.enabled)
        self._relative = next(steps, None)
        self.in_batches = self.kind != "diffusion"  # its noise is drawn inside, anew for every place in a batch

    @torch.inference_mode()
    def infer(self, images: NDArray[np.uint8], position: NDArray[Any], instruction: str) -> Made:
        """One pass over one moment.

        Args:
            images: shape (cameras, size, size, 3), RGB, in the order of `cameras`.
            position: joint positions in the dataset's units, shape (J,).
            instruction: what the policy is told.
        """
        made = self.infer_batch(images[None], np.asarray(position)[None], instruction)
        return Made(made.embeddings[0], made.rows[0])

    @torch.inference_mode()
    def infer_batch(self, images: NDArray[np.uint8], positions: NDArray[Any], instruction: str) -> Made:
        """One pass over several moments: every array has a leading axis more than those of `infer`."""
        seen: dict[str, Any] = {
            _IMAGES + name: torch.from_numpy(images[:, index]).permute(0, 3, 1, 2).float().div(255)
            for index, name in enumerate(self.cameras)
        }
        seen[_STATE] = torch.from_numpy(np.asarray(positions, np.float32))
        seen[_TASK] = [instruction] * len(images)
        return self.chunk(self.pre(seen))

    def words(self, instruction: str) -> tuple[list[int], list[bool]] | None:
        """Token ids of an instruction and which of them count; None: it hears none."""
        seen: dict[str, Any] = {_IMAGES + name: torch.zeros(1, 3, 32, 32) for name in self.cameras}
        batch = self.pre({**seen, _STATE: torch.zeros(1, self.joints), _TASK: [instruction]})
        ids, mask = batch.get("observation.language.tokens"), batch.get("observation.language.attention_mask")
        return None if ids is None else (ids[0].tolist(), mask[0].bool().tolist())

    def chunk(self, batch: dict[str, Any]) -> Made:
        """The policy and its post-processor on a batch of N that the pre-processor made: (N, L, W) and (N, H, J)."""
        self._seen.clear()
        self.policy.reset()
        count = len(batch[_STATE])
        noise = {} if self.noise is None else {"noise": self.noise.repeat(count, 1, 1)}
        if self.kind == "diffusion":
            torch.manual_seed(self._seed)
            batch = {name: value[:, None] if name == _STATE else value for name, value in batch.items()}
        rows = self.post(self.policy.predict_action_chunk(batch, **noise))
        return Made(self.kept(self._seen[0]).float(), rows.float())

    def stand_at(self, position: Tensor) -> None:
        """Chunks that are relative are relative to these joint positions, shape (N, J), where no pre-processor ran."""
        if self._relative is not None:
            self._relative({TransitionKey.OBSERVATION: {_STATE: position}})  # which keeps them

    def kept(self, seen: Tensor) -> Tensor:
        """Of the prefix (N, L, W) those embeddings that every moment has: the pictures', and SmolVLA's joint state."""
        words = int(getattr(self.config, "tokenizer_max_length", 0))
        if self.kind == "smolvla":
            return torch.cat([seen[:, : -words - 1], seen[:, -1:]], dim=1)
        if self.kind in ("pi0", "pi05"):
            pictures = seen.shape[1] - words
            return seen[:, : pictures * len(self.cameras) // len(self.config.image_features)]
        return seen

    def _image_size(self) -> int:
        """The side of the square pictures that it takes; those that scale and pad by themselves take them so."""
        inside = getattr(self.config, "resize_imgs_with_padding", None) or getattr(
            self.config, "image_resolution", None
        )
        shapes = {tuple(inside)} if inside else {tuple(f.shape[1:]) for f in self.config.image_features.values()}
        sizes = {int(side) for shape in shapes for side in shape}
        if len(sizes) != 1:
            raise BundleError(
                f"it takes pictures of {sorted(shapes)}; square ones of one size are needed here: scale and pad "
                "the dataset's pictures, and train it on those"
            )
        return sizes.pop()

    def _tap(self) -> None:
        if self.kind == "diffusion":  # the one vector that the denoiser is conditioned on
            inner = self.policy.diffusion._prepare_global_conditioning

            def condition(batch: dict[str, Tensor]) -> Tensor:
                made: Tensor = inner(batch)
                self._seen.append(made[:, None])
                return made

            self.policy.diffusion._prepare_global_conditioning = condition
            return

        def note(_module: Any, _given: Any, made: Any) -> None:
            made = made[0] if isinstance(made, tuple) else made
            self._seen.append(made.transpose(0, 1) if self.kind == "act" else made)

        self.policy.get_submodule(_TAPS[self.kind]).register_forward_hook(note)


def _configured(path: Path, vlm: Path | None, device: str) -> Any:
    try:
        kind = json.loads((path / "config.json").read_text()).get("type")
        config = PreTrainedConfig.from_pretrained(path) if kind in KINDS else None
    except Exception as error:  # of LeRobot's parser too
        raise BundleError(_explained(path, error)) from error
    if config is None:
        raise BundleError(f"{path} is a '{kind}' policy; these can be imported: {', '.join(KINDS)}")
    config.device = device
    for name, value in {**_WITHOUT_NETWORK, **({"vlm_model_name": str(vlm)} if vlm else {})}.items():
        if hasattr(config, name):
            setattr(config, name, value)
    if getattr(config, "n_obs_steps", 1) != 1:
        raise BundleError(f"{path} looks at {config.n_obs_steps} moments at once; train it with n_obs_steps=1")
    if getattr(config, "prefix_length", 0) > 0 or getattr(config, "adapt_to_pi_aloha", False):
        raise BundleError(f"{path}: prefix_length and adapt_to_pi_aloha are not supported")
    return config


def _processors(config: Any, path: Path, vlm: Path | None, tokenizer: Path | None, device: str) -> tuple[Any, Any]:
    overrides: dict[str, Any] = {"device_processor": {"device": device}}
    if config.type in ("smolvla", "pi0", "pi05"):
        overrides["tokenizer_processor"] = {"padding": "max_length"}
        if tokenizer or vlm:
            overrides["tokenizer_processor"]["tokenizer_name"] = str(tokenizer or vlm)
    return make_pre_post_processors(
        config,
        str(path),
        preprocessor_overrides=overrides,
        postprocessor_overrides={"device_processor": {"device": "cpu"}},
    )


def _compare(policy: Any, path: Path) -> None:
    """Every tensor of the file is in the model: pi's loader swallows all errors and serves random weights.

    Raises:
        BundleError: tensors are missing, or differ; the message names some.
    """
    state = policy.state_dict()
    wrong = []
    with safe_open(path, "pt") as file:
        names = list(file.keys())
        for name in names:
            there = file.get_tensor(name)
            here = state.get(name)
            if here is None or here.shape != there.shape or not torch.equal(there.to(here.dtype), here.cpu()):
                wrong.append(name)
        shared = {value.data_ptr() for name, value in state.items() if name in names}
        missing = [name for name, value in state.items() if name not in names and value.data_ptr() not in shared]
    if wrong or missing:
        raise BundleError(
            f"{path} does not fit the policy: {len(wrong)} of its {len(names)} tensors are not in the model "
            f"({', '.join(wrong[:3]) or '-'}), {len(missing)} of the model's are not in it "
            f"({', '.join(missing[:3]) or '-'}): copy the checkpoint anew"
        )


def _compare_words(policy: Any, pre: Any, path: Path) -> None:
    """Another model's tokenizer gives numbers that mean other words here, or none.

    Raises:
        BundleError: the tokenizer knows more words than the policy, or less than half of them.
    """
    if policy.config.type not in _WORDS:
        return
    step = next(step for step in pre.steps if hasattr(step, "input_tokenizer"))
    known, rows = len(step.input_tokenizer), policy.get_submodule(_WORDS[policy.config.type]).weight.shape[0]
    if not rows / 2 <= known <= rows:
        raise BundleError(
            f"{path}: the tokenizer knows {known} words, the policy {rows}: it is another model's; give its own by "
            "--tokenizer"
        )


def _explained(path: Path, error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else ""
    told = f"{path} cannot be loaded: {type(error).__name__}: {text}"
    if isinstance(error, OSError | ValueError) and any(
        word in str(error) for word in ("huggingface.co", "offline", "hub")
    ):
        return (
            f"{told}; it needs its language model's configuration and tokenizer, and no hub is asked here: on a "
            'machine with a network \'hf download NAME --include "*.json" "*.model" --local-dir DIR\', then --vlm '
            "DIR or --tokenizer DIR"
        )
    return told
