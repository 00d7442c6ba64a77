"""Facts about ARCHITECTURES, on small random models of each: listing an architecture is what tests it."""

import dataclasses

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from behemoth_data.edits import Background, EditTask
from behemoth_data.grammar import Query
from behemoth_editing import METHODS
from behemoth_editing.architecture import (
    ARCHITECTURES,
    first_layers,
    halves,
    layers_of,
    matrix_of,
    weight_of,
)
from behemoth_models.knowledge import greedy_answers, weights_digest

WIDTH, INNER, LAYERS, WORDS = 16, 24, 3, 40
COMMON = {
    "vocab_size": WORDS,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 32,
}
# Windows shorter than the prompts, so that it matters which layer has one.
WINDOWS = {"sliding_window": 3, "layer_types": ["full_attention", "sliding_attention", "full_attention"]}
OWN = {
    "gpt2": {"n_inner": INNER, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": 2, "n_positions": 32},
    "gptj": {"n_inner": INNER, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": 2, "n_positions": 32, "rotary_dim": 4},
    "mistral": {"sliding_window": 3},
    "qwen2": {**WINDOWS, "use_sliding_window": True},
    "qwen3": {**WINDOWS, "use_sliding_window": True},
    "gemma2": WINDOWS,
    "gemma3_text": WINDOWS,
}
BATCH = ["memit", "emmet", "alphaedit", "sphere"]
every = pytest.mark.parametrize("name", ARCHITECTURES)
adding = pytest.mark.parametrize("name", [name for name, known in ARCHITECTURES.items() if not known.normed])


def small(name):
    """A model of an architecture in float64, of which no two weights are alike."""
    own = {"intermediate_size": INNER} if "n_inner" not in OWN.get(name, {}) else {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        settings = {**(COMMON if own else {"vocab_size": WORDS}), **own, **OWN.get(name, {})}
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **settings)).double().eval()
        for parameter in model.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def models():
    """Every architecture's model, each made once and never changed."""
    return {name: small(name) for name in ARCHITECTURES}


@pytest.fixture
def model(models, name):
    return models[name]


def query(prompt, answer):
    return Query("", "", prompt, answer, 2)


PROMPTS = [(1, 2, 3, 4, 5, 6), (7, 8, 3, 9, 10)]
FACTS = [(11, 12, 13, 14, 6), (15, 16, 3, 4, 5, 6)]
SENTENCES = [np.random.default_rng(0).integers(1, WORDS, (12, 7))]


@pytest.fixture
def task(model):
    """Two edits of what the model says, to the word that is its second choice."""
    liked = [model(input_ids=torch.tensor([prompt])).logits[0, -1].topk(2).indices.tolist() for prompt in PROMPTS]
    return EditTask(
        requests=tuple(query(prompt, (second,)) for prompt, (_, second) in zip(PROMPTS, liked, strict=True)),
        originals=tuple(query(prompt, (first,)) for prompt, (first, _) in zip(PROMPTS, liked, strict=True)),
        refusals=tuple(query(prompt, (31, 31)) for prompt in PROMPTS),
        retain={"given": tuple(query(prompt, (32,)) for prompt in FACTS)},
        same_subject=((query((1, 2, 3, 7, 8), (33,)),), ()),
        background=Background("sentences", lambda: iter(SENTENCES)),
        contexts=(),
        edited_repeats=250,
    )


def first_of(task):
    cut = {field: getattr(task, field)[:1] for field in ("requests", "originals", "refusals", "same_subject")}
    return dataclasses.replace(task, **cut)


def makes_its_edits(model, task):
    answers = greedy_answers(model, [fact.prompt_ids for fact in task.requests], [1] * len(task.requests))
    return answers == [fact.answer_ids for fact in task.requests]


def width_of(matrix):
    """Inputs and outputs of a matrix of a layer, from its class; none for what is no matrix."""
    if isinstance(matrix, Conv1D):
        return tuple(matrix.weight.shape)
    return (matrix.in_features, matrix.out_features) if isinstance(matrix, torch.nn.Linear) else None


def seen_by(model, part, prompts, outputs=False):
    """What a part of the model is given, or puts out, at the last token of each prompt: [n, width]."""
    states = []

    def keep(_module, inputs, output):
        output = output[0] if isinstance(output, tuple) else output
        states.append((output if outputs else inputs[0])[0, -1].numpy())

    handle = part.register_forward_hook(keep)
    for prompt in prompts:
        model(input_ids=torch.tensor([prompt]))
    handle.remove()
    return np.stack(states)


def second_moment(model, matrix):
    """The keys' mean k k^T over all tokens but the last of the sentences."""
    keys = []
    handle = matrix.register_forward_pre_hook(lambda _, inputs: keys.append(inputs[0].reshape(-1, INNER).numpy()))
    model(input_ids=torch.from_numpy(SENTENCES[0][:, :-1]))
    handle.remove()
    return keys[0].T @ keys[0] / len(keys[0])


def ridged(moment):
    return moment + 1e-4 * np.trace(moment) / INNER * np.eye(INNER)


def output_name(model, layer):
    """The one matrix of a layer from the inner width to the hidden one, by its name in the model."""
    part = layers_of(model)[layer]
    (found,) = [m for m in part.modules() if width_of(m) == (INNER, WIDTH)]
    return next(name for name, module in model.named_modules() if module is found)


def changed(before, after):
    return {n for n, p in after.named_parameters() if not torch.equal(p, before.get_parameter(n))}


def difference(before, after, name):
    """A matrix's change as [outputs, inputs], in numpy."""
    matrices = [model.get_submodule(name) for model in (after, before)]
    change = (matrices[0].weight - matrices[1].weight).numpy()
    return change.T if isinstance(matrices[0], Conv1D) else change


@every
def test_matrices_are_those_of_a_layer_each_where_it_belongs(name, model):
    known, layer = ARCHITECTURES[name], layers_of(model)[1]
    widths = {part: width_of(matrix) for part, matrix in layer.named_modules() if width_of(matrix)}
    assert widths.keys() == {*known.matrices("both")}
    assert {part for part, width in widths.items() if width == (INNER, WIDTH)} == {known.mlp_output}
    assert {part for part, width in widths.items() if width == (WIDTH, INNER)} == {*known.mlp_input}
    assert len(layers_of(model)) == LAYERS


@every
def test_weights_are_given_as_outputs_by_inputs(name, model):
    for part in ARCHITECTURES[name].matrices("both"):
        matrix = matrix_of(model, 1, part)
        weight = weight_of(model, matrix)
        asked = torch.randn(weight.shape[1], dtype=torch.float64)
        bias = 0 if getattr(matrix, "bias", None) is None else matrix.bias
        torch.testing.assert_close(matrix(asked[None, None])[0, 0], weight @ asked + bias)


@every
@pytest.mark.parametrize("first", [1, 2])
def test_layers_below_and_above_together_are_the_model(name, model, first):
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8], [9, 8, 7, 6, 5, 4, 3, 2]])
    below, above = halves(model, list(layers_of(model)[first].parameters()))
    states = below(input_ids=tokens, use_cache=False).last_hidden_state
    expected = []
    handle = layers_of(model)[first].register_forward_pre_hook(
        lambda _, inputs, given: expected.append(inputs[0] if inputs else given["hidden_states"]), with_kwargs=True
    )
    logits = model(input_ids=tokens, use_cache=False).logits
    handle.remove()
    torch.testing.assert_close(states, expected[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(above(inputs_embeds=states, use_cache=False).logits, logits, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(first_layers(model, first)(input_ids=tokens).last_hidden_state, states)


@every
def test_nothing_is_left_out_below_where_embeddings_are_trained(name, model):
    for parameter in model.base_model.parameters():
        below, above = halves(model, [parameter])
        whole = not any(parameter is own for layer in layers_of(model)[1:] for own in layer.parameters())
        final = model.base_model.get_submodule(ARCHITECTURES[name].final_norm)
        whole = whole and not any(parameter is own for own in final.parameters())
        assert (below is None, above is model) == (whole, whole)


@every
def test_output_of_an_mlp_is_added_as_it_is_unless_the_entry_says_otherwise(name, model):
    matrix, layer, moved = model.get_submodule(output_name(model, 1)), layers_of(model)[1], torch.ones(WIDTH).double()
    before = seen_by(model, layer, PROMPTS, outputs=True)
    handle = matrix.register_forward_hook(lambda _, __, output: output + moved)
    after = seen_by(model, layer, PROMPTS, outputs=True)
    handle.remove()
    assert np.allclose(after - before, 1) == (not ARCHITECTURES[name].normed)


@every
def test_answers_are_the_likeliest_words_whatever_prompts_share(name, model):
    prompts = [
        (1, 2, 3, 4, 5, 6, last, 7) for last in range(8, WORDS)
    ] * 2  # enough for their start to be computed once
    answers = greedy_answers(model, prompts, [2] * len(prompts))
    rows = torch.tensor(prompts)
    for place in range(2):
        rows = torch.cat([rows, model(input_ids=rows, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
        assert [answer[place] for answer in answers] == rows[:, -1].tolist()


@every
def test_rome_writes_its_closed_form_into_the_named_matrix_alone_and_the_edit_holds(name, model, task):
    one = dataclasses.replace(first_of(task), same_subject=((),))
    edited = METHODS["rome"](layer=1, max_norm=100.0, stop_loss=0.5)(model, one).model
    part = output_name(model, 1)
    assert changed(model, edited) == {f"{part}.weight"}
    (key,) = seen_by(model, model.get_submodule(part), PROMPTS[:1])
    change = difference(model, edited, part)
    towards = np.linalg.solve(ridged(second_moment(model, model.get_submodule(part))), key)
    np.testing.assert_allclose(change, np.outer(change @ key, towards / (towards @ key)), rtol=1e-6, atol=1e-9)
    assert makes_its_edits(edited, one)


@adding
def test_memit_writes_its_closed_form_into_the_named_matrix_alone_and_the_edits_hold(name, model, task):
    method = METHODS["memit"](layers=(1,), max_norm=100.0, stop_loss=0.6, covariance_weight=1e-4)
    found = method(model, task)
    edited, details = found.model, found.details
    part, layer = output_name(model, 1), layers_of(model)[1]
    assert changed(model, edited) == {f"{part}.weight"}
    matrix = model.get_submodule(part)
    keys, change = seen_by(model, matrix, PROMPTS), difference(model, edited, part)
    weighted = keys @ np.linalg.inv(ridged(second_moment(model, matrix)))  # [n, D]
    gram = weighted @ keys.T
    ridge = 1e-4 * INNER * np.eye(len(keys))
    written = change @ keys.T  # [H, n], which is R^T (G + ridge)^-1 G
    missing = written @ np.linalg.solve(gram, gram + ridge)
    np.testing.assert_allclose(
        change, missing @ np.linalg.solve(gram + ridge, weighted), rtol=1e-6, atol=1e-6 * np.abs(change).max()
    )
    before, after = (
        seen_by(one, layers, PROMPTS, outputs=True) for one, layers in ((model, layer), (edited, layers_of(edited)[1]))
    )
    np.testing.assert_allclose(after - before, written.T, rtol=1e-6, atol=1e-9)
    left = np.linalg.norm(before + missing.T - after) / np.linalg.norm(before + missing.T)
    assert details["missing"] == pytest.approx(left, rel=1e-4)
    assert makes_its_edits(edited, task)


@pytest.mark.parametrize("name", [name for name, known in ARCHITECTURES.items() if known.normed])
@pytest.mark.parametrize("method", BATCH)
def test_batch_methods_refuse_mlps_behind_a_norm(name, model, method):
    with pytest.raises(ValueError, match=rf"model_type must be one of gpt_neox, .*, which add .*, got {name}"):
        METHODS[method](layers=(1,)).check(model)


@every
def test_lora_changes_the_named_matrices_alone_and_the_edits_hold(name, model, task):
    settings = {"modules": "both", "rank": 4, "learning_rate": 0.05, "retain": "none", "patience": 1}
    edited = METHODS["lora"](layers=(1,), **settings, precision="fp32")(model, task).model
    prefix = next(full for full, part in model.named_modules() if part is layers_of(model)[1])
    named = ARCHITECTURES[name].matrices("both")
    assert changed(model, edited) == {f"{prefix}.{part}.weight" for part in named}
    assert max(np.linalg.matrix_rank(difference(model, edited, f"{prefix}.{part}"), 1e-6) for part in named) <= 4
    assert makes_its_edits(edited, task)


# One model of each form.
@pytest.mark.parametrize("name", {form: name for name, form in ARCHITECTURES.items()}.values())
def test_every_method_edits_a_copy(name, model, task):
    before, one = weights_digest(model), first_of(task)
    for method in METHODS.values():
        if "world" in method.reads or (ARCHITECTURES[name].normed and method.name in BATCH):
            continue
        fields = {field.name for field in dataclasses.fields(method)}
        few = {"max_steps": 2, "steps": 2, "layer": 1, "layers": (1,), "rank": 2, "max_loss": 50.0, "num_contexts": 0}
        few["teacher_layers"] = (1,)
        edited = method(**{field: value for field, value in few.items() if field in fields})(model, one).model
        assert weights_digest(edited) != before, method.name
        assert type(edited) is type(model)
    assert weights_digest(model) == before
