"""The command `finetune push`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import tyro

from pipeline.errors import UserError
from pipeline.recipe import Hub


def push(arguments: Sequence[str]) -> None:
    """MODEL REPO_ID [--private] [--revision BRANCH] [--tag TAG]: put a finished run on the Hub."""

    def command(
        model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
        repo_id: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="REPO_ID")],
        private: bool = False,
        revision: str | None = None,
        tag: str | None = None,
        create_pr: bool = False,
        license: str | None = None,
        languages: tuple[str, ...] = (),
        seeds: tuple[str, ...] = (),
        overwrite: bool = False,
    ) -> None:
        """Check the model of a finished run and push it, with its recipe, its metrics and a card made of them.

        Args:
            model: folder of a finished run.
            repo_id: user/name or organisation/name.
            private: make a repository that you alone, or your organisation, may read.
            revision: branch; it is made where there is none of that name.
            tag: name for the commit that is made.
            create_pr: propose the change to a repository that is there, instead of making it.
            license: of the model, by its id on the Hub, such as apache-2.0.
            languages: of the texts, by their codes, such as en.
            seeds: folders of runs that differ in the seed alone; the card gives mean and spread over all of them.
            overwrite: write into a repository that holds something else than a run that was pushed.
        """
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
        from pipeline.hub import stage

        stage.open_run(model)
        from pipeline import run
        from pipeline.hub import push as pushing

        run.quiet()
        pushing.push(model, hub, seeds)

    try:
        tyro.cli(command, args=list(arguments), prog="finetune push")
    except UserError as error:  # here a setting is a flag
        raise UserError(str(error).removeprefix("hub.")) from error
