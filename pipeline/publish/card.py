"""The model card: what the model is, how it scores, how to use it, and how to reproduce it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from pipeline.config.distil import OF_TEXTS
from pipeline.config.recipe import Recipe
from pipeline.config.samples import PREFIX
from pipeline.config.task_specs import TaskSpec
from pipeline.metrics import statistics
from pipeline.publish import snippets
from pipeline.publish.card_data import CardData
from pipeline.publish.redact import redacted_recipe, without_folders

GIBIBYTE = 2**30
UNKNOWN_LICENSE = "unknown"
SCRATCH = "trained from scratch"
# data.long_texts -> what happens to long texts, if it is not what the task does by default
LONG_TEXTS = {
    "tail": "Texts of more than {max_length} tokens were truncated on the left: only their end was read.",
    "head+tail": "Of texts of more than {max_length} tokens, the beginning and the end were read: a quarter and three"
    " quarters of the tokens. transformers' own pipeline can only cut them (`truncation=True`).",
    "windows": "Texts of more than {max_length} tokens were read in overlapping windows whose logits are averaged."
    " transformers' own pipeline can only cut them (`truncation=True`).",
}
# accelerate's name of what shards a model over the processes -> its usual name
SHARDING = {"FSDP": "FSDP", "DEEPSPEED": "DeepSpeed ZeRO"}


def card(card_data: CardData) -> str:
    """README.md of a saved model: metadata for the Hub in YAML, then the sections."""
    recipe, spec = card_data.recipe, card_data.spec
    metadata = ModelCardData(
        language=card_data.all_languages or None,
        license=card_data.license or UNKNOWN_LICENSE,
        library_name="peft" if snippets.is_adapter(recipe) else "transformers",
        pipeline_tag=spec.tag if spec else None,
        base_model=card_data.checkpoint if card_data.is_on_hub("model.checkpoint") else None,
        datasets=[card_data.source] if card_data.is_on_hub("data.source") else None,
        tags=["finetune-pipeline", recipe.task.rpartition(":")[2]],
        model_name=recipe.name,
        eval_results=_eval_results(card_data, spec.tag) if spec and card_data.score_names else None,
    )
    sections = [section(card_data) for section in SECTIONS]
    return f"---\n{metadata.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n"


def _eval_results(card_data: CardData, task_type: str) -> list[EvalResult]:
    """The model-index: each score, or its mean over the seeds."""
    results = []
    for split, metric in card_data.score_names:
        scores = card_data.scores_over_seeds(split, metric)
        over_seeds = {"seeds": card_data.seeds, "spread": statistics.spread(scores), "this_model": scores[0]}
        results.append(
            EvalResult(
                task_type,
                card_data.source if card_data.is_on_hub("data.source") else "custom",
                card_data.source.removeprefix(PREFIX),
                metric,
                statistics.mean(scores),
                dataset_config=card_data.recipe.data.subset,
                dataset_split=split,
                dataset_revision=card_data.commit("data.source"),
                metric_name=f"{metric}, mean of {len(scores)} seeds" if len(scores) > 1 else metric,
                metric_args=over_seeds if len(scores) > 1 else None,
            )
        )
    return results


def title(card_data: CardData) -> str:
    """The name of the model, and in two sentences what it does and what it is."""
    recipe = card_data.recipe
    does = card_data.spec.does if card_data.spec else f"was trained for the task `{recipe.task}`"
    kinds = dict.fromkeys(label.partition("-")[2] for label in card_data.labels if "-" in label)
    does = does.format(labels=", ".join(card_data.labels), kinds=", ".join(kinds))
    learned = f" It has learned from the answers of another model, `{card_data.teacher}`." if card_data.teacher else ""
    return f"# {recipe.name}\n\nThis model {does}. It is {_model(card_data)} on `{card_data.source}`.{learned}"


def _model(card_data: CardData) -> str:
    """The model and how it was trained, up to the `on` of its training data."""
    model: Any = card_data.recipe.model
    kind = type(model).__name__.lower()
    if kind == "recurrent":
        name = model.cell.upper().replace("MIN", "min")
        cell = f"{'bidirectional ' * model.bidirectional}{name}"
        crf = ", conditional random field" if model.crf else ""
        size = f"{_count(model.layers, 'layer')} of {model.inner_hidden_size or model.hidden_size} units"
        size += f", the last of {model.hidden_size}" if model.inner_hidden_size else ""
        return f"a recurrent network ({cell}, {size}{crf}), {SCRATCH}"
    if kind == "pretrained":
        return f"`{card_data.checkpoint}`, fine-tuned{' with LoRA' if model.lora else ''}"
    if kind == "scratch":
        size = f"{_count(model.layers, 'layer')} of width {model.hidden_size}"
        return f"a transformer ({model.architecture}, {size}), {SCRATCH}"
    return f"a model of the kind `{kind}`, trained"


def _evaluation(card_data: CardData) -> str:
    """The scores of each split; with several seeds, also their mean and standard deviation."""
    rows = card_data.metrics.get("data", {}).get("rows", {})
    several = len(card_data.seeds) > 1
    table = []
    for split, metric in card_data.score_names:
        scores = card_data.scores_over_seeds(split, metric)
        over_seeds = [statistics.mean(scores), statistics.spread(scores)] if several else []
        table.append(
            [split, f"{rows.get(split, 0):,}", metric, *(f"{value:.4f}" for value in (scores[0], *over_seeds))]
        )
    header = ["split", "rows", "metric", "this model", *(["mean", "standard deviation"] if several else [])]
    paragraphs = ["## Evaluation results", markdown_table(header, table)]
    if note := _note(card_data):
        paragraphs.append(note)
    if several:
        seeds = ", ".join(map(str, card_data.seeds))
        paragraphs.append(
            f"Mean and standard deviation are over runs with the seeds {seeds}; the weights are those of the first."
        )
    if compared := _compared_with_teacher(card_data):
        paragraphs.append(compared)
    spec = card_data.spec
    accuracy, count = card_data.metrics.get("test", {}).get("accuracy"), rows.get("test", 0)
    if isinstance(accuracy, float) and count and spec and spec.accuracy_of_rows:
        low, high = statistics.wilson_interval(accuracy, count)
        paragraphs.append(
            f"The 95% confidence interval of the test accuracy is {low:.4f} to {high:.4f} (Wilson score interval,"
            f" {count:,} rows)."
        )
    return "\n\n".join(paragraphs)


def _compared_with_teacher(card_data: CardData) -> str:
    """The teacher's score, and how much of it the model reaches; empty without a teacher, or before the run's end."""
    found, monitor = card_data.metrics.get("distil", {}), card_data.monitor
    reached = [
        f"on {split} {found['scores'][split][monitor]:.4f}, of which this model reaches {share:.1%}"
        for split, share in found.get("share_of_teacher", {}).items()
    ]
    return f"The {monitor} of its teacher, `{card_data.teacher}`, is {', and '.join(reached)}." if reached else ""


def _note(card_data: CardData) -> str:
    """What the scores count, if their names do not say so."""
    if card_data.spec and card_data.spec.scores:
        return card_data.spec.scores.format(thresholds=_thresholds(card_data.recipe.train.threshold))
    test = card_data.metrics.get("test", {})
    if "context" not in test:
        return ""
    stride = f" with a stride of {test['stride']}" if "stride" in test else ""
    return f"Texts were read in windows of {test['context']} tokens{stride}."


def _thresholds(chosen: str | float | None) -> str:
    """How the thresholds of labels were chosen."""
    if isinstance(chosen, float):
        return f"The threshold of all labels is {chosen:g}."
    each = "That of each label maximises its" if chosen == "per_label" else "It is the same for all and maximises micro"
    return (
        f"{each} F1 on the validation split, whose scores are therefore a little too high; those of the test split use"
        " the same thresholds."
    )


def _usage(card_data: CardData) -> str:
    place = card_data.repo_id or snippets.LOCAL
    with_transformers = snippets.transformers_snippet(
        card_data.recipe, card_data.spec, place, card_data.has_code, card_data.has_word_pieces
    )
    with_this = snippets.pipeline_snippet(place, card_data.reads_pairs)
    with_onnx = "\n" + snippets.onnx_snippet(place) if card_data.has_onnx else ""
    return f"## How to use\n\n{with_transformers}\n{with_this}{with_onnx}".rstrip()


def _training_data(card_data: CardData) -> str:
    data, recipe = card_data.metrics.get("data", {}), card_data.recipe.data
    license = card_data.data_license or (card_data.sample_info.license if card_data.sample_info else "not stated")
    properties = {
        "source": f"`{card_data.source}`{f', configuration {recipe.subset}' if recipe.subset else ''}",
        "revision": f"`{card_data.commit('data.source')}`" if card_data.is_on_hub("data.source") else None,
        "license": license,
        "fingerprint": f"`{data['fingerprint']}`" if "fingerprint" in data else None,
        "rows": ", ".join(f"{split} {count:,}" for split, count in data.get("rows", {}).items()),
        "languages": ", ".join(card_data.all_languages) or "not stated",
        "scripts": ", ".join(f"{name} {share:.0%}" for name, share in data.get("scripts", {}).items()),
    }
    paragraphs = ["## Training data", _properties(properties)]
    paragraphs += [f"{note[:1].upper()}{note[1:]}." for note in without_folders(data.get("notes", []))]
    if data.get("right_to_left_share", 0.0) > 0.1:
        paragraphs.append(
            f"{data['right_to_left_share']:.0%} of the letters belong to scripts that are written from right to left."
            " Tokens and offsets follow the order of the characters in memory, which may differ from that on a screen."
        )
    return "\n\n".join(paragraphs)


def _training(card_data: CardData) -> str:
    train, machine = card_data.metrics.get("train", {}), card_data.metrics.get("machine", {})
    gpus = ", ".join(machine.get("accelerators", [])) if train.get("device") != "cpu" else ""
    processor = f"{machine.get('processor', '')}, {_count(machine.get('cores', '?'), 'core')}"
    unlabelled = card_data.metrics.get("distil", {}).get("rows", {}).get("unlabelled", 0)
    libraries = {"Python": machine.get("python"), **machine.get("libraries", {})}
    properties = {
        "parameters": f"{train.get('parameters', 0):,}",
        "trained parameters": f"{train['trained_parameters']:,}" if "trained_parameters" in train else None,
        "updates": f"{train.get('updates', 0):,} ({train.get('epochs', 0):.1f} epochs)",
        "weights": _weights(train),
        "rows without labels": f"{unlabelled:,}, answered by the teacher" if unlabelled else None,
        "training time": f"{train.get('seconds', 0):,.0f} seconds",
        "throughput": f"{train.get('tokens_per_second', 0):,.0f} tokens per second",
        "hardware": f"{gpus or processor}; {_processes(train)} on {train.get('device')}",
        "peak memory": f"{train.get('peak_memory_bytes', 0) / GIBIBYTE:.2f} GiB",
        "precision": train.get("precision"),
        "versions": ", ".join(f"{name} {version}" for name, version in libraries.items() if version),
    }
    settings = _settings(redacted_recipe(card_data.recipe, card_data.metrics))
    chosen = markdown_table(["setting", "value"], settings)
    return "\n\n".join(["## Training procedure", _properties(properties), chosen])


def _weights(train: dict[str, Any]) -> str | None:
    if "best_update" not in train:
        return None
    by = f" by {train['monitor']}" if "monitor" in train else ""
    return f"from update {train['best_update']}, the best on validation{by}"


def _processes(train: dict[str, Any]) -> str:
    count, sharding = train.get("processes", 1), SHARDING.get(train.get("distributed_type", ""))
    return _count(count, "process", "es") + (f", model sharded by {sharding}," if sharding and count > 1 else "")


def _settings(recipe: Recipe) -> list[list[str]]:
    """Each setting that has a value, except those of the machine and of the push."""
    values = json.loads(recipe.to_json())
    if values["distil"] and values["distil"]["unlabelled"]:
        values["distil"]["unlabelled"] = _read_of(values["distil"]["unlabelled"])
    return [
        [f"{section}.{name}", f"`{json.dumps(value, ensure_ascii=False)}`"]
        for section in ("data", "model", "optim", "train", "distil")
        for name, value in _set(values[section] or {}).items()
        if f"{section}.{name}" not in ("train.output_dir", "train.overwrite")
    ]


def _read_of(texts: Any) -> Any:
    """The settings of one or several sources of texts that say which texts are read."""
    if isinstance(texts, list):
        return [_read_of(source) for source in texts]
    return {name: value for name, value in texts.items() if name in OF_TEXTS and value is not False}


def _set(value: Any) -> Any:
    """The JSON value without settings that have none."""
    if isinstance(value, list):
        return [_set(part) for part in value]
    return {name: _set(part) for name, part in value.items() if part is not None} if isinstance(value, dict) else value


def _reproduction(card_data: CardData) -> str:
    download = [f"hf download {card_data.repo_id} recipe.json --local-dir ."] if card_data.repo_id else []
    processes = card_data.metrics.get("train", {}).get("processes", 1)
    # An update has train.batch_size rows of each process.
    program = "finetune" if processes == 1 else f"torchrun --nproc-per-node {processes} -m pipeline"
    lines = [
        "## How to reproduce",
        "",
        "`recipe.json` is next to the weights. With finetune-pipeline installed, run:",
        "",
    ]
    lines += ["```sh", *download, f"{program} run recipe.json", "```"]
    if not card_data.source.startswith(PREFIX) and not card_data.is_on_hub("data.source"):
        lines += ["", f"The data, `{card_data.source}` with the fingerprint above, must be in the working folder."]
    if card_data.teacher and not card_data.is_on_hub("distil.teacher"):
        lines += ["", f"The teacher, `{card_data.teacher}`, must be where `distil.teacher` says."]
    return "\n".join(lines)


def _limitations(card_data: CardData) -> str:
    data, recipe = card_data.metrics.get("data", {}), card_data.recipe
    limits, long_rows = (spec.limits, spec.long_rows) if (spec := card_data.spec) else ("", TaskSpec.long_rows)
    lines = ["## Intended use and limitations", ""]
    lines.append(
        f"The model is meant for texts like those in `{card_data.source}`; it was not evaluated on others."
        f" {limits}".rstrip()
    )
    if long_rows:
        lines.append(LONG_TEXTS.get(recipe.data.long_texts, long_rows).format(max_length=recipe.data.max_length))
    unknown = data.get("encoded", {}).get("test", {}).get("unknown_share")
    if unknown is not None:
        lines.append(f"{unknown:.1%} of the tokens in the test split are not in the vocabulary.")
    return "\n".join(lines)


SECTIONS = (title, _evaluation, _usage, _training_data, _training, _reproduction, _limitations)


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}{plural * (number != 1)}"


def _properties(values: dict[str, Any]) -> str:
    """A table of the values that are known."""
    return markdown_table(["property", "value"], [[name, value] for name, value in values.items() if value])


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown."""
    return "\n".join(map(_row, [header, ["---"] * len(header), *rows]))


def _row(cells: Sequence[Any]) -> str:
    """A row of a Markdown table; bars in its cells are escaped."""
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"
