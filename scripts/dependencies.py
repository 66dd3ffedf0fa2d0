"""Print the requirements that setup.py declares, for tools that cannot read extras of a package they may not install.

Usage: dependencies.py EXTRA...
"""

import argparse
import re
from distutils.core import run_setup
from pathlib import Path

from setuptools import distutils  # noqa: F401  (makes distutils importable on Python >= 3.12)


def main() -> None:
    """Print one requirement a line, torch left out: it is installed on its own, as a CPU build."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extras", nargs="*")
    arguments = parser.parse_args()
    distribution = run_setup(str(Path(__file__).parents[1] / "setup.py"), stop_after="init")
    requirements = list(distribution.install_requires)
    for extra in arguments.extras:
        requirements += distribution.extras_require[extra]
    for requirement in requirements:
        name = re.split(r"[^A-Za-z0-9_-]", requirement)[0]
        if name != "torch":
            print(requirement)


if __name__ == "__main__":
    main()
