"""The export that goes with a push."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.config.export import Quantization
from pipeline.export import runner
from pipeline.export.folder import export
from pipeline.publish import reference_outputs
from pipeline.publish.onnx_folder import OnnxExport, as_json
from pipeline.publish.staging import open_run


@contextlib.contextmanager
def exported(name: str, quantization: Quantization | None = None) -> Iterator[OnnxExport]:
    """An export of the finished run in the folder `name`, in a temporary folder, with its answers to the texts on which
    the push tries the model.

    Raises:
        UserError: see `folder.export`.
    """
    with tempfile.TemporaryDirectory(prefix="finetune-onnx-") as aside:
        folder, run = Path(aside) / "onnx", open_run(name)  # first: not every run that can be exported can be pushed
        export(name, folder, quantization, remedy=f"push without {'--quantize' if quantization else '--with-onnx'}")
        texts = reference_outputs.read(run.folder)["texts"]
        yield OnnxExport(folder, texts, as_json(runner.load(folder)(texts)))
