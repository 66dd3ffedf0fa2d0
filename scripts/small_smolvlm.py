"""Write configuration and tokenizer of a SmolVLM small enough for two CPU cores (96-pixel pictures).

    .venv-lerobot/bin/python scripts/small_smolvlm.py DIRECTORY

For `lerobot-train --policy.type=smolvla --policy.vlm_model_name=DIRECTORY` (docs/your_vla.md). Nothing is fetched.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
from random_policies import language_model

TEXT = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 48,
}
VISION = {
    "hidden_size": 192,
    "intermediate_size": 384,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 96,
    "patch_size": 16,
}

if __name__ == "__main__":
    print(language_model(Path(sys.argv[1]), TEXT, VISION, scale=2))
