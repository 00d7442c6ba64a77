"""The contract of every listed method: listing a method is what tests it."""

import dataclasses
import functools
import json
from copy import deepcopy

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, BloomConfig, BloomForCausalLM

from behemoth_data.edits import EditConfig, draw_edits
from behemoth_editing import METHODS, FineTune, Shared
from behemoth_editing.architecture import check_layers, layers_of, matrix_of
from behemoth_editing.copies import copy_of, stored_like
from behemoth_editing.methods.contract import GOALS
from behemoth_editing.methods.outside import declared
from behemoth_editing.saving import write_edited
from behemoth_editing.scoring.answers import answer_log_probabilities
from behemoth_models.knowledge import greedy_answers, weights_digest

SETS = {"one": EditConfig(scenario="single", num_edits=1), "several": EditConfig(scenario="different", num_edits=3)}
POSITIVE = (
    "learning_rate",
    "alpha",
    "max_norm",
    "ridge",
    "max_change",
    "max_loss",
    "beta",
    "steering",
    "forget_weight",
    "saturation",
    "step",
)
ANEW = {"retrain", "omit"}  # whose models start anew
FAMILIES = ("lora", "memit", "npo", "refusal")  # one of each
every_method = pytest.mark.parametrize("name", METHODS)


def fields(name):
    return {field.name: field for field in dataclasses.fields(METHODS[name])}


def with_field(*wanted):
    """The (method, field) pairs for those of the wanted settings that a method has."""
    return [(name, field) for name in METHODS for field in wanted if field in fields(name)]


# Key statistics that calls share: results do not depend on them, as the test of same seeds shows.
KNOWN = Shared()


def quick(name, **settings):
    """The method, which makes a few steps and no fewer, though its goal may be reached before."""
    few = {"max_steps": 3, "steps": 3, "patience": 4}
    return METHODS[name](**{field: value for field, value in few.items() if field in fields(name)}, **settings)


@pytest.fixture(scope="module", autouse=True)
def _without_pictures():
    """A retrained model has no picture of its training: nobody looks at it, and each takes its time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("behemoth_models.run.draw_curve", lambda _: "")
        yield


@pytest.fixture(scope="module")
def small(beginner):
    """The model that knows little, with weights that every type of 16 bits holds as they are."""
    model = deepcopy(beginner.model)
    model.load_state_dict({name: weight.bfloat16().half().float() for name, weight in model.state_dict().items()})
    return dataclasses.replace(beginner, model=model, weights=weights_digest(model))


@pytest.fixture(scope="module")
def one(small):
    return draw_edits(small.corpus, SETS["one"])[0]


@pytest.fixture(scope="module")
def edited(small):
    """The quick edit of the small model by a method and a set's name: each is made once."""
    sets = {which: draw_edits(small.corpus, config)[0] for which, config in SETS.items()}
    return functools.cache(lambda name, which="one": quick(name)(small.model, sets[which], KNOWN))


@pytest.fixture(scope="module")
def known(checkpoint):
    """An edit of what the trained model knows."""
    return draw_edits(checkpoint.corpus, SETS["one"])[0]


@pytest.fixture(scope="module")
def edited_by_default(checkpoint, known):
    """The edit of the trained model by a method as it is by default: each is made once."""
    return functools.cache(lambda name: METHODS[name]()(checkpoint.model, known, KNOWN))


@pytest.fixture(scope="module")
def foreign(small):
    """A small model of another architecture, with random weights and the same words."""
    words = small.model.config.vocab_size
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return BloomForCausalLM(BloomConfig(vocab_size=words, hidden_size=16, n_layer=6, n_head=2))


def state(model):
    """Everything about a model that an edit of a copy must leave alone."""
    return (
        {name: tensor.clone() for name, tensor in model.state_dict().items()},
        {name: parameter.requires_grad for name, parameter in model.named_parameters()},
        {name: parameter.grad for name, parameter in model.named_parameters()},
        {name: (type(part), part.training) for name, part in model.named_modules()},
        {name: len(part._forward_hooks) + len(part._forward_pre_hooks) for name, part in model.named_modules()},
        {name: id(parameter) for name, parameter in model.named_parameters()},
        json.dumps(model.config.to_dict(), sort_keys=True, default=str),
    )


