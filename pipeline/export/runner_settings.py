"""What export.json tells runner.py about a model: everything that its graph and tokenizer.json do not say."""

from __future__ import annotations

from typing import Any

from tokenizers import models
from transformers import PreTrainedTokenizerBase

from pipeline.data.tagging import model_labels
from pipeline.data.tokenization import long_texts, segmentation, text_pairs, translated, word_patterns
from pipeline.data.tokenization.word_alignment import OVERLAP, surroundings
from pipeline.errors import UserError
from pipeline.export import search_settings
from pipeline.inference import MANY_TOKENS, Loaded
from pipeline.models.recurrent import RecurrentSeq2SeqTokenizer, RecurrentTokenizer
from pipeline.models.recurrent.tokenization_seq2seq import SOURCE_FILE
from pipeline.tasks import ner, next_word
from pipeline.tasks.base import full_name
from pipeline.tasks.multi_label import DEFAULT_THRESHOLD


def settings(loaded: Loaded) -> dict[str, Any]:
    """The part of export.json that `runner.py` reads, JSON-serializable.

    Raises:
        UserError: the tokenizer is written in Python, so that it needs transformers, or the task is not a built-in one.
    """
    task, tokenizer = loaded.task, loaded.tokenizer
    if not tokenizer.is_fast:
        raise UserError("export: the tokenizer of this model is written in Python; only fast tokenizers are exported")
    if (name := full_name(task)) not in OWN:
        raise UserError(f"export: runner.py does not know the task {name}; it knows {', '.join(OWN)}")
    longest = int(tokenizer.model_max_length)
    return {
        "task": task.name,
        "problem_type": task.problem_type,
        "architecture": type(loaded.model).__name__,
        "labels": loaded.labels,
        "reads_pairs": task.reads_pairs,
        "max_length": longest if longest < MANY_TOKENS else None,
        "tokens": _tokens(tokenizer),
        **OWN[task.name](loaded),
    }


def _tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    unknown = tokenizer.unk_token if tokenizer.unk_token_id is not None else tokenizer.eos_token
    return {
        "pad": tokenizer.pad_token_id,
        "pad_type": tokenizer.pad_token_type_id,
        "padding_side": tokenizer.padding_side,
        "truncation_side": tokenizer.truncation_side,
        "unknown": tokenizer.convert_tokens_to_ids(unknown),
        "types": text_pairs.TYPES in tokenizer.model_input_names,
    }


def _of_texts(loaded: Loaded) -> dict[str, Any]:
    """How texts are read, and from which probability on a text gets a label."""
    task, tokenizer = loaded.task, loaded.tokenizer
    how, longest = long_texts.kept(tokenizer), int(tokenizer.model_max_length)
    kept: dict[str, Any] = {"how": how}
    if how == long_texts.HEAD_AND_TAIL:
        kept["head"], kept["tail"] = long_texts.places(tokenizer, longest)
    if how == long_texts.WINDOWS:
        kept["stride"] = long_texts.stride(tokenizer, longest)
    several = task.problem_type == "multi_label_classification"
    thresholds = getattr(task, "thresholds", None) or [DEFAULT_THRESHOLD] * len(loaded.labels)
    return {"long_texts": kept, "thresholds": thresholds if several else None}


def _of_words(loaded: Loaded) -> dict[str, Any]:
    """How text is cut into words, words into tokens, and what the tags of a model mean."""
    tokenizer = loaded.tokenizer
    before, behind = surroundings(tokenizer)
    names, longest = model_labels.read(loaded.labels), min(int(tokenizer.model_max_length), ner.LONGEST)
    characters = None
    if isinstance(tokenizer, RecurrentTokenizer):
        kept = tokenizer.init_kwargs
        characters = {
            "known": kept["characters"],
            "width": tokenizer.max_characters,
            "lowercase": bool(kept.get("lowercase_characters", False)),
            "zero_digits": bool(kept.get("zero_digits", False)),
        }
    return {
        "max_length": longest,
        "overlap": OVERLAP,
        "before": before,
        "behind": behind,
        "tags": names.iob2,
        "has_begin": names.has_begin,
        "characters": characters,
        "words": cutting(tokenizer),
    }


def cutting(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """How `segmentation.cutter` cuts running text: patterns in the syntax of `tokenizers.Regex`, the scripts whose
    letters are words, and the words of the vocabulary that have letters of a script without blanks."""
    spelling = segmentation.cutting(tokenizer)
    scripts = frozenset() if spelling.characters else spelling.scripts
    known = sorted(filter(segmentation.has_unspaced, segmentation.whole_words(tokenizer)))
    return {
        "pattern": word_patterns.pattern(characters=spelling.characters),
        "scripts": sorted(scripts),
        "pattern_of_scripts": word_patterns.pattern(scripts) if scripts else None,
        "known": known if any(map(segmentation.is_long, known)) else [],
        "unspaced": sorted(word_patterns.UNSPACED),
    }


def _of_next_words(loaded: Loaded) -> dict[str, Any]:
    _check_decoding(loaded.tokenizer)
    return {"end": next_word.end_token(loaded.tokenizer), "likeliest": next_word.LIKELIEST}


def _of_translations(loaded: Loaded) -> dict[str, Any]:
    """The file of the tokenizer of texts if translations have another one, what stands in front of each text, which
    tokens a cut text keeps at its end, and how translations are searched for."""
    _check_decoding(tokenizer := loaded.tokenizer)
    model: Any = loaded.model
    return {
        "source_tokenizer": SOURCE_FILE if isinstance(tokenizer, RecurrentSeq2SeqTokenizer) else None,
        "prefix": tokenizer.init_kwargs.get(translated.KEPT, ""),
        "special": sorted({*tokenizer.all_special_ids} - {tokenizer.unk_token_id}),
        "generation": search_settings.settings(model.generation_config, model.config),
    }


def _check_decoding(tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer that changes what tokenizer.json makes of tokens."""
    clean = tokenizer.clean_up_tokenization_spaces and not isinstance(tokenizer.backend_tokenizer.model, models.BPE)
    if clean:
        raise UserError(
            "export: clean_up_tokenization_spaces in tokenizer_config.json changes generated text, which runner.py does"
            " not do; set it to false"
        )


OWN = {"sentiment": _of_texts, "ner": _of_words, "next_word": _of_next_words, "translation": _of_translations}
