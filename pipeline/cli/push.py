"""`finetune push`: push the model of a finished run to the Hub."""

from __future__ import annotations

from typing import Annotated

import tyro

from pipeline.cli import arguments, startup
from pipeline.cli.arguments import Arguments
from pipeline.config.export import Quantization, require_packages
from pipeline.config.hub import Hub
from pipeline.errors import UserError


def _push(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    repo_id: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="REPO_ID")],
    private: bool = False,
    revision: str | None = None,
    tag: str | None = None,
    create_pr: bool = False,
    license: str | None = None,
    languages: tuple[str, ...] = (),
    seeds: tuple[str, ...] = (),
    overwrite: bool = False,
    with_onnx: bool = False,
    quantize: Quantization | None = None,
) -> None:
    """Check the model of a finished run and push it with its recipe, its metrics and a model card.

    Example: finetune push runs/sentiment-bilstm ada/sentiment-bilstm --license apache-2.0

    Args:
        model: folder of a finished run.
        repo_id: user/name or organization/name.
        private: create a private repository.
        revision: branch to push to; created if it does not exist.
        tag: tag for the new commit.
        create_pr: open a pull request in an existing repository instead of committing to it.
        license: license of the model: a license id of the Hub, such as apache-2.0.
        languages: languages of the texts: ISO 639 codes, such as en.
        seeds: folders of runs that differ only in their seed; the card reports mean and standard deviation over them.
        overwrite: push to a repository that already holds files that finetune did not push.
        with_onnx: export the model and push the export with it, in the folder onnx/.
        quantize: int8: weights of one byte in the export; see finetune export.
    """
    if quantize and not with_onnx:
        raise UserError("quantize: only an export is quantized; add --with-onnx")
    if with_onnx:
        require_packages("with-onnx")
    hub = Hub(
        push=True,
        repo_id=repo_id,
        private=private,
        revision=revision,
        tag=tag,
        create_pr=create_pr,
        license=license,
        languages=languages or None,
        overwrite=overwrite,
    )
    from pipeline.publish import staging

    staging.open_run(model)
    with startup.importing():
        from pipeline.publish import push as pushing

    if not with_onnx:
        pushing.push(model, hub, seeds)
        return
    with startup.importing():
        from pipeline.export.pushing import exported

    pushing.connect()  # an export takes minutes, and nobody should log in after them and start again
    with exported(model, quantize) as export:
        pushing.push(model, hub, seeds, export)


def command(given: Arguments) -> None:
    try:
        arguments.call(_push, given, "finetune push")
    except UserError as error:  # in a recipe the setting is hub.tag, here it is --tag
        raise UserError(str(error).removeprefix("hub.")) from error
