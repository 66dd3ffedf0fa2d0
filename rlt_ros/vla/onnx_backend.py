"""VLAs and token encoders as ONNX files, run by ONNX Runtime.

A model's inputs are `images` (cameras, size, size, 3) uint8, `position` (J,) and what it is told: `instruction`, the
small VLA's own words, or `tokens` and `mask` of a tokenizer, which `settings.instructions` of the bundle lists for
every sentence, so that no tokenizer is needed here. Its outputs are `reference`, and `token` or `embeddings`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from rlt_ros.vla.backend import InferenceError, Pass
from rlt_ros.vla.bundle import Bundle, BundleError
from rlt_ros.vla.instruction import encode_instruction


class OnnxBackend:
    """Runs a bundle's `model.onnx`, whose graph takes one moment."""

    batch = 1

    def __init__(
        self, bundle: Bundle, providers: tuple[str, ...] = ("CPUExecutionProvider",), threads: int = 1
    ) -> None:
        """Load.

        Args:
            bundle: from `load_bundle`.
            providers: execution providers in order of preference; those not installed are skipped.
            threads: of one pass on the CPU.

        Raises:
            BundleError: the model cannot be loaded, or has other inputs and outputs than a VLA.
        """
        self._session = _session(bundle.model_path, providers, threads)
        self.provider = self._session.get_providers()[0]
        self.skipped = _skipped(providers)
        inputs = {item.name for item in self._session.get_inputs()}
        outputs = {item.name for item in self._session.get_outputs()}
        self._made = [name for name in ("token", "embeddings") if name in outputs]
        told = inputs - {"images", "position"}
        if not {"images", "position"} <= inputs or "reference" not in outputs:
            raise BundleError(f"{bundle.model_path} has inputs {sorted(inputs)} and outputs {sorted(outputs)}")
        if told not in ({"instruction"}, {"tokens", "mask"}, set()):
            raise BundleError(f"{bundle.model_path} has unknown inputs {', '.join(sorted(told))}")
        self._sentences: dict[str, dict[str, list[int]]] = bundle.settings.get("instructions", {})
        self._told: dict[str, NDArray[Any]] = {}
        self._by_words, self._by_tokens = told == {"instruction"}, told == {"tokens", "mask"}

    def set_instruction(self, instruction: str) -> None:
        """See `VlaBackend`."""
        if self._by_words:
            self._told = {"instruction": encode_instruction(instruction)}
        elif self._by_tokens:
            if instruction not in self._sentences:
                known = "', '".join(self._sentences)
                raise ValueError(
                    f"'{instruction}' was not tokenised when this bundle was made; it knows '{known}': make it anew "
                    "with --instruction"
                )
            words = self._sentences[instruction]
            self._told = {
                "tokens": np.array([words["tokens"]], np.int64),
                "mask": np.array([words["mask"]], np.bool_),
            }

    def infer(self, images: NDArray[np.uint8], position: NDArray[np.float32]) -> list[Pass]:
        """See `VlaBackend`."""
        try:
            reference, *made = self._session.run(
                ["reference", *self._made], {"images": images[0], "position": position[0], **self._told}
            )
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise InferenceError(f"the model does not run: {error}") from error
        return [Pass(reference, **dict(zip(self._made, made, strict=True)))]

    def close(self) -> None:
        """Nothing is open."""


class OnnxEncoder:
    """The RL token's encoder beside a VLA: `embeddings` (L, W) float32 -> `token` (D,)."""

    def __init__(self, path: Path, providers: tuple[str, ...] = ("CPUExecutionProvider",), threads: int = 1) -> None:
        """Load.

        Raises:
            BundleError: the file cannot be loaded.
        """
        self._session = _session(path, providers, threads)

    def __call__(self, embeddings: NDArray[Any]) -> NDArray[np.float32]:
        """The token of some embeddings, shape (D,).

        Raises:
            InferenceError: the embeddings have another shape than those that it was trained on.
        """
        try:
            token: NDArray[np.float32] = self._session.run(["token"], {"embeddings": embeddings.astype(np.float32)})[0]
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise InferenceError(f"the token's encoder does not take embeddings {embeddings.shape}: {error}") from error
        return token


def _session(path: Path, providers: tuple[str, ...], threads: int) -> onnxruntime.InferenceSession:
    skipped = _skipped(providers)
    chosen = [name for name in providers if name not in skipped] or ["CPUExecutionProvider"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin while they wait would take a core from the control loop.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=chosen)
    except Exception as error:
        raise BundleError(f"{path} cannot be loaded: {error}") from error


def _skipped(providers: tuple[str, ...]) -> tuple[str, ...]:
    available = onnxruntime.get_available_providers()
    return tuple(name for name in providers if name not in available)
