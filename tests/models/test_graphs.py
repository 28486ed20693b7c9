"""Graphs that torch.jit.trace and torch.export record, and transforms of torch.func, give what the model itself gives:
for each head and cell, padding in any pattern, and any number and length of texts."""

from __future__ import annotations

import io
from typing import Any

import clean_process
import pytest
import torch
from contract import EVERY_CELL, padded, randomised, words
from torch._subclasses import FakeTensorMode
from torch.export import Dim
from torch.func import functional_call, grad, jvp, vmap

from pipeline.models.recurrent import (
    RecurrentConfig,
    RecurrentForCausalLM,
    RecurrentForSequenceClassification,
    RecurrentForTokenClassification,
    RecurrentModel,
    crf_inference,
    tag_constraints,
)
from pipeline.models.recurrent.cells import FusedCell
from pipeline.models.recurrent.layout import make_layout, permute, words_first
from pipeline.models.recurrent.recurrence import CELLS

# Each branch on a size is reported while tracing, and tracing itself is deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
]
TAGS = {"id2label": {0: "O", 1: "B-X", 2: "I-X"}}
HEADS: dict[str, tuple[Any, dict[str, Any]]] = {
    **{
        f"{pooling} pooling": (RecurrentForSequenceClassification, {"pooling": pooling})
        for pooling in ("last", "mean", "max", "attention")
    },
    "pairs": (RecurrentForSequenceClassification, {"pairs": True}),
    "tags": (RecurrentForTokenClassification, TAGS),
    "crf": (RecurrentForTokenClassification, {"crf": True, **TAGS}),
    "character cnn": (RecurrentForTokenClassification, {"char_encoder": "cnn", "char_dropout": 0.0, **TAGS}),
    "character lstm": (RecurrentForTokenClassification, {"char_encoder": "lstm", "char_dropout": 0.0, **TAGS}),
    "next word": (RecurrentForCausalLM, {"tie_word_embeddings": True}),
    "adaptive": (RecurrentForCausalLM, {"adaptive_cutoffs": [10, 20], "units": 16}),
}
# Rows of other numbers and lengths than those that a graph is recorded from.
BATCHES = [(lengths, side) for lengths in ([2, 9, 5, 3, 1], [4]) for side in ("right", "left", "holes")]
every_cell = pytest.mark.parametrize("cell", EVERY_CELL)
# In every run of the tests: every head with an LSTM, and three heads with every cell.
QUICK = [(head, "lstm") for head in HEADS]
QUICK += [(head, cell) for head in ("last pooling", "crf", "next word") for cell in ("rnn", "gru", "mingru")]
every_head_and_cell = pytest.mark.parametrize(
    ("head", "cell"),
    [
        pytest.param(head, cell, marks=() if (head, cell) in QUICK else pytest.mark.slow)
        for head in HEADS
        for cell in CELLS
    ],
)


def a_model(head: str, cell: str) -> Any:
    model_class, changes = HEADS[head]
    sizes = {"vocab_size": 50, "embedding_size": 6, "units": 5, "num_hidden_layers": 2, "num_labels": 3, **changes}
    bidirectional = model_class is not RecurrentForCausalLM
    config = RecurrentConfig(cell_type=cell, bidirectional=bidirectional, empty_text_token_id=7, **sizes)
    return randomised(model_class(config))


def a_batch(head: str, lengths: list[int], side: str) -> dict[str, torch.Tensor]:
    ids, mask = padded(words(lengths), side)
    inputs = {"input_ids": ids, "attention_mask": mask}
    if head == "pairs":
        inputs["token_type_ids"] = ((mask.cumsum(dim=1) > 1) & mask.bool()).long()
    if head.startswith("character"):
        generator = torch.Generator().manual_seed(3)
        inputs["char_ids"] = torch.randint(0, 9, (*ids.shape, 2 + len(lengths)), generator=generator)
    return inputs


class Positional(torch.nn.Module):
    """A model that takes the inputs named in `names` one by one and returns a tensor, as torch.jit.trace needs it."""

    def __init__(self, model: torch.nn.Module, names: list[str]):
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        return self.model(**dict(zip(self.names, values, strict=True))).logits


