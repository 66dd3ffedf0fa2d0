"""Pictures that are made from configuration show what is configured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_picture_of_the_pad_is_its_mapping(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(ROOT / "scripts" / "pad_picture.py"), str(tmp_path / "pad.svg")], check=True)
    assert (tmp_path / "pad.svg").read_text() == (ROOT / "docs" / "images" / "pad.svg").read_text(), (
        "run ./rlt exec python scripts/pad_picture.py"
    )
