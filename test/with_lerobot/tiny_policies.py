"""Small random policies of all kinds, with their processors, as LeRobot saves them; nothing is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.policies.factory import make_pre_post_processors
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    SmolVLMConfig,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

CAMERAS, JOINTS, SIDE = ("left", "base"), 3, 64
WORDS = ["insert the plug\n", "wait here\n", "Task: insert the plug, State: 0 12 128 255;\nAction: "]


def features(side: int) -> dict[str, Any]:
    seen = {f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, (3, side, side)) for name in CAMERAS}
    seen["observation.state"] = PolicyFeature(FeatureType.STATE, (JOINTS,))
    return {"input_features": seen, "output_features": {"action": PolicyFeature(FeatureType.ACTION, (JOINTS,))}}


def statistics() -> dict[str, dict[str, torch.Tensor]]:
    """Of a dataset whose joints have different scales."""
    generator = torch.Generator().manual_seed(0)

    def joints() -> dict[str, torch.Tensor]:
        centre, spread = torch.randn(JOINTS, generator=generator), torch.rand(JOINTS, generator=generator) + 0.2
        return {
            "mean": centre,
            "std": spread,
            "min": centre - 3 * spread,
            "max": centre + 3 * spread,
            "q01": centre - 2 * spread,
            "q99": centre + 2 * spread,
        }

    colours = {"mean": 0.5, "std": 0.25, "min": 0.0, "max": 1.0}
    made = {"observation.state": joints(), "action": joints()}
    for name in CAMERAS:
        made[f"observation.images.{name}"] = {key: torch.full((3, 1, 1), value) for key, value in colours.items()}
    return made


def tokenizer(*special: str) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<pad>", "<s>", "</s>", "<unk>", *special], initial_alphabet=letters
    )
    made.train_from_iterator(WORDS, trainer)
    return made


def language_model(directory: Path) -> Path:
    """What SmolVLA takes from the hub: configuration and processor of a small SmolVLM."""
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
    images = SmolVLMImageProcessor()
    SmolVLMProcessor(
        images, words, SmolVLMVideoProcessor(), image_seq_len=4, chat_template="{{ messages }}"
    ).save_pretrained(directory)
    SmolVLMConfig(
        text_config={
            "model_type": "llama",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "vocab_size": len(words),
            "pad_token_id": words.pad_token_id,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "image_size": SIDE,
            "patch_size": 16,
        },
        scale_factor=2,
        image_token_id=words.convert_tokens_to_ids("<image>"),
        pad_token_id=words.pad_token_id,
        architectures=["SmolVLMForConditionalGeneration"],
    ).save_pretrained(directory)
    return directory


def paligemma_words(directory: Path) -> Path:
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer(), pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(directory)
    return directory


def shrink_pi() -> None:
    """pi0 and pi0.5 come in two sizes only, of billions: replace the sizes, here and where the policy is loaded."""
    from lerobot.policies.pi0 import modeling_pi0
    from lerobot.policies.pi05 import modeling_pi05
    from transformers import CONFIG_MAPPING, PaliGemmaConfig

    def paligemma(**_: Any) -> PaliGemmaConfig:
        vision = {
            "model_type": "siglip_vision_model",
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "patch_size": 14,
            "vision_use_head": False,
        }
        return PaliGemmaConfig(vision_config=vision, projection_dim=64)

    class Small(dict):  # type: ignore[type-arg]
        def __getitem__(self, key: str) -> Any:
            if key == "paligemma":
                return paligemma
            return lambda **given: CONFIG_MAPPING[key](**{**given, "vocab_size": 400})

    for module in (modeling_pi0, modeling_pi05):
        if isinstance(module.CONFIG_MAPPING, Small):
            continue
        module.get_gemma_config = lambda _variant, m=module: m.GemmaConfig(64, 2, 128, 8, 1, 16)
        module.CONFIG_MAPPING = Small()
        whole = module.PaliGemmaForConditionalGenerationWithPiGemma

        def build(config: PaliGemmaConfig, whole: Any = whole) -> Any:
            config.text_config.vocab_size = 400
            config.vision_config.intermediate_size, config.vision_config.projection_dim = 64, 64
            return whole(config=config)

        module.PaliGemmaForConditionalGenerationWithPiGemma = build


def save(kind: str, root: Path, side: int = SIDE) -> Path:
    """A random policy's checkpoint."""
    torch.manual_seed(0)
    common = {**features(side), "device": "cpu", "n_action_steps": 8}
    if kind == "act":
        from lerobot.policies.act.configuration_act import ACTConfig
        from lerobot.policies.act.modeling_act import ACTPolicy

        small = {"dim_model": 32, "n_heads": 4, "dim_feedforward": 64, "n_encoder_layers": 1, "n_vae_encoder_layers": 1}
        policy: Any = ACTPolicy(ACTConfig(**common, chunk_size=8, pretrained_backbone_weights=None, **small))
    elif kind == "diffusion":
        from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
        from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy

        small = {"down_dims": (32, 64), "crop_shape": None, "pretrained_backbone_weights": None, "use_group_norm": True}
        steps = {"n_obs_steps": 1, "horizon": 16, "num_inference_steps": 2, "noise_scheduler_type": "DDIM"}
        policy = DiffusionPolicy(DiffusionConfig(**common, **small, **steps))
    elif kind == "smolvla":
        from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
        from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy

        layers = {"num_vlm_layers": 2, "num_expert_layers": -1, "num_steps": 2, "tokenizer_max_length": 12}
        vlm = {"vlm_model_name": str(language_model(root / "vlm")), "load_vlm_weights": False}
        shape = {"resize_imgs_with_padding": (side, side), "chunk_size": 8, "pad_language_to": "max_length"}
        policy = SmolVLAPolicy(SmolVLAConfig(**common, **layers, **vlm, **shape))
    else:
        shrink_pi()
        from lerobot.policies.pi0 import configuration_pi0, modeling_pi0, processor_pi0
        from lerobot.policies.pi05 import configuration_pi05, modeling_pi05, processor_pi05

        names = paligemma_words(root / "words")
        for module in (processor_pi0, processor_pi05):  # they name google's tokenizer
            step = module.TokenizerProcessorStep
            if isinstance(step, type):
                module.TokenizerProcessorStep = lambda tokenizer_name, step=step, **given: step(
                    tokenizer_name=str(names), **given
                )
        config, model = (
            (configuration_pi0.PI0Config, modeling_pi0.PI0Policy)
            if kind == "pi0"
            else (configuration_pi05.PI05Config, modeling_pi05.PI05Policy)
        )
        policy = model(config(**common, chunk_size=8, num_inference_steps=2))
    directory = root / kind
    pre, post = make_pre_post_processors(policy.config, dataset_stats=statistics())
    for part in (policy.eval(), pre, post):
        part.save_pretrained(directory)
    return directory
