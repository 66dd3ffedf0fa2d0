"""Small random policies of all kinds, with their processors, as LeRobot saves them; nothing is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lerobot.policies.factory import make_pre_post_processors
from random_policies import features, language_model, local_words, paligemma_words, statistics

from rlt_ros.vla.lerobot_plugin.relative import make_relative

CAMERAS, JOINTS, SIDE = ("left", "base"), 3, 64
_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
_VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "image_size": SIDE,
    "patch_size": 16,
}


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


def save(kind: str, root: Path, side: int = SIDE, *, relative: bool = False) -> Path:
    """A random policy's checkpoint; `relative`: its chunks are, but for the gripper's."""
    torch.manual_seed(0)
    common = {**features(side, CAMERAS, JOINTS), "device": "cpu", "n_action_steps": 8}
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
        vlm = {"vlm_model_name": str(language_model(root / "vlm", _TEXT, _VISION, 2)), "load_vlm_weights": False}
        shape = {"resize_imgs_with_padding": (side, side), "chunk_size": 8, "pad_language_to": "max_length"}
        policy = SmolVLAPolicy(SmolVLAConfig(**common, **layers, **vlm, **shape))
    else:
        shrink_pi()
        from lerobot.policies.pi0 import configuration_pi0, modeling_pi0
        from lerobot.policies.pi05 import configuration_pi05, modeling_pi05

        local_words(paligemma_words(root / "words"))
        config, model = (
            (configuration_pi0.PI0Config, modeling_pi0.PI0Policy)
            if kind == "pi0"
            else (configuration_pi05.PI05Config, modeling_pi05.PI05Policy)
        )
        policy = model(config(**common, chunk_size=8, num_inference_steps=2))
    directory = root / kind
    pre, post = make_pre_post_processors(policy.config, dataset_stats=statistics(CAMERAS, JOINTS))
    if relative:
        make_relative(pre, post, ("shoulder", "elbow", "gripper"), absolute=["gripper"])
    for part in (policy.eval(), pre, post):
        part.save_pretrained(directory)
    return directory