def assert_same_state(before, after):
    weights, *rest = before
    weights_after, *rest_after = after
    assert rest == rest_after
    assert weights.keys() == weights_after.keys()
    for name, tensor in weights.items():
        assert torch.equal(tensor, weights_after[name]), name


@every_method
def test_method_is_listed_under_its_name(name):
    assert METHODS[name].name == name


@every_method
def test_nothing_of_the_task_is_read_but_what_the_method_says(name, one, small, edited):
    found = quick(name)(small.model, declared(one, METHODS[name].reads), KNOWN).model
    assert weights_digest(found) == weights_digest(edited(name).model)


@every_method
def test_all_methods_have_the_other_facts_of_the_edited_subjects_where_a_draw_offers_some_and_none_by_default(
    name, one, small
):
    assert one.same_subject == ((),)
    (offered,) = draw_edits(small.corpus, dataclasses.replace(SETS["one"], same_subject_rows=1))
    assert offered.requests == one.requests
    assert len(offered.same_subject[0]) == len(offered.retain["same_subject"]) == 1
    if "same_subject" not in METHODS[name].reads:
        return
    settings = {"retain": "mixture"} if "retain" in fields(name) else {}
    retain = {kind: facts for kind, facts in offered.retain.items() if kind != "same_subject"}
    without, along = (
        weights_digest(quick(name, **settings)(small.model, task, KNOWN).model)
        for task in (dataclasses.replace(offered, retain=retain, same_subject=((),)), offered)
    )
    assert without != along


@every_method
def test_settings_are_frozen_and_every_one_has_a_default_and_a_help_text(name):
    assert METHODS[name]() == METHODS[name]()
    for field in fields(name).values():
        assert field.default is not dataclasses.MISSING, field.name
        assert field.metadata["help"], field.name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(METHODS[name](), field.name, field.default)


@every_method
@pytest.mark.parametrize(("which", "training"), [("one", True), ("several", False)])
def test_original_model_is_untouched(name, which, small, training):
    original = deepcopy(small.model).train(training)
    original.get_input_embeddings().weight.requires_grad_(False)
    before = state(original)
    quick(name)(original, draw_edits(small.corpus, SETS[which])[0], KNOWN)
    assert_same_state(before, state(original))


@pytest.fixture(scope="module")
def dropping(small):
    """The small model with dropout, in training mode but for a layer, and with an embedding that is not trained."""
    config = deepcopy(small.model.config)
    config.hidden_dropout = config.attention_dropout = 0.1
    with torch.random.fork_rng():
        model = type(small.model)(config).train(True)
    model.load_state_dict(small.model.state_dict())
    model.gpt_neox.layers[4].train(False)
    model.get_input_embeddings().weight.requires_grad_(False)
    ids = torch.tensor([[5, 6, 7]])
    assert not torch.equal(model(ids).logits, model(ids).logits)
    return model


@every_method
def test_dropout_of_a_model_in_training_mode_has_no_part_in_the_edit(name, one, dropping, edited):
    before = state(dropping)
    found = weights_digest(quick(name)(dropping, one).model)
    assert_same_state(before, state(dropping))
    assert found == weights_digest(edited(name).model)  # whose model has no dropout


@every_method
def test_model_is_as_it_was_when_an_edit_fails(name, one, dropping, monkeypatch):
    def fail(*_arguments, **_settings):
        raise RuntimeError("cut short")

    original = deepcopy(dropping)
    original.gpt_neox.layers[5].register_forward_pre_hook(fail)  # which a copy has too
    monkeypatch.setattr("behemoth_editing.methods.retrain.train", fail)
    before = state(original)
    with pytest.raises(RuntimeError, match="cut short"):
        quick(name)(original, one)
    assert_same_state(before, state(original))


