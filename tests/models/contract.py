"""The contract of every recurrent model with a head, for every cell: subclass it, name the class, and its tests run.

Biases are randomised and padding is filled with random ids. Fresh biases are zero and the embedding of padding is zero,
so a model that ignores its mask could pass otherwise.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any, ClassVar

import pytest
import torch
from transformers import AutoConfig

from pipeline.models.recurrent import RecurrentConfig
from pipeline.models.recurrent.recurrence import CELLS

# A minLSTM differs from a minGRU in the formula of its gate alone.
EVERY_CELL = [pytest.param(cell, marks=pytest.mark.slow if cell == "minlstm" else ()) for cell in CELLS]
# Each takes seconds, and test_graphs.py has graphs of other cells.
EXPORTED = [pytest.param(cell, marks=() if cell == "lstm" else pytest.mark.slow) for cell in CELLS]
SHAPES = [(bidirectional, layers) for bidirectional in (False, True) for layers in (1, 4)]


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    """`model` in evaluation mode, with random values for all parameters."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return model.eval()


def words(lengths: list[int], vocab_size: int = 50, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(1, vocab_size, (length,), generator=generator) for length in lengths]


def padded(rows: list[torch.Tensor], side: str, extra: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, T) ids with random words as padding, and the mask; side is left, right or holes."""
    width = max(map(len, rows)) + extra
    generator = torch.Generator().manual_seed(len(rows) + width)
    ids = torch.randint(1, 50, (len(rows), width), generator=generator)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for index, row in enumerate(rows):
        places = {
            "right": torch.arange(len(row)),
            "left": torch.arange(width - len(row), width),
            "holes": torch.randperm(width, generator=generator)[: len(row)].sort().values,
        }[side]
        ids[index, places], mask[index, places] = row, 1
    return ids, mask


class ModelContract:
    """Subclasses set `model_class` and `auto_class`, and may override `outputs_of`, which returns what to compare.

    `one_way_only`: the class refuses to read in both directions, so its tests run in one.
    """

    model_class: ClassVar[Any]
    auto_class: ClassVar[Any]
    one_way_only: ClassVar[bool] = False

    def config(self, **changes: Any) -> RecurrentConfig:
        sizes = {"vocab_size": 50, "embedding_size": 6, "units": 5, "num_hidden_layers": 2, "num_labels": 3}
        if self.one_way_only:
            changes["bidirectional"] = False
        return RecurrentConfig(**{**sizes, **changes})

    def model(self, **changes: Any) -> Any:
        return randomised(self.model_class(self.config(**changes)))

    def outputs_of(self, model: Any, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        return model(input_ids=ids, attention_mask=mask).logits

    @pytest.mark.parametrize("cell", EVERY_CELL)
    @pytest.mark.parametrize(("bidirectional", "layers"), SHAPES)
    @pytest.mark.parametrize("side", ["right", "left", "holes"])
    def test_padding_never_changes_a_result(self, cell, bidirectional, layers, side):
        model = self.model(cell_type=cell, bidirectional=bidirectional, num_hidden_layers=layers)
        rows = words([7, 1, 4, 9])
        alone = torch.cat([self.outputs_of(model, row[None], None) for row in rows])
        together = self.outputs_of(model, *padded(rows, side, extra=2))
        torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-6)

    def test_a_row_without_words_is_an_error_that_names_the_row_if_there_is_no_token_for_it(self):
        ids, mask = padded(words([3, 2]), "right")
        mask[1] = 0
        with pytest.raises(ValueError, match="row 1 of the batch has no words"):
            self.model()(input_ids=ids, attention_mask=mask)
        for mask in (None, torch.ones(1, 0)):
            with pytest.raises(ValueError, match="row 0 of the batch has no words"):
                self.model()(input_ids=torch.ones(1, 0, dtype=torch.long), attention_mask=mask)

    @pytest.mark.parametrize("cell", EVERY_CELL)
    @pytest.mark.parametrize("side", ["right", "left", "holes"])
    @pytest.mark.parametrize("bidirectional", [False, True])
    def test_a_row_without_words_is_read_as_the_token_for_it_and_changes_no_other(self, cell, side, bidirectional):
        model = self.model(cell_type=cell, bidirectional=bidirectional, empty_text_token_id=7)
        rows = words([7, 1, 4])
        alone = torch.cat([self.outputs_of(model, row[None], None) for row in rows])
        ids, mask = padded([*rows, words([1])[0]], side, extra=2)
        mask[-1] = 0
        together = self.outputs_of(model, ids, mask)[: len(alone)]
        torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-6)
        self.check_empty(model, model(input_ids=ids, attention_mask=mask)[0][-1:])
        for given in (torch.zeros(1, 0), torch.zeros(1, 0, dtype=torch.long)):  # tokenizers return it as floats
            self.check_empty(model, model(input_ids=given, attention_mask=given)[0])
            self.check_empty(model, model(input_ids=given)[0])

    def check_empty(self, model: Any, found: torch.Tensor) -> None:
        """`found` (1, ...), the first output for a row without words, is that for the token in its place."""
        expected = model(input_ids=torch.tensor([[7]]))[0]
        if found.ndim == 3:  # of which the last position counts
            found = found[:, -1:]
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)

    @pytest.mark.parametrize("cell", EVERY_CELL)
    @pytest.mark.parametrize("tied", [False, True])
    def test_saving_and_loading_keeps_the_result(self, cell, tied, tmp_path):
        model = self.model(cell_type=cell, bidirectional=True, tie_word_embeddings=tied)
        model.save_pretrained(tmp_path)
        assert (tmp_path / "model.safetensors").is_file()
        ids, mask = padded(words([5, 2]), "right")
        for loaded in (self.model_class.from_pretrained(tmp_path), self.auto_class.from_pretrained(tmp_path)):
            assert type(loaded) is self.model_class
            assert torch.equal(self.outputs_of(loaded, ids, mask), self.outputs_of(model, ids, mask))

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
    def test_loading_in_another_dtype_gives_about_the_same_result(self, dtype, tmp_path):
        model = self.model(bidirectional=True)
        model.save_pretrained(tmp_path)
        ids, mask = padded(words([5, 2]), "left")
        loaded = self.model_class.from_pretrained(tmp_path, dtype=dtype)
        result = self.outputs_of(loaded, ids, mask)
        assert result.dtype == dtype
        torch.testing.assert_close(result.float(), self.outputs_of(model, ids, mask), atol=0.1, rtol=0.1)

    def test_embeddings_in_place_of_ids_give_the_same_result(self):
        model = self.model()
        ids, mask = padded(words([5, 2]), "right")
        embedded = model(inputs_embeds=model.get_input_embeddings()(ids), attention_mask=mask)[0]
        assert torch.equal(embedded, model(input_ids=ids, attention_mask=mask)[0])

    def test_ids_and_embeddings_together_or_neither_are_refused(self):
        for inputs in ({}, {"input_ids": torch.ones(1, 2, dtype=torch.long), "inputs_embeds": torch.ones(1, 2, 6)}):
            with pytest.raises(ValueError, match="exactly one of input_ids or inputs_embeds"):
                self.model()(**inputs)

    def test_resizing_the_vocabulary_keeps_known_words(self):
        model = self.model()
        ids, mask = padded(words([5, 2]), "right")
        before = self.outputs_of(model, ids, mask)
        model.resize_token_embeddings(60)
        assert model.config.vocab_size == model.get_input_embeddings().num_embeddings == 60
        assert torch.equal(self.outputs_of(model, ids, mask), before)

    def test_hidden_states_are_the_embeddings_and_each_layer(self):
        model = self.model(bidirectional=True, num_hidden_layers=3)
        states = model(*padded(words([5, 2]), "left"), output_hidden_states=True).hidden_states
        assert [state.shape[-1] for state in states] == [6, *[model.config.hidden_size] * 3]

    @pytest.mark.parametrize("cell", EVERY_CELL)
    @pytest.mark.parametrize("reentrant", [False, True])
    def test_gradient_checkpointing_gives_the_same_gradients(self, cell, reentrant):
        ids, mask = padded(words([5, 2]), "right")
        gradients = []
        for checkpointing in (False, True):
            model = self.model(cell_type=cell, num_hidden_layers=3, bidirectional=True).train()
            if checkpointing:
                model.gradient_checkpointing_enable({"use_reentrant": reentrant})
            self.outputs_of(model, ids, mask).square().sum().backward()
            gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
        for plain, checkpointed in zip(*gradients, strict=True):
            # A reentrant pass forward has no gradients, so torch's operators may run there in place of our kernels. The
            # difference is then in proportion to the largest gradients, which small ones are sums of.
            size = max(1.0, float(plain.abs().max())) if reentrant else 1.0
            torch.testing.assert_close(checkpointed, plain, rtol=1e-4 if reentrant else 1.3e-6, atol=1e-5 * size)

    def test_torch_compile_gives_the_same_result(self):
        torch.compiler.reset()
        model = self.model(bidirectional=True, empty_text_token_id=7)
        ids, mask = padded(words([5, 2]), "right")
        compiled = torch.compile(model, backend="aot_eager")
        torch.testing.assert_close(self.outputs_of(compiled, ids, mask), self.outputs_of(model, ids, mask))

    @pytest.mark.parametrize("cell", EXPORTED)
    def test_an_exported_graph_holds_for_any_mask_and_any_number_of_texts(self, cell):
        """The length is fixed at export because the fused operators need it; shorter texts are padded."""
        model = self.model(cell_type=cell, bidirectional=True, empty_text_token_id=7)
        ids, mask = padded(words([7, 1, 4]), "right")
        batch = {0: torch.export.Dim("batch")}
        shapes = {"input_ids": batch, "attention_mask": batch}
        program = torch.export.export(
            model, (), {"input_ids": ids, "attention_mask": mask}, dynamic_shapes=shapes
        ).module()
        for lengths in ([2, 7, 5, 3, 1], [7, 7]):
            for side in ("right", "left", "holes"):
                ids, mask = padded(words(lengths), side)
                torch.testing.assert_close(self.outputs_of(program, ids, mask), self.outputs_of(model, ids, mask))

    def test_dropout_is_off_in_evaluation_and_on_in_training(self):
        rates = {"embedding_dropout": 0.5, "hidden_dropout": 0.5, "classifier_dropout": 0.5}
        model = self.model(**rates)
        ids, mask = padded(words([5, 2]), "right")
        assert torch.equal(self.outputs_of(model, ids, mask), self.outputs_of(model, ids, mask))
        model.train()
        assert not torch.equal(self.outputs_of(model, ids, mask), self.outputs_of(model, ids, mask))

    @pytest.mark.parametrize("cell", EVERY_CELL)
    def test_the_same_seed_gives_the_same_weights(self, cell):
        models = []
        for _ in range(2):
            torch.manual_seed(3)
            models.append(self.model_class(self.config(cell_type=cell)))
        for one, other in zip(*(model.parameters() for model in models), strict=True):
            assert torch.equal(one, other)

    def test_initial_weights_are_orthogonal_with_an_open_forget_gate(self):
        layer = self.model_class(self.config()).base_model.layers[0]
        for gate in layer.weight_hh_l0.chunk(4):
            torch.testing.assert_close(gate @ gate.T, torch.eye(5))
        assert layer.bias_ih_l0.chunk(4)[1].tolist() == [1.0] * 5
        assert layer.bias_hh_l0.tolist() == [0.0] * 20

    @pytest.mark.parametrize("cell", EVERY_CELL)
    def test_missing_weights_are_initialised_on_loading(self, cell, tmp_path):
        from safetensors.torch import load_file, save_file

        model = self.model(cell_type=cell)
        model.save_pretrained(tmp_path)
        tensors = load_file(tmp_path / "model.safetensors")
        kept = {name: tensor for name, tensor in tensors.items() if "layers.1" not in name}
        save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
        loaded = self.model_class.from_pretrained(tmp_path)
        assert all(parameter.isfinite().all() for parameter in loaded.parameters())
        assert all(parameter.abs().max() < 10 for parameter in loaded.parameters())

    def test_the_config_survives_copying_pickling_and_saving(self, tmp_path):
        config = self.config(cell_type="gru", pooling="max", bidirectional=True)
        config.save_pretrained(tmp_path)
        copies = [copy.deepcopy(config), pickle.loads(pickle.dumps(config)), AutoConfig.from_pretrained(tmp_path)]
        for twin in copies:
            assert {**twin.to_dict(), "_name_or_path": ""} == config.to_dict()

    @pytest.mark.parametrize("cell", EVERY_CELL)
    @pytest.mark.parametrize("rows", [[5, 2], [5, 5], [1]])
    def test_bfloat16_autocast_gives_about_the_same_result_and_gradients(self, cell, rows):
        results, gradients = [], []
        for autocast in (False, True):
            model = self.model(bidirectional=True, cell_type=cell)
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                result = self.outputs_of(model, *padded(words(rows), "left"))
            result.float().square().sum().backward()
            results.append(result.float())
            gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        torch.testing.assert_close(*results, atol=0.1, rtol=0.1)
        assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.99


class CacheContract:
    """For classes that return a state to continue from: mixed into a ModelContract with a first output (B, T, ...)."""

    @pytest.mark.parametrize("cell", EVERY_CELL)
    @pytest.mark.parametrize("side", ["right", "left", "holes"])
    def test_continuing_from_a_returned_state_equals_one_call(self, cell, side):
        model = self.model(cell_type=cell)
        ids, mask = padded(words([9, 6, 8]), side, extra=1)
        whole = model(ids, mask)
        parts, cache = [], None
        for end in (5, 6, 10):  # the mask covers everything read so far, as in generation
            start = 0 if cache is None else cache.get_seq_length()
            outputs = model(ids[:, start:end], mask[:, :end], past_key_values=cache, use_cache=True)
            parts, cache = [*parts, outputs[0]], outputs.past_key_values
        real = mask.bool()
        torch.testing.assert_close(torch.cat(parts, dim=1)[real], whole[0][real], atol=1e-6, rtol=1e-6)
        for layer, other in zip(cache.layers, whole.past_key_values.layers, strict=True):
            torch.testing.assert_close(layer.get_state(), other.get_state(), atol=1e-6, rtol=1e-6)

    def test_a_state_is_returned_if_the_config_says_so_but_in_training_only_if_asked_for(self):
        ids = words([4])[0][None]
        assert self.model()(ids).past_key_values.get_seq_length() == 4
        assert self.model(use_cache=False)(ids).past_key_values is None
        model = self.model().train()
        assert model(ids).past_key_values is None
        assert model(ids, use_cache=True).past_key_values.get_seq_length() == 4
