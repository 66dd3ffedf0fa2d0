"""Where config, launch files and bundles are installed."""

from __future__ import annotations

from pathlib import Path

PACKAGE = "rlt_ros"


def share_directory() -> Path:
    """Where config, launch and bundles are installed; a source checkout is its own share directory."""
    source = Path(__file__).resolve().parents[1]
    if (source / "package.xml").is_file():
        return source
    from ament_index_python.packages import get_package_share_directory  # not installed in a source-only checkout

    return Path(get_package_share_directory(PACKAGE))
