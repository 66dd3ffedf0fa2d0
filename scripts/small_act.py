"""Write a small ACT whose eyes see and whose rest is random, for `lerobot-train --policy.path`.

    PYTHONPATH=. .venv-lerobot/bin/python scripts/small_act.py DATASET OUT --cameras left_wrist right_wrist

OUT gets `policy` (a checkpoint) and `episodes` (numbers of the dataset's successes). Its eyes are trained first, on
where the parts are (the dataset's `grounding`): they stand for the pre-trained ones that a policy has elsewhere, and
two CPU cores cannot make better ones out of actions alone. Its chunks are relative to the joint positions that it sees
(grippers are not): pre- and post-processor hold LeRobot's own steps for that, which its configuration knows for pi0
only. The dataset's figures of its actions become those of relative chunks, as `lerobot-edit-dataset --operation.type
recompute_stats --operation.relative_action true` makes them, in seconds instead of many minutes. Nothing is fetched.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import make_pre_post_processors
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rlt_ros.vla.dataset import read_episodes
from rlt_ros.vla.lerobot_plugin.relative import make_relative

_SHIFT = 3
"""Pixels by which pictures are shifted in training, either way."""


def relative_figures(dataset: Path, rows: int, relative: NDArray[np.bool_]) -> dict[str, Any]:
    """Figures of chunks of actions less the joint positions at their beginning, in the joints that are `relative`."""
    chunks = []
    for path in sorted((dataset / "data").rglob("*.parquet")):
        table = pq.read_table(path, columns=["action", "observation.state", "episode_index"])
        action, state = (np.stack(table[name].to_numpy()) for name in ("action", "observation.state"))
        for episode in np.unique(numbers := table["episode_index"].to_numpy()):
            here = numbers == episode
            starts = np.arange(0, here.sum(), 3)
            wanted = np.minimum(starts[:, None] + np.arange(rows), here.sum() - 1)
            chunks.append((action[here][wanted] - (state[here][starts] * relative)[:, None]).reshape(-1, len(relative)))
    values = np.concatenate(chunks)
    figures = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    figures |= {
        f"q{round(100 * share):02d}": np.quantile(values, share, axis=0) for share in (0.01, 0.1, 0.5, 0.9, 0.99)
    }
    return {**{name: value.tolist() for name, value in figures.items()}, "count": [len(values)]}


def successes(dataset: Path) -> list[int]:
    """Numbers of the episodes that ended well."""
    found: set[int] = set()
    for path in (dataset / "data").rglob("*.parquet"):
        table = pq.read_table(path, columns=["next.success", "episode_index"])
        found.update(np.unique(table["episode_index"].to_numpy()[table["next.success"].to_numpy()]).tolist())
    return sorted(found)


def pictures(dataset: Path, cameras: list[str]) -> list[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Of each success, where the parts' place is known: pictures (N, cameras, H, W, 3), and that (N, GROUNDING)."""
    seen = []
    for episode in read_episodes(dataset, 4, tuple(cameras)):
        place = episode.grounding[episode.image_ticks]
        known = np.isfinite(place).all(1)
        if episode.ticks and known.any():
            seen.append((episode.images[known], place[known]))
    if len(seen) < 2:
        sys.exit(f"{dataset}: {len(seen)} successes say where the parts are (column grounding), 2 are needed")
    return seen


