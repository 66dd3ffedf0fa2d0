"""What to do about a library that cannot be imported: its package, or a system library beneath it."""

from __future__ import annotations

import re

_SYSTEM = {
    "libusb-1.0": "libusb-1.0-0",
    "libGL.so": "libgl1",
    "libEGL.so": "libegl1",
    "libglib-2.0": "libglib2.0-0",
    "libgthread-2.0": "libglib2.0-0",
}
"""Debian's and Ubuntu's packages of shared libraries."""


def remedy(error: ImportError, extra: str) -> str:
    """One line for people.

    Args:
        error: what the import raised.
        extra: of rlt_ros that brings the Python package.
    """
    library = re.match(r"(lib\S+?): cannot open shared object file", str(error))
    if library is None or isinstance(error, ModuleNotFoundError):
        return f"{error}: pip install 'rlt_ros[{extra}]'"
    package = next((name for start, name in _SYSTEM.items() if library.group(1).startswith(start)), "")
    how = f"apt-get install {package}" if package else f"install the system package that holds {library.group(1)}"
    return f"{error}: the Python package is there, a system library is missing: {how}"
