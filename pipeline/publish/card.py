"""The model card: what was trained on what, what was measured, how to load it and how to repeat it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from pipeline.config.recipe import Recipe
from pipeline.config.samples import PREFIX
from pipeline.publish import snippets
from pipeline.publish.card_data import Facts, interval, spread
from pipeline.publish.redact import public, without_folders

GIBIBYTE = 2**30
UNKNOWN_LICENSE = "unknown"
SHARED = ("FSDP", "DEEPSPEED")  # ways to spread a run over processes, by accelerate's names


# task -> in plain words what the model does, and what it was not made for
PLAIN = {
    "sentiment": (
        "gives a text one of these labels: {labels}",
        "It always answers with one of its labels, whatever the text is about; decisions about people should not rest"
        " on it.",
    ),
    "ner": (
        "finds names, of these kinds: {kinds}",
        "Kinds of names that the training data does not mark are not found. It should not be used to track people.",
    ),
    "next_word": (
        "continues a text, token by token",
        "It repeats what its training texts are like, errors and prejudice included, and states nothing reliably.",
    ),
}


def card(facts: Facts) -> str:
    """README.md of a saved model."""
    recipe, pipeline = facts.recipe, snippets.PIPELINES.get(facts.recipe.task)
    data = ModelCardData(
        language=facts.all_languages or None,
        license=facts.license or UNKNOWN_LICENSE,
        library_name="peft" if snippets.is_adapter(recipe) else "transformers",
        pipeline_tag=pipeline.tag if pipeline else None,
        base_model=facts.checkpoint if facts.is_of_hub("model.checkpoint") else None,
        datasets=[facts.source] if facts.is_of_hub("data.source") else None,
        tags=["finetune-pipeline", recipe.task.rpartition(":")[2]],
        model_name=recipe.name,
        eval_results=_results(facts, pipeline.tag) if pipeline and facts.scores else None,
    )
    parts = [_title(facts), _measured(facts), _load(facts), _data(facts), _training(facts), _repeat(facts)]
    parts.append(_limits(facts))
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n"


def _results(facts: Facts, tag: str) -> list[EvalResult]:
    """model-index: the mean over the seeds; of one run, its figures."""
    results = []
    for split, name in facts.scores:
        values = facts.values(split, name)
        several = {"seeds": facts.seeds, "spread": spread(values), "this_model": values[0]}
        results.append(
            EvalResult(
                tag,
                facts.source if facts.is_of_hub("data.source") else "custom",
                facts.source.removeprefix(PREFIX),
                name,
                statistics.fmean(values),
                dataset_config=facts.recipe.data.subset,
                dataset_split=split,
                dataset_revision=facts.commit("data.source"),
                metric_name=f"{name}, mean of {len(values)} seeds" if len(values) > 1 else name,
                metric_args=several if len(values) > 1 else None,
            )
        )
    return results


def _title(facts: Facts) -> str:
    recipe = facts.recipe
    does = PLAIN.get(recipe.task, (f"does what the task {recipe.task} asks",))[0]
    kinds = dict.fromkeys(label.partition("-")[2] for label in facts.labels if "-" in label)
    does = does.format(labels=", ".join(facts.labels), kinds=", ".join(kinds))
    return f"# {recipe.name}\n\nThis model {does}. It is {_model(facts)}, trained on `{facts.source}`."


def _model(facts: Facts) -> str:
    model: Any = facts.recipe.model
    kind = type(model).__name__.lower()
    if kind == "recurrent":
        cell = f"{'bidirectional ' * model.bidirectional}{model.cell.upper()}"
        crf = ", a conditional random field above it" if model.crf else ""
        return f"a recurrent network ({cell}, {model.layers} x {model.hidden_size} units{crf}) from scratch"
    if kind == "pretrained":
        how = "low-rank adapters (LoRA) of" if model.lora else "a fine-tuned"
        return f"{how} `{facts.checkpoint}`"
    if kind == "scratch":
        return f"a transformer ({model.architecture}, {model.layers} layers of width {model.hidden_size}) from scratch"
    return f"a model of the kind {kind}"


def _measured(facts: Facts) -> str:
    """Figures of each split, with how far chance alone moves a share, or with mean and spread over seeds."""
    rows = facts.metrics.get("data", {}).get("rows", {})
    several = len(facts.seeds) > 1
    head = ["split", "rows", "metric", "this model", *(["mean", "spread"] if several else [])]
    lines = ["## What was measured", "", _row(head), _row(["---"] * len(head))]
    for split, name in facts.scores:
        values = facts.values(split, name)
        more = [f"{statistics.fmean(values):.4f}", f"{spread(values):.4f}"] if several else []
        lines.append(_row([split, f"{rows.get(split, 0):,}", name, f"{values[0]:.4f}", *more]))
    if note := _note(facts):
        lines += ["", note]
    if several:
        seeds = ", ".join(map(str, facts.seeds))
        lines += ["", f"Mean and standard deviation over runs with the seeds {seeds}; the weights are the first one's."]
    accuracy, count = facts.metrics.get("test", {}).get("accuracy"), rows.get("test", 0)
    if isinstance(accuracy, float) and count and facts.recipe.task == "sentiment":
        low, high = interval(accuracy, count)
        lines += [
            "",
            f"95 % interval of that accuracy, from {count:,} rows (Wilson): {low:.4f} to {high:.4f}.",
        ]
    return "\n".join(lines)


def _note(facts: Facts) -> str:
    """What the figures count, where their names do not tell."""
    if facts.recipe.task == "ner":
        return (
            "Precision, recall and f1 count whole entities as conlleval does; strict_f1 only those whose tags are in"
            " order by the scheme."
        )
    test = facts.metrics.get("test", {})
    window = [f"{name} {test[name]}" for name in ("context", "stride") if name in test]
    return f"In tokens, texts were read with {' and '.join(window)}." if window else ""


def _row(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _load(facts: Facts) -> str:
    place = facts.repo_id or snippets.LOCAL
    return (
        f"## How to load it\n\n{snippets.plain(facts.recipe, place, facts.has_code)}\n{snippets.ours(place)}".rstrip()
    )


def _data(facts: Facts) -> str:
    data, recipe = facts.metrics.get("data", {}), facts.recipe.data
    licence = facts.data_license or (facts.known.licence if facts.known else "not stated")
    told: dict[str, Any] = {
        "source": f"`{facts.source}`{f', configuration {recipe.subset}' if recipe.subset else ''}",
        "revision": f"`{facts.commit('data.source')}`" if facts.is_of_hub("data.source") else None,
        "licence": licence,
        "fingerprint": f"`{data['fingerprint']}`" if "fingerprint" in data else None,
        "rows": ", ".join(f"{split} {count:,}" for split, count in data.get("rows", {}).items()),
        "languages": ", ".join(facts.all_languages) or "not stated",
        "scripts": ", ".join(f"{name} {share:.0%}" for name, share in data.get("scripts", {}).items()),
    }
    lines = ["## Training data", "", _row(["what", "value"]), _row(["---", "---"])]
    lines += [_row([name, value]) for name, value in told.items() if value]
    lines += [f"\n{note[:1].upper()}{note[1:]}." for note in without_folders(data.get("notes", []))]
    if data.get("right_to_left_share", 0.0) > 0.1:
        lines.append(
            f"\n{data['right_to_left_share']:.0%} of the letters run from right to left. Tokens and offsets are in the"
            " order of the characters in memory, as in any other text; what is shown on a screen may be in another."
        )
    return "\n".join(lines)


def _training(facts: Facts) -> str:
    train, machine = facts.metrics.get("train", {}), facts.metrics.get("machine", {})
    gpus = ", ".join(machine.get("accelerators", [])) if train.get("device") != "cpu" else ""
    processor = f"{machine.get('processor', '')}, {machine.get('cores', '?')} cores"
    libraries = {"Python": machine.get("python"), **machine.get("libraries", {})}
    told: dict[str, Any] = {
        "parameters": f"{train.get('parameters', 0):,}",
        "trained parameters": f"{train['trained_parameters']:,}" if "trained_parameters" in train else None,
        "updates": f"{train.get('updates', 0):,}, {train.get('epochs', 0):.1f} epochs",
        "weights of update": train.get("best_update"),
        "time": f"{train.get('seconds', 0):,.0f} seconds, {train.get('tokens_per_second', 0):,.0f} tokens a second",
        "hardware": f"{gpus or processor}; {_processes(train)} on {train.get('device')}",
        "peak memory": f"{train.get('peak_memory_bytes', 0) / GIBIBYTE:.2f} GiB",
        "precision": train.get("precision"),
        "versions": ", ".join(f"{name} {version}" for name, version in libraries.items() if version),
    }
    lines = ["## Training", "", _row(["what", "value"]), _row(["---", "---"])]
    lines += [_row([name, value]) for name, value in told.items() if value]
    return "\n".join(
        [*lines, "", _row(["setting", "value"]), _row(["---", "---"]), *_settings(public(facts.recipe, facts.metrics))]
    )


def _processes(train: dict[str, Any]) -> str:
    count, kind = train.get("processes", 1), train.get("distributed_type")
    if count == 1:
        return "1 process"
    return f"{count} processes{f' that shared the model ({kind})' if kind in SHARED else ''}"


def _settings(recipe: Recipe) -> list[str]:
    """Every setting that has a value, but for those of the machine and of the push."""
    values = json.loads(recipe.to_json())
    lines = []
    for section in ("data", "model", "optim", "train"):
        for name, value in values[section].items():
            if value is not None and f"{section}.{name}" not in ("train.output_dir", "train.overwrite"):
                lines.append(_row([f"{section}.{name}", f"`{json.dumps(value, ensure_ascii=False)}`"]))
    return lines


def _repeat(facts: Facts) -> str:
    lines = ["## How to repeat it", "", "`recipe.json` lies beside the weights; with finetune-pipeline installed:", ""]
    fetch = [f"hf download {facts.repo_id} recipe.json --local-dir ."] if facts.repo_id else []
    processes = facts.metrics.get("train", {}).get("processes", 1)
    # An update has train.batch_size rows of each process.
    program = "finetune" if processes == 1 else f"torchrun --nproc-per-node {processes} -m pipeline"
    lines += ["```sh", *fetch, f"{program} run recipe.json", "```"]
    if not facts.source.startswith(PREFIX) and not facts.is_of_hub("data.source"):
        lines += ["", f"The data, `{facts.source}` with the fingerprint above, has to lie in the working folder."]
    return "\n".join(lines)


def _limits(facts: Facts) -> str:
    data, recipe = facts.metrics.get("data", {}), facts.recipe
    against = PLAIN.get(recipe.task, ("", ""))[1]
    lines = ["## Intended use and limits", ""]
    lines.append(
        f"For texts like those of `{facts.source}`; on others its scores were not measured. {against}".rstrip()
    )
    if recipe.task != "next_word":
        lines.append(f"Rows of more than {recipe.data.max_length} tokens were cut or read in windows.")
    unknown = data.get("encoded", {}).get("test", {}).get("unknown_share")
    if unknown is not None:
        lines.append(f"{unknown:.1%} of the tokens of the test rows were unknown to its vocabulary.")
    return "\n".join(lines)
