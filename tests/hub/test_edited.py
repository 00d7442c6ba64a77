"""Edited models on the Hub: what is published of them, and that it is the very model that a stranger gets back."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from behemoth_data import EditConfig
from behemoth_editing import FineTune, Refusal, draw, save_edited
from behemoth_editing.checkpoint import load_checkpoint
from behemoth_hub import edited
from behemoth_hub.checks import front_matter


@pytest.fixture(scope="module")
def original(run_folder):
    return load_checkpoint(str(run_folder))


@pytest.fixture(scope="module")
def folder(original, tmp_path_factory):
    """The folder of a model with two edits; tests must leave it as it is."""
    (edits,) = draw(original, EditConfig(scenario="different", num_edits=2, edit_seed=3))
    method = FineTune(max_steps=1)
    place = tmp_path_factory.mktemp("edited") / "mine"
    return save_edited(method(original.model, edits).model, original, edits, method, place)


def test_card_says_what_was_done_and_of_which_model(original, folder):
    (made,) = edited([folder], "alice", tag="v1")
    weights = load_checkpoint(str(folder)).weights
    assert (made.repo, made.kind, made.tag) == (
        f"alice/behemoth-nested-finetune-different-{weights[:8]}",
        "model",
        "v1",
    )
    assert {upload.path for upload in made.uploads} == {
        *("README.md", "config.json", "generation_config.json", "model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    card = made.card()
    assert f"Its weights before had the digest `{original.weights}`, and have `{weights}` now." in card
    assert "1. `finetune`, scenario `different`, draw 3, 2 edits\n" in card
    assert "| finetune | `max_steps` | 1 |" in card
    (edits,) = draw(original, EditConfig(scenario="different", num_edits=2, edit_seed=3))
    for edit, request in zip(edits.edits, edits.requests, strict=True):
        old = original.corpus.grammar.query(edit.fact)
        assert f"| {request.prompt} | {old.answer} | {request.answer} |" in card
    data = front_matter(card, "card")
    assert (data["license"], data["tags"][-1]) == ("apache-2.0", "finetune")
    for share in load_checkpoint(str(folder)).recall["statement"].values():
        assert f" {100 * share:.2f}% |" in card


def test_edits_before_are_told_too_and_refused_facts_are_asked_to_be_refused(folder, tmp_path):
    first = load_checkpoint(str(folder))
    (edits,) = draw(first, EditConfig(scenario="refuse", forget_fraction=0.1))
    method = Refusal(max_steps=1)
    save_edited(method(first.model, edits).model, first, edits, method, tmp_path / "twice")
    (made,) = edited([tmp_path / "twice"], "alice")
    card = made.card()
    assert "1. `finetune`, scenario `different`" in card
    assert f"2. `refusal`, scenario `refuse`, draw 0, {len(edits.edits)} edits\n" in card
    refusal = first.corpus.grammar.query(edits.edits[0].fact, "refusal").answer
    assert f" | {refusal} |\n" in card


def test_what_was_sent_is_the_model_that_comes_back(folder, publisher, tmp_path):
    (made,) = edited([folder], "alice")
    publisher().publish(made)
    for upload in made.uploads:
        publisher().api.hf_hub_download(made.repo, upload.path, local_dir=tmp_path / "there")
    here, there = (AutoModelForCausalLM.from_pretrained(place) for place in (folder, tmp_path / "there"))
    assert load_checkpoint(str(tmp_path / "there")).lineage == load_checkpoint(str(folder)).lineage
    tokens = torch.arange(12)[None]
    assert torch.equal(here(tokens).logits, there(tokens).logits)


def test_model_that_was_not_edited_is_refused_and_so_is_one_that_comes_twice(run_folder, folder, tmp_path):
    with pytest.raises(ValueError, match="edited must say in config.json what was done to them .*, got .*nested"):
        edited([run_folder], "alice")
    shutil.copytree(folder, tmp_path / "copy")
    with pytest.raises(ValueError, match="edited must be models of their own, got .*mine and .*copy, with the"):
        edited([folder, tmp_path / "copy"], "alice")
    config = json.loads((tmp_path / "copy" / "config.json").read_text(encoding="utf-8"))
    config["behemoth"]["digests"]["facts"] = "0" * 16
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match="copy: "):
        edited([tmp_path / "copy"], "alice")


def test_method_without_settings_has_said_all_there_is(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    config["behemoth"]["edited"][0]["settings"] = {}
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (made,) = edited([copy], "alice")
    assert made.repo.startswith("alice/behemoth-nested-finetune-different-")


def test_model_whose_weights_somebody_changed_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "changed")
    path = tmp_path / "changed" / "model.safetensors"
    weights = load_file(path)
    weights["gpt_neox.final_layer_norm.bias"] += 1
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="edited must have the weights that their config.json names, got .*changed"):
        edited([tmp_path / "changed"], "alice")


def test_edited_step_of_a_training_has_a_card_without_recall(run_folder, tmp_path):
    step = load_checkpoint(str(run_folder / "step1"))
    (edits,) = draw(step, EditConfig(num_edits=1))
    method = FineTune(max_steps=1)
    save_edited(method(step.model, edits).model, step, edits, method, tmp_path / "mine")
    (made,) = edited([tmp_path / "mine"], "alice")
    assert "Not measured: it was edited in the middle of its training." in made.card()