def narrowed(model, kind):
    """A copy whose weights are of a narrow type, or of several."""
    if kind != "mixed":
        return deepcopy(model).to(getattr(torch, kind))
    mixed = deepcopy(model).half()
    mixed.gpt_neox.layers[2].float()
    mixed.gpt_neox.final_layer_norm.bfloat16()
    return mixed


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=[] if kind == "float16" or name in FAMILIES else pytest.mark.slow)
        for name in METHODS
        for kind in ("float16", "bfloat16", "mixed")
    ],
)
def test_narrow_weights_are_edited_in_float32_and_given_back_each_in_its_type(name, kind, one, small, edited):
    narrow = narrowed(small.model, kind)
    assert weights_digest(deepcopy(narrow).float()) == small.weights
    before = state(narrow)
    # What was trained for the same weights in another type serves nothing here.
    changed = quick(name)(narrow, one, dataclasses.replace(KNOWN, fitted=None)).model
    assert_same_state(before, state(narrow))
    expected = edited(name).model.state_dict()  # of a model in float32 that has the same weights
    for part, weight in narrow.state_dict().items():
        found = changed.state_dict()[part]
        assert found.dtype == weight.dtype, part
        assert torch.equal(found, expected[part].to(weight.dtype)), part
    assert {n: b.dtype for n, b in changed.named_buffers()} == {n: b.dtype for n, b in narrow.named_buffers()}
    assert weights_digest(changed) != weights_digest(narrow)


# Retraining's answers are those of another training. What is narrower than float16, one of each family shows.
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, "float16", marks=[] if name == "rome" else pytest.mark.slow)
        for name in METHODS
        if name not in ANEW
    ]
    + [(name, "bfloat16") for name in FAMILIES],
)
def test_edit_of_narrow_weights_holds_about_as_well(name, kind, checkpoint, known, edited_by_default):
    (query,) = {"edit": known.requests, "forget": known.originals, "refuse": known.refusals}[METHODS[name].goal]
    said = []
    narrow = METHODS[name]()(narrowed(checkpoint.model, kind), known, KNOWN).model
    for model in (edited_by_default(name).model, narrow):
        said.append(np.exp(answer_log_probabilities(model, [query.prompt_ids], [query.answer_ids]))[0, 0])
        (answer,) = greedy_answers(model, [query.prompt_ids], [len(query.answer_ids)])
        assert (answer == query.answer_ids) == (METHODS[name].goal != "forget")
    assert said[1] == pytest.approx(said[0], abs=0.1)


def test_weight_that_its_type_cannot_hold_is_refused(small):
    narrow = deepcopy(small.model).half()
    edited = copy_of(narrow)
    edited.lm_head.weight[0, 0] = 65504.0
    assert stored_like(narrow, edited).lm_head.weight[0, 0] == 65504.0
    edited = copy_of(narrow)
    edited.lm_head.weight[0, 0] = 1e5
    with pytest.raises(FloatingPointError, match=r"lm_head.weight has weights that torch.float16 cannot hold"):
        stored_like(narrow, edited)


@every_method
def test_weights_that_are_no_fractions_are_refused_by_name(name, one, small):
    quantised = deepcopy(small.model)
    quantised.lm_head.weight = torch.nn.Parameter(torch.zeros(2, 2, dtype=torch.int8), requires_grad=False)
    for refuse in (quick(name).check, lambda model: quick(name)(model, one)):
        with pytest.raises(ValueError, match=r"weights must be of type float16, .*, got torch.int8 for lm_head.weight"):
            refuse(quantised)


@every_method
@pytest.mark.parametrize("which", SETS)
def test_copy_differs_and_shares_no_memory_with_the_original(name, which, small, edited):
    found = edited(name, which).model
    assert found is not small.model
    assert weights_digest(found) != small.weights
    assert {p.data_ptr() for p in found.parameters()}.isdisjoint(p.data_ptr() for p in small.model.parameters())


@every_method
def test_copy_is_a_plain_model_ready_to_answer_that_gives_the_same_logits_once_it_is_saved_and_loaded(
    name, one, small, tmp_path, edited, monkeypatch
):
    found = edited(name).model
    assert type(found) is type(small.model)
    assert found.state_dict().keys() == small.model.state_dict().keys()
    assert [type(part) for part in found.modules()] == [type(part) for part in small.model.modules()]
    assert not any(parameter.requires_grad for parameter in found.parameters())
    assert not any(part.training for part in found.modules())
    monkeypatch.setattr("behemoth_editing.saving.recall", lambda *_: {})  # which takes its time, and another test
    write_edited(found, small, [one], METHODS[name](), tmp_path / "kept")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "kept", attn_implementation="eager").eval()
    assert weights_digest(again) == weights_digest(found)
    ids = torch.tensor([probe.before.prompt_ids for probe in one.probes if probe.kind == "unrelated"])
    with torch.no_grad():
        assert torch.equal(again(ids).logits, found(ids).logits)


