"""LoRA adapters with peft: added to a model for training, and saved either merged into its weights or on their own."""

from __future__ import annotations

import copy
import importlib.util
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from pipeline.config import paths
from pipeline.config.models import Lora
from pipeline.config.task_specs import head_called
from pipeline.errors import UserError, reason
from pipeline.models import checkpoints
from pipeline.models.adapter_targets import Targets, choose_targets, copies_of_tied, tied_to

LABELS = "labels.json"
# What else a config.json would say about the answers of the model, if they are not one label per text.
ANSWERS = "head.json"
ANSWER_FIELDS = ("problem_type", "pairs", "thresholds", "learned_labels")
WEIGHTS = "adapter_model.safetensors"
POOLER = "pooler"


def require_peft(setting: str) -> None:
    """Refuse `setting` if peft is not installed."""
    if not importlib.util.find_spec("peft"):
        raise UserError(f"{setting}: this requires the package peft; run: pip install 'finetune-pipeline[lora]'")


def add_lora(
    model: PreTrainedModel,
    settings: Lora,
    head: str,
    checkpoint: str,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Any:
    """`model` as a `peft.PeftModel`, frozen except for low-rank adapters (Hu et al. 2022, section 4.1) and its head.

    Args:
        head: suffix of the Auto class, such as `SequenceClassification`.
        checkpoint: the base model that the saved adapter refers to, at `revision`.
        trust_remote_code: whether the recipe says that code which comes with the checkpoint may run.

    Raises:
        UserError: peft is not installed, or the adapters cannot be added, merged or loaded again as `settings` ask.
    """
    require_peft("model.lora")
    import peft

    # A language modeling head is as large as the embeddings, or shared with them: it stays frozen.
    heads = _heads(model) if head_called(head).has_labels else []
    targets = choose_targets(model, settings.targets)
    _check(model, settings, targets, trust_remote_code)
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha or 2 * settings.rank,
        lora_dropout=settings.dropout,
        target_modules=targets.modules,
        target_parameters=targets.parameters or None,
        modules_to_save=None if settings.merge else heads,
        task_type=None if settings.merge else head_called(head).peft,
        base_model_name_or_path=checkpoint,
        revision=revision,
    )
    try:
        adapted = peft.get_peft_model(model, config)
    except ValueError as error:
        raise UserError(f"model.lora: {reason(error)}") from error
    for name, parameter in adapted.named_parameters():
        if settings.merge and set(heads) & set(name.split(".")):
            parameter.requires_grad_(True)
    return adapted


def _check(model: PreTrainedModel, settings: Lora, targets: Targets, trust_remote_code: bool) -> None:
    """Refuse what would only fail, or change the model, once it has been trained."""
    if targets.parameters and settings.dropout:
        settings.refuse(
            "dropout", f"peft adapts {targets.parameters[0]} as a matrix, without dropout on its input; set it to 0"
        )
    shared = tied_to(model, targets)
    if shared and settings.merge:
        one, other = shared
        settings.refuse(
            "targets",
            f"{one} shares its weights with {other}, and merging would change both; leave it out, or set"
            " model.lora.merge to False",
        )
    if not settings.merge and not trust_remote_code and not type(model).__module__.startswith("transformers.models."):
        settings.refuse(
            "merge",
            "the base model comes with its own code, which runs wherever the adapter is loaded; set"
            " model.trust_remote_code to True once you have read it, or merge the adapter",
        )


def _heads(model: Any) -> list[str]:
    """Names of the modules above the encoder, and of its pooler. Few checkpoints have a pooler, and one with random
    weights must be saved, or loading the adapter would draw other weights."""
    names = []
    while model.base_model is not model:
        names += [name for name, part in model.named_children() if part is not model.base_model and _has_weights(part)]
        model = model.base_model
    return names + [name for name, part in model.named_children() if name == POOLER and part is not None]


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def is_adapted(model: nn.Module) -> bool:
    """Whether `model` has adapters that have not been merged."""
    return hasattr(model, "peft_config")


