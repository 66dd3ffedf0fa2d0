"""LeRobot policies in process, for those that do not export to one ONNX graph (pi0.5 writes the state in words)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from rlt_ros.vla.backend import InferenceError, Pass
from rlt_ros.vla.bundle import POLICY, Bundle
from rlt_ros.vla.lerobot_policy import load_policy

_GPU_BATCH = 8


class LeRobotBackend:
    """Runs the checkpoint in a bundle's `policy/`, on the GPU where torch finds one."""

    skipped: tuple[str, ...] = ()
    batch = 1

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        """Load.

        Args:
            bundle: from `load_bundle`.
            threads: of one pass on the CPU.

        Raises:
            BundleError: see `load_policy`.
        """
        torch.set_num_threads(threads)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        local = {name: bundle.directory / name for name in ("vlm", "tokenizer") if (bundle.directory / name).is_dir()}
        self._policy = load_policy(bundle.directory / POLICY, device=device, **local)  # type: ignore[arg-type]
        self._rows = bundle.horizon
        self.provider = f"lerobot {self._policy.kind} on {device}"
        self._instruction = ""
        if device == "cuda" and self._policy.in_batches:  # a CPU takes as long for eight as for one after the other
            self.batch = _GPU_BATCH

    def set_instruction(self, instruction: str) -> None:
        """See `VlaBackend`."""
        if not instruction.strip():
            raise ValueError("the instruction is empty")
        self._instruction = instruction

    def infer(self, images: NDArray[np.uint8], position: NDArray[np.float32]) -> list[Pass]:
        """See `VlaBackend`."""
        try:
            made = self._policy.infer_batch(images, position, self._instruction)
        except RuntimeError as error:  # of torch: out of memory, say
            raise InferenceError(f"the policy does not run: {str(error).splitlines()[0]}") from error
        embeddings = made.embeddings.cpu().numpy().astype(np.float16)
        rows = made.rows.cpu().numpy()[:, : self._rows]
        return [Pass(*one) for one in zip(rows, embeddings, strict=True)]

    def close(self) -> None:
        """Nothing is open."""