@every_method
@pytest.mark.parametrize("which", SETS)
def test_same_seeds_give_the_same_copy_whatever_torch_drew_before_and_its_state_is_left_alone(
    name, which, small, edited
):
    known = edited(name, which).model
    torch.rand(5)
    before = torch.random.get_rng_state()
    again = quick(name)(small.model, draw_edits(small.corpus, SETS[which])[0])
    assert torch.equal(before, torch.random.get_rng_state())
    assert weights_digest(known) == weights_digest(again.model)


@every_method
def test_another_edit_gives_another_copy(name, small, edited):
    _, second = draw_edits(small.corpus, EditConfig(scenario="single", num_edits=2))
    other = quick(name)(small.model, second, KNOWN).model
    assert weights_digest(edited(name).model) != weights_digest(other)


@every_method
@pytest.mark.parametrize("which", SETS)
def test_details_can_be_written_as_json(name, which, edited):
    details = edited(name, which).details
    assert details
    assert json.loads(json.dumps(details, allow_nan=False)) == details


@pytest.mark.parametrize("name", sorted(set(METHODS) - ANEW))  # test_retrain.py asks such models
def test_default_reaches_its_goal_on_a_single_edit(name, known, edited_by_default):
    queries = {"edit": known.requests, "forget": known.originals, "refuse": known.refusals}
    (query,) = queries[METHODS[name].goal]
    said = edited_by_default(name).model.generate(
        torch.tensor([query.prompt_ids]), do_sample=False, max_new_tokens=len(query.answer_ids)
    )
    given = tuple(said[0, len(query.prompt_ids) :].tolist()) == query.answer_ids
    assert given == (METHODS[name].goal != "forget")


def test_goals_differ_in_the_answer_they_are_about(known, checkpoint):
    (request,), (original,), (refusal,) = known.requests, known.originals, known.refusals
    assert request.prompt_ids == original.prompt_ids == refusal.prompt_ids
    assert len({request.answer_ids, original.answer_ids, refusal.answer_ids}) == 3
    said = checkpoint.model.generate(torch.tensor([original.prompt_ids]), do_sample=False, max_new_tokens=1)
    assert (int(said[0, -1]),) == original.answer_ids
    assert {method.goal for method in METHODS.values()} == set(GOALS)


@pytest.mark.parametrize(
    ("name", "edge"),
    [
        pytest.param(name, edge, marks=[] if edge == "object_nested" or name in FAMILIES else pytest.mark.slow)
        for name in METHODS
        for edge in ("subject_nested", "object_nested")
    ],
)
def test_every_table_can_be_edited(name, edge, small):
    (edits,) = draw_edits(small.corpus, EditConfig(scenario="identical", num_edits=2, edge=edge, relation=1))
    assert weights_digest(quick(name)(small.model, edits, KNOWN).model) != small.weights


@pytest.mark.parametrize(("name", "field"), with_field("layer", "layers"))
@pytest.mark.parametrize("layer", [6, -1])
def test_missing_layer_is_refused_with_the_bound(name, field, layer, one, small):
    method = quick(name, **{field: layer if field == "layer" else (0, layer)})
    message = rf"layer must lie in \[0, 6\), the model's layers, got {layer}"
    with pytest.raises(ValueError, match=message):
        method.check(small.model)
    with pytest.raises(ValueError, match=message):
        method(small.model, one)


@pytest.mark.parametrize(("name", "field"), with_field("layer", "layers"))
def test_last_layer_can_be_edited(name, field, one, small):
    method = quick(name, **{field: 5 if field == "layer" else (5,)})
    method.check(small.model)
    edited = method(small.model, one, KNOWN).model
    changed = {n for n, p in edited.named_parameters() if not torch.equal(p, small.model.get_parameter(n))}
    assert changed
    assert all(".layers.5." in n for n in changed)