def base_of(model: nn.Module) -> nn.Module:
    """The transformers model in a `peft.PeftModel`; any other model itself."""
    return model.get_base_model() if is_adapted(model) else model  # type: ignore[operator]


def merged(model: nn.Module) -> nn.Module:
    """The plain model, with the adapters added to its weights. Weights that are shared with others are copied first:
    what was computed with an adapter in one place must not change in the others."""
    if copies_of_tied(model):
        base_of(model).config.tie_word_embeddings = False  # type: ignore[union-attr]
    return model.merge_and_unload()  # type: ignore[operator]


def disturbed_copy(model: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of `model` whose adapters change its outputs, as those of a trained model do. New ones change nothing."""
    other, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if "lora_" in name:
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
                parameter.add_(noise.to(parameter), alpha=0.05)
    return other


def save(model: PreTrainedModel, folder: Path) -> None:
    """`save_pretrained`. The folder of an adapter does not repeat the embeddings of its base model."""
    options = {"save_embedding_layers": False} if is_adapted(model) else {}
    model.save_pretrained(str(folder), **options)


def write_labels(folder: Path, model: nn.Module) -> None:
    """Save the names of the classes, and what else is known about the answers, with an adapter, whose folder has no
    config.json."""
    config: Any = model.config
    text = json.dumps(config.id2label, indent=2, ensure_ascii=False) + "\n"
    (folder / LABELS).write_text(text, encoding="utf-8")
    answers = {name: getattr(config, name, None) for name in ANSWER_FIELDS}
    answers = {name: value for name, value in answers.items() if value is not None}
    if answers.keys() - {"problem_type"} or answers.get("problem_type") not in (None, "single_label_classification"):
        (folder / ANSWERS).write_text(json.dumps(answers, indent=2) + "\n", encoding="utf-8")


def _labels(folder: Path) -> dict[str, Any]:
    names = json.loads((folder / LABELS).read_text(encoding="utf-8"))
    labels = {int(index): str(name) for index, name in names.items()}
    return {"id2label": labels, "label2id": {name: index for index, name in reversed(labels.items())}}


def _answers(folder: Path) -> dict[str, Any]:
    """The fields of the configuration in `ANSWERS`; a file that is not there has none."""
    if not (folder / ANSWERS).is_file():
        return {}
    found = json.loads((folder / ANSWERS).read_text(encoding="utf-8"))
    return {name: found[name] for name in ANSWER_FIELDS if name in found}


def load(folder: Path, head: str, allow_pickle: bool = False, trust_remote_code: bool = False) -> PreTrainedModel:
    """Load the adapter in `folder` and merge it into its base model.

    Args:
        head: suffix of the Auto class, such as `SequenceClassification`.
        allow_pickle: whether to load weights, also those of the base model, from pickles if there are no safetensors.
        trust_remote_code: whether to run the code of the base model if transformers does not know its model type.

    Raises:
        UserError: peft is not installed, or the adapter, its labels or its base model cannot be read.
    """
    require_peft("model")
    import peft

    if not allow_pickle and not (folder / WEIGHTS).is_file():
        raise UserError(f"model: there are no weights in {folder}: no {WEIGHTS}")
    try:
        config = json.loads((folder / paths.ADAPTER).read_text(encoding="utf-8"))
        base, revision = config["base_model_name_or_path"], config.get("revision")
        known = _labels(folder) if head_called(head).has_labels else {}
        answers = _answers(folder)
    except (OSError, ValueError, AttributeError, LookupError, TypeError) as error:
        raise UserError(f"model: {folder} holds an adapter that cannot be read: {reason(error)}") from error
    options = {"revision": revision, "allow_pickle": allow_pickle, "trust_remote_code": trust_remote_code}
    model = checkpoints.load(str(base), head, "model", with_head=False, **options, **known)
    for name, value in answers.items():
        setattr(model.config, name, value)
    try:
        return merged(peft.PeftModel.from_pretrained(model, str(folder)))
    except (*checkpoints.LOADING_ERRORS, KeyError) as error:
        raise UserError(f"model: the adapter in {folder} does not fit {base}: {reason(error)}") from error
