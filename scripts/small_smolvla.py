"""Write a SmolVLA with random weights, small enough to be trained on two CPU cores, for `lerobot-train --policy.path`.

    PYTHONPATH=. .venv-lerobot/bin/python scripts/small_smolvla.py DATASET OUT --cameras left_wrist right_wrist

OUT gets `policy` (a checkpoint) and `vlm` (configuration and tokenizer of its language model). Its chunks are relative
to the joint positions that it sees (grippers are not): pre- and post-processor hold LeRobot's own steps for that, which
its configuration knows for pi0 only. The dataset's figures of its actions become those of relative chunks, as
`lerobot-edit-dataset --operation.type recompute_stats --operation.relative_action true` makes them, in seconds instead
of many minutes. Nothing is fetched.
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
from lerobot.policies.factory import make_pre_post_processors
from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
from random_policies import language_model

from rlt_ros.vla.lerobot_plugin.relative import make_relative

_LAYERS = 4


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


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="LeRobot v3 dataset of square pictures (`rlt collect`)")
    parser.add_argument("out", type=Path, help="directory that is made")
    parser.add_argument("--cameras", nargs="+", help="of the dataset's cameras; default: all")
    parser.add_argument("--rows", type=int, default=30, help="of a chunk (%(default)s)")
    parser.add_argument("--width", type=int, default=192, help="of the networks (%(default)s)")
    arguments = parser.parse_args()
    meta = LeRobotDatasetMetadata("local/rlt", root=arguments.dataset)
    cameras = [f"observation.images.{name}" for name in arguments.cameras] if arguments.cameras else meta.camera_keys
    side, joints = meta.features[cameras[0]]["shape"][0], meta.features["action"]["shape"][0]
    width = arguments.width
    text = {
        "hidden_size": width,
        "intermediate_size": 8 * width // 3,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": width // 4,
    }
    vision = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": side,
        "patch_size": 16,
    }
    torch.manual_seed(0)
    config = SmolVLAConfig(
        input_features={
            **{name: PolicyFeature(FeatureType.VISUAL, (3, side, side)) for name in cameras},
            "observation.state": PolicyFeature(FeatureType.STATE, (joints,)),
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (joints,))},
        vlm_model_name=str(language_model(arguments.out / "vlm", text, vision, 2).resolve()),
        load_vlm_weights=False,
        train_expert_only=False,
        freeze_vision_encoder=False,
        resize_imgs_with_padding=(side, side),
        num_vlm_layers=_LAYERS,
        chunk_size=arguments.rows,
        n_action_steps=arguments.rows,
        max_state_dim=joints,
        max_action_dim=joints,
        pad_language_to="max_length",
        tokenizer_max_length=12,
        device="cpu",
        push_to_hub=False,
    )
    names = list(meta.features["action"]["names"])
    policy = SmolVLAPolicy(config)
    pre, post = make_pre_post_processors(config, dataset_stats=meta.stats)
    relative = make_relative(pre, post, names, absolute=["gripper"])
    stats = json.loads((arguments.dataset / "meta/stats.json").read_text())
    stats["action"] = relative_figures(arguments.dataset, arguments.rows, np.array(relative))
    (arguments.dataset / "meta/stats.json").write_text(
        json.dumps(stats, indent=2)
    )  # lerobot-train takes them from there
    for part in (policy, pre, post):
        part.save_pretrained(arguments.out / "policy")
    parameters = sum(weight.numel() for weight in policy.parameters())
    print(f"{arguments.out / 'policy'}: {parameters / 1e6:.1f} M parameters, chunks of {arguments.rows} rows")


if __name__ == "__main__":
    main()
