"""What a pass of a VLA costs: of a bundle, or of LeRobot's policies at full size with random weights.

`rlt bench vla --bundle B --providers CUDAExecutionProvider CPUExecutionProvider` measures what would fly, on each of
them; the last one is the reference. Policies run where LeRobot is: `.venv-lerobot/bin/python -m rlt_ros.cli bench vla
--policy smolvla --device cuda`; there the reference is the first of the given types, by default float32.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rlt_ros.sim.names import CAMERA_NAMES, JOINT_NAMES
from rlt_ros.vla.bundle import load_bundle
from rlt_ros.vla.loaded import LoadedVla

if TYPE_CHECKING:
    from rlt_ros.vla.lerobot_policy import LeRobotPolicy

CAMERAS, JOINTS, ROWS = CAMERA_NAMES, len(JOINT_NAMES), 50
WORDS = "insert the ethernet plug"
SMOLVLM2_500M = (
    {
        "hidden_size": 960,
        "intermediate_size": 2560,
        "num_hidden_layers": 32,
        "num_attention_heads": 15,
        "num_key_value_heads": 5,
        "head_dim": 64,
    },
    {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 512,
        "patch_size": 16,
    },
    4,
)
"""Sizes of HuggingFaceTB/SmolVLM2-500M-Video-Instruct."""
_PALIGEMMA = 257_152
"""Words of PaliGemma's tokenizer."""


def build(kind: str, device: str, dtype: str, root: Path) -> LeRobotPolicy:
    """A random policy of the size that is published."""
    from lerobot.policies.factory import make_pre_post_processors
    from random_policies import features, language_model, local_words, paligemma_words, statistics

    from rlt_ros.vla.lerobot_policy import LeRobotPolicy

    side = {"act": 480, "smolvla": 512}.get(kind, 224)
    common: dict[str, Any] = {**features(side, CAMERAS, JOINTS), "device": device, "chunk_size": ROWS}
    if kind == "act":
        from lerobot.policies.act.configuration_act import ACTConfig
        from lerobot.policies.act.modeling_act import ACTPolicy

        policy: Any = ACTPolicy(ACTConfig(**common, n_action_steps=ROWS, pretrained_backbone_weights=None))
    elif kind == "smolvla":
        from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
        from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy

        vlm = str(language_model(root / "vlm", *SMOLVLM2_500M))
        words = {"pad_language_to": "max_length", "vlm_model_name": vlm, "load_vlm_weights": False}
        policy = SmolVLAPolicy(SmolVLAConfig(**common, **words))
    else:
        from lerobot.policies.pi0 import configuration_pi0, modeling_pi0
        from lerobot.policies.pi05 import configuration_pi05, modeling_pi05

        local_words(paligemma_words(root / "words", _PALIGEMMA))
        pi05 = (configuration_pi05.PI05Config, modeling_pi05.PI05Policy)
        config, model = pi05 if kind == "pi05" else (configuration_pi0.PI0Config, modeling_pi0.PI0Policy)
        with torch.device(device):  # billions of random numbers
            policy = model(config(**common, dtype=dtype, compile_model=False))
    pre, post = make_pre_post_processors(policy.config, dataset_stats=statistics(CAMERAS, JOINTS))
    return LeRobotPolicy(policy, pre, post, device)


def measure(policy: LeRobotPolicy, passes: int, mixed: bool) -> dict[str, Any]:
    """Passes one after the other, each waited for."""
    rng = np.random.default_rng(0)
    shape = (len(policy.cameras), policy.image_size, policy.image_size, 3)
    images, position = rng.integers(0, 255, shape, np.uint8), np.zeros(policy.joints, np.float32)
    cuda = policy.device.type == "cuda"
    seconds = []
    for number in range(passes + 3):
        start = time.perf_counter()
        with torch.autocast(policy.device.type, torch.bfloat16, enabled=mixed):
            made = policy.infer(images, position, WORDS)
        made.embeddings.cpu()
        if number >= 3:
            seconds.append(time.perf_counter() - start)
    return {
        **_speed(seconds),
        "memory_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2) if cuda else None,
        "embeddings": list(made.embeddings.shape),
    }


def measure_bundle(directory: Path, providers: list[str], passes: int) -> dict[str, Any]:
    """Passes of a bundle with its token, one after the other, on each provider."""
    bundle = load_bundle(directory)
    rng = np.random.default_rng(0)
    shape = (len(bundle.cameras), bundle.image_size, bundle.image_size, 3)
    figures: dict[str, Any] = {}
    for provider in providers:
        vla = LoadedVla(bundle, (provider,))
        vla.warm_up()
        images = rng.integers(0, 255, (passes, *shape), np.uint8)
        seconds = [vla.infer(image, np.zeros(len(bundle.joints))).seconds for image in images]
        figures[vla.provider] = _speed(seconds)
        vla.close()
    first, last = (list(figures.values())[i]["passes_per_s"] for i in (0, -1))
    return {"bundle": bundle.id, "ratio": round(first / last, 2), **figures}


def _speed(seconds: list[float]) -> dict[str, float]:
    return {
        "passes_per_s": round(len(seconds) / sum(seconds), 2),
        "ms_p50": round(1e3 * float(np.median(seconds)), 1),
        "ms_p99": round(1e3 * float(np.percentile(seconds, 99)), 1),
    }


def main() -> None:
    """Measure a bundle or a policy."""
    parser = argparse.ArgumentParser(prog="rlt bench vla", description=__doc__)
    parser.add_argument("--policy", choices=("act", "smolvla", "pi0", "pi05"), default="smolvla")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="of torch")
    parser.add_argument("--types", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    parser.add_argument("--passes", type=int, default=30, help="passes of each type")
    parser.add_argument("--save", type=Path, help="write the random policy as a checkpoint instead, to try its import")
    parser.add_argument("--bundle", type=Path, help="measure this bundle instead")
    parser.add_argument("--providers", nargs="+", default=["CPUExecutionProvider"], help="of ONNX Runtime (--bundle)")
    arguments = parser.parse_args()
    if arguments.bundle:
        print(json.dumps(measure_bundle(arguments.bundle, arguments.providers, arguments.passes)))
        return
    if arguments.save:
        built = build(arguments.policy, arguments.device, arguments.types[0], arguments.save)
        for part in (built.policy, built.pre, built.post):
            part.save_pretrained(arguments.save / "pretrained_model")
        return
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as directory:
        for dtype in arguments.types:
            # pi holds its weights in the type; the others are computed in it where torch's autocast does so.
            built = build(arguments.policy, arguments.device, dtype, Path(directory))
            mixed = dtype == "bfloat16" and not arguments.policy.startswith("pi")
            figures[dtype] = measure(built, arguments.passes, mixed)
            parameters = sum(weight.numel() for weight in built.policy.parameters())
            del built
            if arguments.device != "cpu":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
    first, last = (figures[arguments.types[i]]["passes_per_s"] for i in (0, -1))
    device = torch.cuda.get_device_name() if arguments.device != "cpu" else platform.machine()
    report = {"policy": arguments.policy, "device": device, "parameters": parameters, "ratio": round(last / first, 2)}
    print(json.dumps({**report, **figures}))


if __name__ == "__main__":
    main()
