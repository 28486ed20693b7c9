"""What is known about each task without importing it: one row per task, read by recipes, model cards and adapters.

Nothing here imports torch. A third party's task, named `module:Class`, needs no row: it may use every setting, and its
model card describes it in general terms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple


class Head(NamedTuple):
    """What depends on a model's head.

    Attributes:
        peft: peft's name of the task, which is written into an adapter's configuration.
        has_labels: whether the model's configuration names classes.
        architectures: suffixes of the names of model classes with this head.
    """

    peft: str | None = None
    has_labels: bool = True
    architectures: tuple[str, ...] = ()


# suffix of the Auto class -> what depends on it
HEADS = {
    "SequenceClassification": Head("SEQ_CLS", architectures=("ForSequenceClassification",)),
    "TokenClassification": Head("TOKEN_CLS", architectures=("ForTokenClassification",)),
    # Older models use a different name.
    "CausalLM": Head("CAUSAL_LM", has_labels=False, architectures=("ForCausalLM", "LMHeadModel")),
    "Seq2SeqLM": Head("SEQ_2_SEQ_LM", has_labels=False, architectures=("ForConditionalGeneration",)),
}


def head_called(suffix: str) -> Head:
    """The row of a head; one that is not in the table has labels and the usual architecture name."""
    return HEADS.get(suffix) or Head(architectures=(f"For{suffix}",))


class Snippet(NamedTuple):
    """The example of a model card that uses `transformers.pipeline`.

    Attributes:
        name: variable that the pipeline is assigned to.
        text: an input.
        options: further arguments of `pipeline`, as source code that begins with a comma. `{stride}` is the number of
            tokens that the windows over a long text share, `{strategy}` joins the tokens of a word, and `{continuing}`
            says how long a continuation is.
        text_pair: a second text, for models of pairs.
        call: further arguments of a call, in the same way.
        note: a sentence about the result.
        generates: whether the text is for `generate` of the model, as transformers has no pipeline for the task.
    """

    name: str
    text: str
    options: str = ""
    text_pair: str = ""
    call: str = ""
    note: str = ""
    generates: bool = False


class Answers(NamedTuple):
    """How a model card speaks about answers of another type than one label; fields as in `TaskSpec` and `Snippet`."""

    does: str
    limits: str
    scores: str = ""
    accuracy_of_rows: bool = False
    name: str = "classify"
    call: str = ""
    note: str = ""


@dataclass(frozen=True)
class TaskSpec:
    """A built-in task.

    Attributes:
        path: `module:Class` of the task.
        head: suffix of the Auto class with the task's head, a key of `HEADS`.
        settings: those of the settings in any row's `settings` that this task uses; all other tasks refuse them. A
            setting is named `section.name`, or `Class.name` if only one kind of model is meant.
        tag: the model's pipeline tag on the Hub, and the name of its pipeline in transformers.
        snippet: how a saved model is used with transformers alone; None: it cannot be.
        does: what the model does; completes "This model ..." in its card. `{labels}` are its classes, `{kinds}` the
            types of its entities.
        limits: what the model must not be used for.
        tokenizer: default data.tokenizer of models trained from scratch; None: that of the kind of model.
        unfit_tokenizers: data.tokenizer -> why the task cannot use it.
        scores: what the scores count, if their names do not say so. `{thresholds}` says how thresholds were chosen.
        accuracy_of_rows: whether `accuracy` is a share of rows, for which the card gives a confidence interval.
        monitors: what train.monitor may name, nested scores by their outer name; `Task.monitors` has all of it.
        long_rows: what happens to rows longer than `{max_length}` tokens.
        answers: transformers' problem type -> what differs for answers of this type.
        pairs: a pair of texts for the example of a model that reads pairs.
        problem_type: transformers' name for the type of answers, if they are not what the task usually gives.
    """

    path: str
    head: str
    settings: frozenset[str]
    tag: str
    snippet: Snippet | None
    does: str
    limits: str
    tokenizer: str | None = None
    unfit_tokenizers: Mapping[str, str] = field(default_factory=dict)
    scores: str = ""
    accuracy_of_rows: bool = False
    monitors: frozenset[str] = frozenset()
    long_rows: str = "Texts of more than {max_length} tokens were truncated or split into windows."
    answers: Mapping[str, Answers] = field(default_factory=dict)
    pairs: tuple[str, str] = ("", "")
    problem_type: str | None = None

    def of(self, problem_type: str | None, pairs: bool) -> TaskSpec:
        """This row for models whose answers are of another type, or that read pairs of texts."""
        spec, answers = self, self.answers.get(problem_type or "")
        if answers:
            own = {name: getattr(answers, name) for name in ("does", "limits", "scores", "accuracy_of_rows")}
            snippet = spec.snippet and spec.snippet._replace(name=answers.name, call=answers.call, note=answers.note)
            spec = replace(spec, snippet=snippet, problem_type=problem_type, **own)
        if pairs and spec.snippet:
            text, text_pair = spec.pairs
            snippet = spec.snippet._replace(text=text, text_pair=text_pair)
            spec = replace(spec, does=spec.does.replace("a text", "a pair of texts"), snippet=snippet)
        return spec


TASKS = {
    "sentiment": TaskSpec(
        path="pipeline.tasks.sentiment:Sentiment",
        head="SequenceClassification",
        monitors=frozenset({"loss", "accuracy", "macro_f1", "micro_f1", "per_class", "mse", "pearson", "spearman"}),
        settings=frozenset(
            {
                "data.text_column",
                "data.text_pair_column",
                "data.label_column",
                "data.label_names",
                "data.missing_labels",
                "data.problem_type",
                "data.long_texts",
                "model.bidirectional",
                "model.inner_hidden_size",
                "model.pooling",
                "Pretrained.dropout",
                "train.class_weights",
                "train.label_smoothing",
                "train.threshold",
            }
        ),
        tag="text-classification",
        snippet=Snippet("classify", "a gripping , funny and moving film", ", truncation=True"),
        does="assigns one of these labels to a text: {labels}",
        limits="It always returns one of its labels, even for unrelated texts. Do not base decisions about people on"
        " it.",
        accuracy_of_rows=True,
        answers={
            "multi_label_classification": Answers(
                does="assigns any number of these labels, or none, to a text: {labels}",
                limits="It knows only these labels, and a text without any of them may still get one. Do not base"
                " decisions about people on it.",
                scores="A text gets the labels whose probability is at least their threshold. {thresholds} Accuracy is"
                " the share of texts whose labels are all right.",
                accuracy_of_rows=True,
                call=", top_k=None",
                note="This prints the probability of each label. `thresholds` in `config.json` holds the probability"
                " from which on a text gets a label, in the order of `id2label`.",
            ),
            "regression": Answers(
                does="assigns a number to a text",
                limits="It always returns a number, even for unrelated texts, and the number may lie outside the range"
                " of its training data. Do not base decisions about people on it.",
                scores="The loss is the mean squared error (mse), in squared units of the numbers; pearson and spearman"
                " are correlations with the true numbers.",
                name="rate",
                note="The `score` is the number itself.",
            ),
        },
        pairs=("A man is playing a guitar .", "Somebody makes music ."),
    ),
    "ner": TaskSpec(
        path="pipeline.tasks.ner:Ner",
        head="TokenClassification",
        monitors=frozenset({"loss", "precision", "recall", "f1", "strict_f1", "accuracy", "per_type"}),
        settings=frozenset(
            {
                "data.token_column",
                "data.tag_column",
                "data.overlaps",
                "data.label_names",
                "data.scheme",
                "model.bidirectional",
                "model.char_encoder",
                "model.crf",
                "model.inner_hidden_size",
                "Pretrained.dropout",
                "train.class_weights",
                "train.label_smoothing",
            }
        ),
        tag="token-classification",
        snippet=Snippet(
            "find_entities",
            "George Washington lived in Virginia .",
            ', aggregation_strategy="{strategy}", stride={stride}',
        ),
        does="finds named entities of these types: {kinds}",
        limits="It finds only the types of entities that are annotated in its training data. It should not be used to"
        " track people.",
        scores="Precision, recall and f1 count whole entities as conlleval does; strict_f1 counts only entities whose"
        " tags are valid in the scheme.",
    ),
    "next_word": TaskSpec(
        path="pipeline.tasks.next_word:NextWord",
        head="CausalLM",
        monitors=frozenset(
            {"loss", "perplexity_per_token", "perplexity_per_word", "bits_per_byte", "accuracy", "accuracy_top5"}
        ),
        settings=frozenset(
            {
                "data.text_column",
                "data.separate",
                "model.inner_hidden_size",
                "model.output_dropout",
                "model.activation_regularization",
                "model.temporal_regularization",
                "model.tie_embeddings",
                "model.adaptive_cutoffs",
            }
        ),
        tag="text-generation",
        snippet=Snippet("write", "the film is", ", {continuing}"),
        does="continues a text, token by token",
        limits="It reproduces the style, the errors and the biases of its training texts, and its statements are not"
        " reliable.",
        tokenizer="bpe",
        unfit_tokenizers={
            "word": "word has no end-of-text token, which next_word needs; use bpe, character or whitespace"
        },
        long_rows="",
    ),
    "translation": TaskSpec(
        path="pipeline.tasks.translation:Translation",
        head="Seq2SeqLM",
        monitors=frozenset({"loss", "perplexity_per_token", "bleu", "chrf"}),
        settings=frozenset(
            {
                "data.text_column",
                "data.target_column",
                "data.prefix",
                "data.separate_vocabs",
                "model.attention",
                "model.bidirectional",
                "model.decoder_layers",
                "model.input_feeding",
                "model.output_dropout",
                "model.tie_embeddings",
                "train.beams",
                "train.label_smoothing",
            }
        ),
        tag="translation",
        snippet=Snippet("translate", "The file could not be found.", generates=True),
        does="translates a text, or writes another text for it",
        limits="What it writes may be wrong although it reads well: do not use it where nobody can check it.",
        scores="BLEU and chrF are those of sacrebleu, from 0 to 100, of the texts that the model writes; `metrics.json`"
        " has their signatures. The loss is the mean negative log-likelihood of a token of the true text.",
        tokenizer="bpe",
        unfit_tokenizers={
            name: f"{name} cannot restore a text from its tokens, so translation cannot write with it; use bpe,"
            " character or whitespace"
            for name in ("word", "wordpiece")
        },
        long_rows="Texts of more than {max_length} tokens were truncated, on both sides.",
    ),
}