def shifted(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Pictures (N, H, W, 3), each moved by up to `_SHIFT` pixels; its edge is repeated."""
    height, width = images.shape[1:3]
    wide = np.pad(images, [(0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT), (0, 0)], "edge")
    corners = rng.integers(0, 2 * _SHIFT + 1, (len(images), 2))
    return np.stack([one[y : y + height, x : x + width] for one, (y, x) in zip(wide, corners, strict=True)])


def train_eyes(policy: ACTPolicy, dataset: Path, cameras: list[str], steps: int) -> float:
    """Teach the pictures' part of the policy to say linearly where the parts are.

    Returns:
        Root mean square error of the lateral offset (length in y and z) on the last tenth of the successes, mm.
    """
    episodes = pictures(dataset, [name.rpartition(".")[2] for name in cameras])
    cut = len(episodes) - max(1, len(episodes) // 10)
    (seen, place), held = (
        (np.concatenate(part) for part in zip(*some, strict=True)) for some in (episodes[:cut], episodes[cut:])
    )
    scale = torch.tensor([0.02, 0.004, 0.004, 0.05, 0.05])  # as the small VLA's
    stats = LeRobotDatasetMetadata("local/rlt", root=dataset).stats
    mean, std = (
        torch.tensor(np.stack([stats[name][figure] for name in cameras])).float() for figure in ("mean", "std")
    )
    model = policy.model
    eyes = torch.nn.ModuleList([model.backbone, model.encoder_img_feat_input_proj]).to(
        memory_format=torch.channels_last
    )

    def look(images: NDArray[np.uint8]) -> Tensor:
        pixels = (torch.from_numpy(images).permute(0, 1, 4, 2, 3) / 255.0 - mean) / std
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return eyes[1](eyes[0](pixels.flatten(0, 1).contiguous(memory_format=torch.channels_last))["feature_map"])

    where = torch.nn.Linear(look(seen[:1]).numel(), len(scale))
    parameters = [*eyes.parameters(), *where.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-4, steps, pct_start=0.1)
    rng = np.random.default_rng(0)
    for step in range(steps):
        index = rng.choice(len(seen), 32)
        images = shifted(seen[index].reshape(-1, *seen.shape[2:]), rng).reshape(seen[index].shape)
        target = torch.from_numpy(place[index]) / scale
        loss = functional.smooth_l1_loss(where(look(images).float().reshape(len(index), -1)), target.clamp(-5, 5))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            print(f"eyes {step}/{steps}: loss {loss.item():.4f}", flush=True)
    eyes.to(memory_format=torch.contiguous_format)
    seen, place = held
    with torch.no_grad():
        told = torch.cat(
            [where(look(part).float().reshape(len(part), -1)) for part in np.split(seen, range(64, len(seen), 64))]
        )
    error = (told * scale - torch.from_numpy(place))[:, 1:3]
    return 1e3 * float((error**2).sum(1).mean().sqrt())


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="LeRobot v3 dataset of square pictures (`rlt collect`)")
    parser.add_argument("out", type=Path, help="directory that is made")
    parser.add_argument("--cameras", nargs="+", help="of the dataset's cameras; default: all")
    parser.add_argument("--rows", type=int, default=30, help="of a chunk (%(default)s)")
    parser.add_argument("--width", type=int, default=256, help="of the transformer (%(default)s)")
    parser.add_argument("--eyes", type=int, default=1200, help="gradient steps of 32 for its eyes (%(default)s)")
    arguments = parser.parse_args()
    meta = LeRobotDatasetMetadata("local/rlt", root=arguments.dataset)
    cameras = [f"observation.images.{name}" for name in arguments.cameras] if arguments.cameras else meta.camera_keys
    side, joints = meta.features[cameras[0]]["shape"][0], meta.features["action"]["shape"][0]
    torch.manual_seed(0)
    config = ACTConfig(
        input_features={
            **{name: PolicyFeature(FeatureType.VISUAL, (3, side, side)) for name in cameras},
            "observation.state": PolicyFeature(FeatureType.STATE, (joints,)),
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (joints,))},
        pretrained_backbone_weights=None,
        chunk_size=arguments.rows,
        n_action_steps=arguments.rows,
        dim_model=arguments.width,
        dim_feedforward=4 * arguments.width,
        n_encoder_layers=3,
        use_vae=False,
        device="cpu",
        push_to_hub=False,
    )
    names = list(meta.features["action"]["names"])
    policy = ACTPolicy(config)
    stats = json.loads((arguments.dataset / "meta/stats.json").read_text())
    pre, post = make_pre_post_processors(config, dataset_stats=meta.stats)
    relative = make_relative(pre, post, names, absolute=["gripper"])
    stats["action"] = relative_figures(arguments.dataset, arguments.rows, np.array(relative))
    # lerobot-train takes them from there.
    (arguments.dataset / "meta/stats.json").write_text(json.dumps(stats, indent=2))
    numbers = successes(arguments.dataset)
    error = train_eyes(policy, arguments.dataset, cameras, arguments.eyes)
    print(f"eyes: lateral offset to {error:.2f} mm RMS in episodes that they have not seen")
    for part in (policy, pre, post):
        part.save_pretrained(arguments.out / "policy")
    (arguments.out / "episodes").write_text(json.dumps(numbers))
    parameters = sum(weight.numel() for weight in policy.parameters())
    print(f"{arguments.out / 'policy'}: {parameters / 1e6:.1f} M parameters, chunks of {arguments.rows} rows")
    print(f"{arguments.out / 'episodes'}: {len(numbers)} of {meta.total_episodes} episodes ended well")


if __name__ == "__main__":
    main()
