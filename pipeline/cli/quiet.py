"""Silence other libraries."""

from __future__ import annotations

import sys
import warnings

import datasets
import huggingface_hub
import transformers


def quiet() -> None:
    """Keep the libraries' own bars, hints and warnings off the terminal: what matters is said by us."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    huggingface_hub.utils.disable_progress_bars()
    huggingface_hub.logging.set_verbosity_error()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
