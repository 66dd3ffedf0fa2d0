"""What a VLA must do to be served, and the back end that runs bundles with ONNX Runtime."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from rlt_ros.vla.bundle import Bundle, BundleError
from rlt_ros.vla.instruction import encode_instruction


class InferenceError(RuntimeError):
    """The model gave something that must not be flown."""


@dataclass(frozen=True)
class Inference:
    """Result of one forward pass.

    Attributes:
        token: RL token, shape (D,).
        reference: absolute joint targets, shape (H, J).
        seconds: duration of the pass.
    """

    token: NDArray[np.float32]
    reference: NDArray[np.float32]
    seconds: float


class VlaBackend(Protocol):
    """A VLA that gives token and reference in one pass."""

    def set_instruction(self, instruction: str) -> None:
        """What the VLA is told from now on."""

    def infer(self, images: NDArray[np.uint8], position: NDArray[Any]) -> Inference:
        """One pass.

        Args:
            images: shape (cameras, size, size, 3), RGB, in the bundle's camera order.
            position: joint positions in the bundle's order, shape (J,).
        """


class OnnxBackend:
    """Runs a bundle's `model.onnx`."""

    def __init__(
        self, bundle: Bundle, providers: tuple[str, ...] = ("CPUExecutionProvider",), threads: int = 1
    ) -> None:
        """Load and warm up.

        Args:
            bundle: from `load_bundle`.
            providers: ONNX Runtime execution providers in order of preference; those not installed are skipped.
            threads: of one pass on the CPU.

        Raises:
            BundleError: the model cannot be loaded, or does not do what the bundle says.
        """
        available = onnxruntime.get_available_providers()
        self.skipped = tuple(name for name in providers if name not in available)
        chosen = [name for name in providers if name in available] or ["CPUExecutionProvider"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that spin while they wait would take a core from the control loop.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(bundle.model_path), options, providers=chosen)
        except Exception as error:
            raise BundleError(f"{bundle.model_path} cannot be loaded: {error}") from error
        self.provider = self._session.get_providers()[0]
        self._bundle = bundle
        self._images_shape = (len(bundle.cameras), bundle.image_size, bundle.image_size, 3)
        self.set_instruction(bundle.instruction())
        self._warm_up()

    def _warm_up(self) -> None:
        bundle = self._bundle
        for _ in range(3):
            try:
                result = self.infer(np.zeros(self._images_shape, np.uint8), np.zeros(len(bundle.joints)))
            except InferenceError as error:
                raise BundleError(f"{bundle.model_path} does not run: {error}") from error
        shapes = (result.token.shape, result.reference.shape)
        expected = ((bundle.token_dim,), (bundle.horizon, len(bundle.joints)))
        if shapes != expected:
            raise BundleError(f"{bundle.model_path} gives token and reference {shapes}, bundle.yaml says {expected}")

    def set_instruction(self, instruction: str) -> None:
        """See `VlaBackend`."""
        self._words = encode_instruction(instruction)

    def infer(self, images: NDArray[np.uint8], position: NDArray[Any]) -> Inference:
        """See `VlaBackend`.

        Raises:
            InferenceError: the images have the wrong shape, the model fails, token or
                reference is not finite, or the token is all zero.
        """
        if images.shape != self._images_shape:
            raise InferenceError(f"images have shape {images.shape}, the bundle needs {self._images_shape}")
        start = time.perf_counter()
        try:
            token, reference = self._session.run(
                ["token", "reference"],
                {"images": images, "position": position.astype(np.float32), "instruction": self._words},
            )
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise InferenceError(f"the model does not run: {error}") from error
        seconds = time.perf_counter() - start
        if not (np.isfinite(token).all() and np.isfinite(reference).all()):
            raise InferenceError("token or reference is not finite")
        if not token.any():
            raise InferenceError("the RL token is all zero")
        return Inference(token, reference, seconds)
