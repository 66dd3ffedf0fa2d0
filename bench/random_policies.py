"""Random policies of LeRobot's kinds with what they take from the hub, for benchmarks and tests; nothing is fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from lerobot.configs import FeatureType, PolicyFeature
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    SmolVLMConfig,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

WORDS = ["insert the plug\n", "wait here\n", "Task: insert the plug, State: 0 12 128 255;\nAction: "]


def features(side: int, cameras: tuple[str, ...], joints: int) -> dict[str, Any]:
    """Inputs and outputs of a policy on square pictures and joint positions."""
    seen = {f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, (3, side, side)) for name in cameras}
    seen["observation.state"] = PolicyFeature(FeatureType.STATE, (joints,))
    return {"input_features": seen, "output_features": {"action": PolicyFeature(FeatureType.ACTION, (joints,))}}


def statistics(cameras: tuple[str, ...], joints: int) -> dict[str, dict[str, torch.Tensor]]:
    """Of a dataset whose joints have different scales."""
    generator = torch.Generator().manual_seed(0)

    def of_joints() -> dict[str, torch.Tensor]:
        centre, spread = torch.randn(joints, generator=generator), torch.rand(joints, generator=generator) + 0.2
        return {
            "mean": centre,
            "std": spread,
            "min": centre - 3 * spread,
            "max": centre + 3 * spread,
            "q01": centre - 2 * spread,
            "q99": centre + 2 * spread,
        }

    colours = {"mean": 0.5, "std": 0.25, "min": 0.0, "max": 1.0}
    made = {"observation.state": of_joints(), "action": of_joints()}
    for name in cameras:
        made[f"observation.images.{name}"] = {key: torch.full((3, 1, 1), value) for key, value in colours.items()}
    return made


def tokenizer(*special: str) -> Tokenizer:
    """Of few words, with the special ones that a model asks for."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<pad>", "<s>", "</s>", "<unk>", *special], initial_alphabet=letters
    )
    made.train_from_iterator(WORDS, trainer)
    return made


def language_model(directory: Path, text: dict[str, Any], vision: dict[str, Any], scale: int) -> Path:
    """What SmolVLA takes from the hub: configuration and processor of a SmolVLM of some size."""
    special = {
        "image_token": "<image>",
        "fake_image_token": "<fake_token_around_image>",
        "global_image_token": "<global-img>",
        "end_of_utterance_token": "<end_of_utterance>",
    }
    words = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer(*special.values(), "<video>"),
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens=special,
        padding_side="right",
    )
    SmolVLMProcessor(
        SmolVLMImageProcessor(),
        words,
        SmolVLMVideoProcessor(),
        image_seq_len=(vision["image_size"] // vision["patch_size"] // scale) ** 2,
        chat_template="{{ messages }}",
    ).save_pretrained(directory)
    SmolVLMConfig(
        text_config={"model_type": "llama", "vocab_size": len(words), "pad_token_id": words.pad_token_id, **text},
        vision_config=vision,
        scale_factor=scale,
        image_token_id=words.convert_tokens_to_ids("<image>"),
        pad_token_id=words.pad_token_id,
        architectures=["SmolVLMForConditionalGeneration"],
    ).save_pretrained(directory)
    return directory


def paligemma_words(directory: Path, size: int = 0) -> Path:
    """A tokenizer in the place of PaliGemma's, with at least `size` words, most of them never used."""
    made = json.loads(tokenizer().to_str())
    known = made["model"]["vocab"]
    known |= {f"<unused{number}>": number for number in range(len(known), size)}
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(made)),
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    ).save_pretrained(directory)
    return directory


def local_words(directory: Path) -> None:
    """From now on pi's processors take the tokenizer in a directory; they name one of the hub."""
    from lerobot.policies.pi0 import processor_pi0
    from lerobot.policies.pi05 import processor_pi05

    for module in (processor_pi0, processor_pi05):
        step = module.TokenizerProcessorStep
        if isinstance(step, type):
            module.TokenizerProcessorStep = lambda step=step, **given: step(
                **{**given, "tokenizer_name": str(directory)}
            )