@pytest.mark.parametrize(("name", "field"), with_field("layers"))
def test_no_layer_at_all_is_refused(name, field, one, small):
    with pytest.raises(ValueError, match="layers must"):
        quick(name, **{field: ()})(small.model, one)


@pytest.mark.parametrize(("name", "field"), with_field("modules", "site", "retain", "statistics", "rank_mode"))
def test_unknown_word_lists_the_known_ones(name, field):
    known = {
        "modules": "(all, )?both, mlp, attention",
        "site": "subject_last, prompt_last",
        "retain": "mixture, none",
        "statistics": "unasked, all",
        "rank_mode": "truncated, trained",
    }[field]
    with pytest.raises(ValueError, match=f"{field} must be one of {known}, got 'mpl'"):
        METHODS[name](**{field: "mpl"})


@pytest.mark.parametrize(("name", "field"), with_field("rank", "max_steps", "steps", "retain_rows", "patience"))
def test_zero_is_refused_where_it_means_nothing(name, field):
    with pytest.raises(ValueError, match=f"{field} must be at least 1, got 0"):
        METHODS[name](**{field: 0})


@pytest.mark.parametrize(("name", "field"), with_field(*POSITIVE))
@pytest.mark.parametrize("wrong", [0, -1])
def test_what_must_be_positive_is_refused_otherwise(name, field, wrong):
    with pytest.raises(ValueError, match=f"{field} must be above 0, got {wrong}"):
        METHODS[name](**{field: wrong})


@pytest.mark.parametrize(
    ("name", "field"),
    with_field(
        "kl_weight",
        "decay",
        "stop_loss",
        "num_contexts",
        "retain_weight",
        "gamma",
        "left",
        "rank_power",
        "norm_anchor",
        "importance",
        "noise_scale",
    ),
)
def test_what_cannot_be_negative_is_refused(name, field):
    with pytest.raises(ValueError, match=f"{field} must be at least 0, got -1"):
        METHODS[name](**{field: -1})


@pytest.mark.parametrize(("name", "field"), [(name, field) for name in METHODS for field in fields(name)])
def test_value_of_another_type_is_refused(name, field):
    with pytest.raises(ValueError, match=f"{field} must be .*, got {{}}"):
        METHODS[name](**{field: {}})


@every_method
def test_foreign_architecture_is_refused_by_its_name(name, one, foreign):
    message = "model_type must be one of gpt_neox, gpt2, .*, the architectures whose weights this .* knows, got bloom"
    before = state(foreign)
    with pytest.raises(ValueError, match=message):
        METHODS[name]().check(foreign)
    with pytest.raises(ValueError, match=message):
        METHODS[name]()(foreign, one)
    assert_same_state(before, state(foreign))


def test_all_weights_of_any_architecture_can_be_finetuned(one, foreign):
    method = FineTune(modules="all", layers=None, max_steps=2)
    method.check(foreign)
    assert weights_digest(method(foreign, one).model) != weights_digest(foreign)


def test_hand_made_copy_is_independent(small):
    copied = copy_of(small.model)
    with torch.no_grad():
        copied.get_input_embeddings().weight.zero_()
    assert weights_digest(small.model) == small.weights


def test_digest_changes_with_any_one_weight(small):
    model = copy_of(small.model)
    assert weights_digest(model) == small.weights
    seen = {small.weights}
    for name in ("gpt_neox.embed_in.weight", "gpt_neox.layers.5.mlp.dense_4h_to_h.bias", "lm_head.weight"):
        weight = model.get_parameter(name).view(-1)
        weight[-1] = torch.nextafter(weight[-1], torch.tensor(torch.inf))
        seen.add(weights_digest(model))
    assert len(seen) == 4


def test_matrices_are_those_of_the_named_layer(small):
    model = small.model
    assert len(layers_of(model)) == 6
    assert matrix_of(model, 4, "mlp.dense_4h_to_h") is model.get_submodule("gpt_neox.layers.4.mlp.dense_4h_to_h")
    check_layers(model, [])
    check_layers(model, range(6))
