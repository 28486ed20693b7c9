"""What `finetune export` may be asked for, checked before torch is imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

from pipeline.config import paths
from pipeline.errors import UserError

Quantization = Literal["int8"]
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
# Opset 18 is the first in which all reductions take their axes as an input. The last one is the newest that the oldest
# supported version of ONNX Runtime reads.
OPSETS = range(18, 24)
DEFAULT_OPSET = 18


def check(to: str, opset: int) -> Path:
    """The folder `to`, which an export may make.

    Raises:
        UserError: it exists, a package is missing, or there is no such opset.
    """
    require_packages("export")
    check_opset(opset)
    folder = paths.local(to, "to")
    if folder.exists() or folder.is_symlink():
        raise UserError(f"to: {to} exists; name a new folder")
    above = next(path for path in folder.parents if path.exists())
    if not above.is_dir():
        raise UserError(f"to: {above} is a file; name a folder")
    return folder


def check_opset(opset: int) -> None:
    """Refuse a version of the ONNX operators that graphs are not built for."""
    if opset not in OPSETS:
        raise UserError(f"opset: {opset} is out of range; it must be from {OPSETS[0]} to {OPSETS[-1]}")


def require_packages(setting: str) -> None:
    """Refuse what needs ONNX if its packages are not installed."""
    missing = [name for name in PACKAGES if not importlib.util.find_spec(name)]
    if missing:
        raise UserError(
            f"{setting}: this requires the package {missing[0]}; run: pip install 'finetune-pipeline[export]'"
        )
