"""Silence other libraries: the command alone decides what appears on its terminal."""

from __future__ import annotations

import logging
import os
import sys
import warnings

# Libraries read these when they are imported, as do processes that the command starts. A variable that the user has
# set is kept.
ENVIRONMENT = {
    "TRANSFORMERS_VERBOSITY": "error",
    "DATASETS_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # those of transformers, too
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",  # sockets, and DistributedDataParallel's hints about unused parameters
}


def quiet() -> None:
    """Keep progress bars, hints and warnings of other libraries off the terminal.

    May be called before or after they are imported, and more than once.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    _quiet_imported()
    logging.getLogger("optuna").setLevel(logging.ERROR)
    logging.getLogger("accelerate.tracking").setLevel(logging.ERROR)
    logging.getLogger("DeepSpeed").addFilter(_is_error)  # it sets its own level when it is imported
    logging.getLogger("torch.onnx._internal.exporter._registration").addFilter(_is_error)
    logging.getLogger().addFilter(_is_not_of_quantization)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def _is_not_of_quantization(record: logging.LogRecord) -> bool:
    """Whether it is an error, or comes from elsewhere: ONNX Runtime's quantization uses the root logger."""
    return _is_error(record) or "onnxruntime" not in record.pathname


def _quiet_imported() -> None:
    """Silence what has read its environment already: a recipe file may import these libraries itself."""
    if "huggingface_hub" in sys.modules and _is_ours("HF_HUB_DISABLE_PROGRESS_BARS"):
        import huggingface_hub

        huggingface_hub.logging.set_verbosity_error()
        huggingface_hub.utils.disable_progress_bars()
    if "transformers" in sys.modules and _is_ours("TRANSFORMERS_VERBOSITY"):
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
    if "datasets" in sys.modules and _is_ours("DATASETS_VERBOSITY"):
        import datasets

        datasets.logging.set_verbosity_error()
        datasets.disable_progress_bars()


def _is_ours(name: str) -> bool:
    return os.environ.get(name) == ENVIRONMENT[name]
