"""`rlt bench heads`: which head on the same embeddings flies better, regression or flow matching.

Both heads read what the bundle's own head reads (its VLA stays as it is) and learn from the same new demonstrations.
Regression: the bundle's architecture, smooth L1. Flow matching: a perceptron that gives the velocity of the straight
path from noise to the chunk (rectified flow, Liu et al., 2022), integrated by Euler steps.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rlt_ros.bringup.graph import Bringup
from rlt_ros.offline.evaluate import FIRST_SEED, summarise
from rlt_ros.offline.rollout import Rollout, Trial, make_executor
from rlt_ros.sim.cell import Cell
from rlt_ros.sim.demonstrate import Order, collect_parallel, demonstration_seed
from rlt_ros.sim.tasks import get_task
from rlt_ros.types import Phase, SessionView
from rlt_ros.vla.backend import Inference
from rlt_ros.vla.bundle import Bundle, load_bundle
from rlt_ros.vla.demos import Demonstrations, prepare
from rlt_ros.vla.instruction import encode_instruction

Head = Callable[[Tensor], Tensor]


class Features:
    """The bundle's model up to its head."""

    def __init__(self, bundle: Bundle) -> None:
        """Find the input of the head's first layer and make it an output."""
        model = onnx.load(str(bundle.model_path))
        first = next(node for node in model.graph.node if "vla.head.0.weight" in node.input)
        self._name = first.input[0]
        model.graph.output.append(onnx.helper.make_tensor_value_info(self._name, onnx.TensorProto.FLOAT, None))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        self.words = encode_instruction(bundle.instruction())

    def __call__(self, images: NDArray[np.uint8], position: NDArray[np.float64]) -> tuple[Tensor, NDArray[np.float32]]:
        """What the head reads, and the RL token."""
        feeds = {"images": images, "position": position.astype(np.float32), "instruction": self.words}
        features, token = self._session.run([self._name, "token"], feeds)
        return torch.from_numpy(features.reshape(-1)), token


class HeadBackend:
    """A `TokenSource` with another head."""

    def __init__(self, bundle: Bundle, head: Head) -> None:
        """Put `head` behind the bundle's embeddings."""
        self._bundle, self._features, self._head = bundle, Features(bundle), head
        self.seconds: list[float] = []

    def set_instruction(self, instruction: str) -> None:
        """See `TokenSource`."""
        self._features.words = encode_instruction(instruction)

    def infer(self, images: NDArray[np.uint8], position: NDArray[np.float64]) -> Inference:
        """See `TokenSource`."""
        features, token = self._features(images, position)
        start = time.perf_counter()
        with torch.no_grad():
            steps = self._head(features[None])[0].numpy() * self._bundle.normaliser.action_std
        self.seconds.append(time.perf_counter() - start)
        return Inference(token, (position + np.cumsum(steps, axis=0)).astype(np.float32), self.seconds[-1])