@every_head_and_cell
def test_a_model_traced_from_full_rows_holds_for_any_mask_number_and_length_of_texts(head, cell):
    inputs = a_batch(head, [7, 7, 7], "right")
    model = Positional(a_model(head, cell), list(inputs))
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(model, tuple(inputs.values()), check_trace=False), file)
    file.seek(0)
    traced = torch.jit.load(file)
    for lengths, side in BATCHES:
        values = a_batch(head, lengths, side).values()
        torch.testing.assert_close(traced(*values), model(*values), atol=1e-5, rtol=1e-5)


def exported(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> torch.export.ExportedProgram:
    """`model` for any number and length of texts."""
    shapes = {name: {0: Dim("batch"), 1: Dim("time")} for name in inputs}
    if "char_ids" in inputs:
        shapes["char_ids"][2] = Dim("width")
    return torch.export.export(model, (), inputs, dynamic_shapes=shapes)


SOON = [("last pooling", "lstm"), ("crf", "gru"), ("next word", "rnn"), ("mean pooling", "mingru")]
OTHERS = [(head, cell) for head in HEADS for cell in CELLS if (head, cell) not in SOON]


@pytest.mark.parametrize(
    ("head", "cell"), SOON + [pytest.param(*pair, marks=pytest.mark.slow) for pair in OTHERS]
)  # each takes seconds
def test_a_model_exported_with_a_dynamic_length_holds_for_any_mask_number_and_length_of_texts(head, cell):
    model = a_model(head, cell)
    program = exported(model, a_batch(head, [7, 1, 4], "left")).module()
    with torch.no_grad():  # with gradients, each call prepares the backward pass of the loop anew
        for lengths, side in BATCHES:
            inputs = a_batch(head, lengths, side)
            torch.testing.assert_close(program(**inputs).logits, model(**inputs).logits, atol=1e-5, rtol=1e-5)


def test_a_convolution_is_exported_and_traced_for_any_number_and_length_of_texts():
    sizes = {"vocab_size": 50, "embedding_size": 6, "units": 5}
    config = RecurrentConfig(cell_type="mingru", conv_kernel=3, bidirectional=True, **sizes)
    model = randomised(RecurrentForSequenceClassification(config)).requires_grad_(False)
    inputs = a_batch("tags", [7, 1, 4], "left")
    program, names = exported(model, inputs).module(), list(inputs)
    traced = torch.jit.trace(Positional(model, names), tuple(inputs.values()), check_trace=False)
    for lengths, side in BATCHES:
        inputs = a_batch("tags", lengths, side)
        for found in (program(**inputs).logits, traced(*inputs.values())):
            torch.testing.assert_close(found, model(**inputs).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.slow  # the backward pass of an exported loop takes seconds
@every_cell
def test_gradients_flow_through_a_model_exported_with_a_dynamic_length(cell):
    model, inputs = a_model("last pooling", cell), a_batch("last pooling", [5, 2], "left")
    program = exported(model, inputs).module()
    gradients = []
    for module in (model, program):
        module.zero_grad()
        module(**inputs).logits.square().sum().backward()
        gradients.append({name.removeprefix("model."): p.grad.clone() for name, p in module.named_parameters()})
    torch.testing.assert_close(gradients[1], gradients[0])


def labels_of(head: str, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    mask = inputs["attention_mask"].bool()
    if issubclass(HEADS[head][0], RecurrentForSequenceClassification):
        return torch.arange(len(mask)) % 3
    tags = torch.ones_like(inputs["input_ids"]) if "id2label" in HEADS[head][1] else inputs["input_ids"]
    return torch.where(mask, tags, -100)


@every_head_and_cell
@pytest.mark.parametrize("training", [False, True])
def test_the_gradient_of_each_row_under_vmap_is_that_of_a_loop(head, cell, training):
    model, inputs = a_model(head, cell).train(training), a_batch(head, [7, 1, 4], "left")
    for module in model.modules():  # vmap would want to be told how to draw random numbers
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    labels = labels_of(head, inputs)
    weights = {name: value.detach() for name, value in model.named_parameters()}

    def loss(weights, row, label):
        one = {name: value[None] for name, value in row.items()}
        return functional_call(model, weights, (), {**one, "labels": label[None], "return_dict": True}).loss

    gradients = vmap(grad(loss), (None, 0, 0))(weights, inputs, labels)
    for index in range(len(labels)):
        model.zero_grad()
        model(
            **{name: value[index, None] for name, value in inputs.items()}, labels=labels[index, None]
        ).loss.backward()
        for name, parameter in model.named_parameters():
            expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            torch.testing.assert_close(gradients[name][index], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("part", ["model.layers.0", "crf"])
def test_hooks_of_opacus_that_would_leave_the_mask_out_are_refused(part):
    model = a_model("crf", "lstm")
    model.get_submodule(part).ft_compute_sample_grad = None
    with pytest.raises(NotImplementedError, match=r"opacus: .* also reads the mask\. Use grad_sample_mode"):
        model(**a_batch("crf", [3, 2], "right"))


@pytest.mark.slow  # compiling takes seconds
@pytest.mark.parametrize("head", ["attention pooling", "pairs", "crf", "adaptive"])
def test_a_compiled_model_holds_for_any_mask_number_and_length_of_texts(head):
    torch.compiler.reset()
    model = a_model(head, "lstm")
    compiled = torch.compile(model, backend="aot_eager")
    for lengths, side in [([7, 7, 7], "right"), *BATCHES]:
        inputs = a_batch(head, lengths, side)
        torch.testing.assert_close(compiled(**inputs).logits, model(**inputs).logits, atol=1e-5, rtol=1e-5)


RECORDERS = {
    "trace": torch.jit.trace,
    "export": torch.export.export,
    "vmap": lambda model, inputs: vmap(lambda *row: model(*(value[None] for value in row)))(*inputs),
}


@pytest.mark.parametrize("record", RECORDERS)
def test_rows_with_several_texts_are_refused_where_their_number_cannot_be_known(record):
    model = Positional(a_model("next word", "gru"), ["input_ids", "position_ids"])
    inputs = (torch.ones(2, 4, dtype=torch.long), torch.tensor([[0, 1, 0, 1], [0, 1, 2, 3]]))
    with pytest.raises(ValueError, match="position_ids: rows with several texts cannot be exported, traced or mapped"):
        RECORDERS[record](model, inputs)


@pytest.mark.parametrize("cell", [name for name, kind in CELLS.items() if issubclass(kind, FusedCell)])
@pytest.mark.parametrize("side", ["right", "left", "holes"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_step_of_a_cell_is_its_operator_at_one_position(cell, side, dtype):
    config = RecurrentConfig(vocab_size=9, embedding_size=6, units=5, cell_type=cell, num_hidden_layers=1)
    layer = randomised(RecurrentModel(config)).layers[0].to(dtype)
    _, mask = padded(words([7, 1, 4]), side)
    layout, inputs = make_layout(mask.bool()), torch.randn(*mask.shape, 6).to(dtype)
    start = tuple(torch.randn(3, 5).to(dtype) for _ in layer.cell.state_sizes())
    arguments = (inputs, layer._weights("_l0"), start, layout, True)
    outputs, final = layer.cell.run(*arguments)
    stepwise, last = layer.cell._run_steps(*arguments)
    near = {"atol": 1e-6, "rtol": 1e-6} if dtype == torch.float32 else {"atol": 0.05, "rtol": 0.05}
    words_in_front = layout.lengths > torch.arange(mask.shape[1])
    torch.testing.assert_close(stepwise[words_in_front], outputs[words_in_front], **near)
    torch.testing.assert_close(last, final, **near)


def test_words_first_is_a_stable_sort_and_its_inverse():
    mask = torch.rand(50, 9, generator=torch.Generator().manual_seed(0)) < torch.linspace(0, 1, 50)[:, None]
    order, places = words_first(mask)
    assert torch.equal(order, torch.argsort(~mask, dim=1, stable=True))
    assert torch.equal(order.gather(1, places), torch.arange(9).expand(50, 9))


def test_a_permutation_has_the_gradients_of_indexing_under_every_transform():
    order, inverse = words_first(torch.rand(5, 7, generator=torch.Generator().manual_seed(0)) < 0.5)
    states = torch.randn(5, 7, 3, dtype=torch.float64)
    weights = torch.arange(21.0, dtype=torch.float64).view(1, 7, 3)

    def ours(row, index, back):
        return (permute(row[None], index, back) * weights).square().sum()

    def reference(row, index, back):
        return (row[index][None] * weights).square().sum()

    def twice(function):
        return grad(lambda *row: grad(function)(*row).square().sum())

    def forward(function):
        return lambda row, *others: jvp(lambda states: function(states, *others), (row,), (row.sin(),))[1]

    for transform in (grad, twice, forward):
        found, expected = (vmap(transform(f))(states, order, inverse) for f in (ours, reference))
        torch.testing.assert_close(found, expected)


def test_the_scaled_partition_has_the_same_gradients_under_grad_and_vmap():
    emissions = torch.randn(6, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = [
        torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) for size in (3, (3, 3), 3)
    ]
    rows = crf_inference.compact_rows(torch.arange(6) < torch.tensor([[6], [2], [1], [4]]))

    def partition(*values):
        return crf_inference._LogPartition.apply(*values, rows)[0].square().sum()

    inputs = [value.clone().requires_grad_() for value in (emissions, *weights)]
    expected = torch.autograd.grad(partition(*inputs), inputs)
    torch.testing.assert_close(grad(partition, (0, 1, 2, 3))(emissions, *weights), expected)
    several = torch.stack([emissions, emissions * 2])
    mapped = vmap(grad(partition), (0, None, None, None))(several, *weights)
    torch.testing.assert_close(mapped, torch.stack([grad(partition)(one, *weights) for one in several]))


def test_tensors_that_stand_for_others_leave_nothing_behind():
    model, inputs = a_model("crf", "lstm"), a_batch("crf", [5, 2], "left")
    labels = labels_of("crf", inputs)
    expected = model(**inputs, labels=labels)
    tag_constraints._KEPT.clear()
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = {name: mode.from_tensor(value) for name, value in inputs.items()}
        assert model(**fake).logits.shape == expected.logits.shape
    outputs = model(**inputs, labels=labels)
    assert torch.equal(outputs.logits, expected.logits)
    assert torch.equal(outputs.loss, expected.loss)


# Exports before the first call, then traces and maps, all in a process that has not seen this package.
FIRST = """
import sys
import torch
from torch.func import functional_call, grad, vmap
from transformers import AutoModelForTokenClassification

model = AutoModelForTokenClassification.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
ids = torch.tensor([[5, 6, 7, 8], [9, 5, 0, 0]])
mask = (ids > 0).long()
labels = torch.where(mask.bool(), 1, -100)
shapes = {name: {0: torch.export.Dim("batch")} for name in ("input_ids", "attention_mask")}
program = torch.export.export(model, (), {"input_ids": ids, "attention_mask": mask}, dynamic_shapes=shapes).module()
expected = model(ids, mask, labels=labels)
expected.loss.backward()
model.config.return_dict = False
traced = torch.jit.trace(model, (ids[:1], mask[:1]), check_trace=False)
model.config.return_dict = True
with torch.no_grad():
    print(float((program(input_ids=ids, attention_mask=mask).logits - expected.logits).abs().max()))
    print(float((traced(ids, mask)[0] - expected.logits).abs().max()))

def loss(weights, ids, mask, labels):
    return functional_call(model, weights, (ids[None], mask[None]), {"labels": labels[None]}).loss

weights = {name: value.detach() for name, value in model.named_parameters()}
rows = vmap(grad(loss), (None, 0, 0, 0))(weights, ids, mask, labels)["crf.transitions"]
print(float((rows * torch.tensor([4, 2])[:, None, None] / 6 - model.crf.transitions.grad / 2).sum(0).abs().max()))
"""


def test_a_saved_tagger_is_exported_before_its_first_use_in_a_clean_process(tmp_path):
    a_model("crf", "lstm").save_pretrained(tmp_path / "model")
    printed = clean_process.printed_by(FIRST, tmp_path / "model", folder=tmp_path)
    assert [float(line) < 1e-5 for line in printed.split()] == [True] * 3, printed
