"""Mend the CMake files of the PyPI ROS wheels: they name Python and numpy headers of the machine they were built on.

Idempotent; prints how many files it changed.
"""

import re
import sys
import sysconfig
from pathlib import Path

import numpy as np

PATHS = (
    (re.compile(r'[^;"]*/site-packages/numpy/_core/include'), np.get_include()),
    (re.compile(r'[^;"]*/include/python3\.\d+(?=[;"])'), sysconfig.get_path("include")),
)


def main() -> None:
    """Replace both paths in every exported CMake file of the virtual environment."""
    changed = 0
    for path in Path(sys.prefix, "share").glob("*/cmake/*Export.cmake"):
        old = new = path.read_text()
        for pattern, replacement in PATHS:
            new = pattern.sub(replacement, new)
        if new != old:
            # A new file, not an edit: installers link files of a venv to a cache that other environments share.
            fresh = path.with_suffix(".new")
            fresh.write_text(new)
            fresh.replace(path)
            changed += 1
    print(f"repaired {changed} CMake files")


if __name__ == "__main__":
    main()