class Regression(nn.Module):
    """The architecture of the bundle's head."""

    def __init__(self, width: int, horizon: int, joints: int) -> None:
        """Fresh weights."""
        super().__init__()
        self.shape = (horizon, joints)
        self.net = nn.Sequential(
            nn.Linear(width, 256), nn.GELU(), nn.Linear(256, 256), nn.GELU(), nn.Linear(256, horizon * joints)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Chunks (N, H, J)."""
        out: Tensor = self.net(features).view(-1, *self.shape)
        return out

    def loss(self, features: Tensor, chunk: Tensor, valid: Tensor) -> Tensor:
        """Smooth L1 over demonstrated rows."""
        error = nn.functional.smooth_l1_loss(self(features), chunk, reduction="none").mean(-1)
        return (error * valid).sum() / valid.sum()


class Flow(nn.Module):
    """Velocity field over chunks."""

    def __init__(self, width: int, horizon: int, joints: int, euler_steps: int, hidden: int = 512) -> None:
        """Fresh weights."""
        super().__init__()
        self.shape, self.euler_steps = (horizon, joints), euler_steps
        size = horizon * joints
        self.net = nn.Sequential(
            nn.Linear(width + size + 16, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, size),
        )

    def velocity(self, features: Tensor, noisy: Tensor, when: Tensor) -> Tensor:
        """Of the path at time `when` (N, 1), shape of `noisy` (N, H J)."""
        angles = when * (torch.pi * 2.0 ** torch.arange(8))
        out: Tensor = self.net(torch.cat([features, noisy, angles.sin(), angles.cos()], 1))
        return out

    def forward(self, features: Tensor) -> Tensor:
        """Sampled chunks (N, H, J)."""
        x = torch.randn(len(features), self.shape[0] * self.shape[1])
        for step in range(self.euler_steps):
            x = x + self.velocity(features, x, torch.full((len(x), 1), step / self.euler_steps)) / self.euler_steps
        return x.view(-1, *self.shape)

    def loss(self, features: Tensor, chunk: Tensor, valid: Tensor) -> Tensor:
        """Conditional flow matching over demonstrated rows."""
        noise, target, when = torch.randn_like(chunk).flatten(1), chunk.flatten(1), torch.rand(len(chunk), 1)
        error = self.velocity(features, noise + when * (target - noise), when) - (target - noise)
        return (error.view_as(chunk).square().mean(-1) * valid).sum() / valid.sum()


def fit(head: Regression | Flow, features: Tensor, demos: Demonstrations, bundle: Bundle, steps: int) -> None:
    """Adam on random batches, cosine schedule."""
    chunks = torch.from_numpy(demos.steps / bundle.normaliser.action_std)
    valid = torch.from_numpy(demos.valid)
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        index = torch.randint(len(features), (256,))
        loss = head.loss(features[index], chunks[index], valid[index])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()


def fly(bundle: Bundle, task: str, head: Head, episodes: int) -> tuple[list[Trial], float]:
    """Evaluation episodes, and the median time of the head alone in ms."""
    cell = Cell(get_task(task), image_size=bundle.image_size)
    backend = HeadBackend(bundle, head)
    rollout = Rollout(cell, backend, bundle, make_executor(bundle))
    seeds = range(FIRST_SEED, FIRST_SEED + episodes)
    trials = [rollout.run(seed, SessionView(1, seed, Phase.CRITICAL, actor_enabled=False)) for seed in seeds]
    cell.close()
    return trials, 1000 * float(np.median(backend.seconds))


def main() -> None:
    """Demonstrate, fit both, fly both, print one JSON object."""
    parser = argparse.ArgumentParser(prog="rlt bench heads", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=None)
    parser.add_argument("--demonstrations", type=int, default=150, help="a task")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--euler-steps", type=int, default=10)
    parser.add_argument("--episodes", type=int, default=50, help="flown a task and head")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    bundle = load_bundle(arguments.bundle or Bringup().bundle_path)
    orders = [
        Order(task, "controlled", arguments.demonstrations, 5, demonstration_seed(arguments.seed, task, "controlled"))
        for task in bundle.tasks
    ]
    demos = prepare(collect_parallel(orders), bundle.horizon)
    read = Features(bundle)
    rows: list[Tensor] = []
    for images, position, told in zip(demos.images, demos.position, demos.instruction, strict=True):
        read.words = encode_instruction(list(demos.tasks.values())[told])
        rows.append(read(images, position)[0])
    features = torch.stack(rows)
    print(f"{len(features)} observations of {sum(demos.ticks > 0)} demonstrations", file=sys.stderr)
    shape = (features.shape[1], bundle.horizon, len(bundle.joints))
    heads: dict[str, Regression | Flow] = {
        "regression": Regression(*shape),
        "flow": Flow(*shape, arguments.euler_steps),
    }
    report: dict[str, object] = {name: getattr(arguments, name) for name in ("demonstrations", "steps", "euler_steps")}
    for name, head in heads.items():
        fit(head, features, demos, bundle, arguments.steps)
        print(f"{name}: trained", file=sys.stderr)
        for task in bundle.tasks:
            trials, milliseconds = fly(bundle, task, head, arguments.episodes)
            figures = summarise(trials, get_task(task).limit)
            kept = ("success", "success_95", "median_ticks", "throughput", "throughput_95")
            report[f"{name}/{task}"] = {**{key: figures[key] for key in kept}, "head_ms": round(milliseconds, 3)}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
