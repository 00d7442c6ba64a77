"""Facts about models that other tools edited: every form is read as what it is, and no other model passes for one."""

import copy
import json
import shutil

import huggingface_hub
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from behemoth_data import EditConfig, build
from behemoth_data.tokenizer import build_tokenizer
from behemoth_editing import Rome, draw
from behemoth_editing.checkpoint import load_checkpoint
from behemoth_editing.copies import copy_of
from behemoth_editing.foreign import load_edited
from behemoth_editing.saving import write_edited
from behemoth_models.knowledge import weights_digest

MATRIX = "gpt_neox.layers.2.mlp.dense_4h_to_h.weight"


@pytest.fixture(scope="module")
def edited(checkpoint):
    """An edit by plain PyTorch: one matrix and one row of the head."""
    model = copy_of(checkpoint.model)
    with torch.no_grad():
        model.get_parameter(MATRIX)[:4] += 0.25
        model.lm_head.weight[7] *= 2
    return model


@pytest.fixture
def folder(edited, checkpoint, tmp_path):
    """That edit as transformers saves it, with a tokenizer, to change."""
    edited.save_pretrained(tmp_path / "edited")
    build_tokenizer(checkpoint.corpus.grammar.lexicon).save_pretrained(tmp_path / "edited")
    return tmp_path / "edited"


def changed(folder, **fields):
    """The folder with other fields in its config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields), encoding="utf-8", newline="\n")
    return folder


def test_model_folder_is_read(edited, checkpoint, folder):
    found = load_edited(str(folder), checkpoint)
    assert found.weights == weights_digest(found.model) == weights_digest(edited) != checkpoint.weights
    assert (found.steps, found.model.training) == ((), False)
    assert not any(weight.requires_grad for weight in found.model.parameters())
    (folder / "tokenizer_config.json").unlink()
    assert load_edited(str(folder), checkpoint).weights == found.weights  # as tools save it that save weights alone
    changed(folder, behemoth=None)
    assert load_edited(str(folder), checkpoint).weights == found.weights


@pytest.mark.parametrize("head", ["lm_head.weight", "embed_out.weight"])
def test_matrices_by_their_names_are_read_from_a_file_or_a_folder(head, edited, checkpoint, tmp_path):
    held = {MATRIX: edited.get_parameter(MATRIX), head: edited.lm_head.weight}
    held = {name: weight.detach().clone() for name, weight in held.items()}
    save_file({MATRIX: held[MATRIX]}, tmp_path / "a.safetensors")
    assert load_edited(str(tmp_path / "a.safetensors"), checkpoint).weights not in (
        checkpoint.weights,
        weights_digest(edited),
    )
    save_file({head: held[head]}, tmp_path / "b.safetensors")
    assert load_edited(str(tmp_path), checkpoint).weights == weights_digest(edited)
    assert weights_digest(checkpoint.model) == checkpoint.weights


@pytest.fixture(scope="module")
def adapter(checkpoint, tmp_path_factory):
    """A folder of an adapter that changes answers, and the model that it makes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LoraConfig(r=2, target_modules=["dense_4h_to_h"], layers_to_transform=[2], init_lora_weights=False)
        adapted = get_peft_model(copy_of(checkpoint.model), config)
    adapted.peft_config["default"].base_model_name_or_path = "somewhere"
    folder = tmp_path_factory.mktemp("adapter")
    adapted.save_pretrained(folder)
    return folder, adapted.merge_and_unload()


def test_adapter_is_merged(adapter, checkpoint):
    folder, merged = adapter
    found = load_edited(str(folder), checkpoint)
    assert found.weights == weights_digest(merged) != checkpoint.weights
    assert type(found.model) is type(checkpoint.model)
    assert found.model.state_dict().keys() == checkpoint.model.state_dict().keys()


def test_own_edit_says_what_was_done_since_the_original(edited, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("behemoth_editing.saving.recall", lambda *_: {})  # of which this is not about
    (edits,) = draw(checkpoint, EditConfig(num_edits=1))
    write_edited(edited, checkpoint, [edits], Rome(), tmp_path / "one")
    (step,) = load_edited(str(tmp_path / "one"), checkpoint).steps
    assert (step["parent"], step["method"]) == (checkpoint.weights, "rome")
    first = load_checkpoint(str(tmp_path / "one"))
    write_edited(copy_of(checkpoint.model), first, [edits], Rome(), tmp_path / "two")
    assert len(load_edited(str(tmp_path / "two"), checkpoint).steps) == 2
    assert len(load_edited(str(tmp_path / "two"), first).steps) == 1


def refused(place, checkpoint, message):
    with pytest.raises(ValueError, match=message):
        load_edited(str(place), checkpoint)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vocab_size": 9}, "must be .* with changed weights, got .* with vocab_size 9 and not"),
        ({"num_attention_heads": 2}, "with num_attention_heads 2 and not 6"),
        ({"use_parallel_residual": False}, "with use_parallel_residual False and not True"),
    ],
)
def test_model_of_another_shape_is_refused_with_what_differs(fields, message, folder, checkpoint):
    refused(changed(folder, **fields), checkpoint, message)


def test_model_of_another_architecture_is_refused(checkpoint, tmp_path):
    GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=4, n_layer=1, n_head=1, n_positions=8)).save_pretrained(tmp_path)
    refused(tmp_path, checkpoint, "with .*model_type 'gpt2' and not 'gpt_neox'")


def test_model_of_another_world_or_another_training_is_refused(folder, checkpoint):
    said = copy.deepcopy(checkpoint.model.config.behemoth)
    changed(folder, behemoth=said | {"digests": said["digests"] | {"facts": "0" * 16}})
    refused(folder, checkpoint, "must be of the world of .*, got .* with other facts")
    changed(folder, behemoth=said | {"weights": "0" * 16})
    refused(folder, checkpoint, "must be made from .*, got .*, trained or edited apart from it")
    changed(folder, behemoth=said | {"edited": [{"parent": "0" * 16, "method": "rome"}]})
    refused(folder, checkpoint, f"with weights {checkpoint.weights}, got .*, made from those of {'0' * 16}")


def test_other_tokenizer_is_refused(folder, checkpoint):
    config = checkpoint.corpus.world.config
    other = build(config.__class__(num_subjects=80, num_relations=3, num_objects=20, num_nested_objects=4, seed=3))
    build_tokenizer(other.grammar.lexicon).save_pretrained(folder)
    refused(folder, checkpoint, "must have the tokenizer of .*, where '.*' has id .* and not")


def test_missing_weights_are_not_made_up(folder, checkpoint):
    weights = load_file(folder / "model.safetensors")
    del weights[MATRIX]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    refused(folder, checkpoint, f"must have the weights of .* with missing keys {MATRIX}")


def test_weights_that_are_no_whole_file_are_refused(folder, checkpoint):
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ValueError, match="edited must have whole safetensors, got"):
        load_edited(str(folder), checkpoint)


def test_weights_in_pickles_are_refused_in_every_form(folder, adapter, checkpoint, tmp_path):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(folder, checkpoint, "edited must hold no pickle")
    (folder / "config.json").unlink()
    refused(folder, checkpoint, "edited must hold no pickle")
    shutil.copytree(adapter[0], tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").rename(tmp_path / "adapter" / "adapter_model.bin")
    refused(tmp_path / "adapter", checkpoint, "edited must hold no pickle")


def test_what_a_trainer_leaves_beside_safetensors_is_not_read(folder, checkpoint):
    (folder / "training_args.bin").write_bytes(b"no pickle either")
    assert load_edited(str(folder), checkpoint).model.config.model_type == "gpt_neox"


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"mlp.weight": torch.zeros(2)}, "must have weights of .*, got mlp.weight of a.safetensors, of no name there"),
        ({MATRIX: torch.zeros(2, 3)}, rf"{MATRIX} of edited must have shape \(\d+, \d+\), got \(2, 3\)"),
        ({"lm_head.bias": torch.zeros(2)}, "got lm_head.bias of a.safetensors, of no name there"),
    ],
)
def test_weights_that_the_original_does_not_have_are_refused(weights, message, checkpoint, tmp_path):
    save_file(weights, tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors", checkpoint, message)


def test_what_is_no_edit_at_all_is_refused(edited, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # nothing waits for a network
    with pytest.raises(OSError, match="edited 'runs/nothing' is no folder or file, nor a Hub id that can be reached"):
        load_edited("runs/nothing", checkpoint)
    (tmp_path / "a.txt").write_text("", encoding="utf-8")
    refused(tmp_path / "a.txt", checkpoint, "must be a .safetensors file or a folder")
    refused(tmp_path, checkpoint, "got a folder with none")
    (tmp_path / "a.safetensors").write_bytes(b"no safetensors")
    refused(tmp_path / "a.safetensors", checkpoint, "must be safetensors, got a.safetensors")
    whole = edited.get_parameter(MATRIX).detach()
    save_file({MATRIX: (whole * 100).to(torch.int32)}, tmp_path / "a.safetensors")
    refused(tmp_path, checkpoint, f"{MATRIX} of edited must be floating-point numbers, got torch.int32")


def test_adapter_of_another_model_is_refused(adapter, checkpoint, tmp_path):
    shutil.copytree(adapter[0], tmp_path / "wide")
    weights = load_file(tmp_path / "wide" / "adapter_model.safetensors")
    save_file({name: torch.zeros(3, 5) for name in weights}, tmp_path / "wide" / "adapter_model.safetensors")
    refused(tmp_path / "wide", checkpoint, "must be an adapter of .*: .*size mismatch")
    renamed = {name.replace("layers.2", "layers.3"): weight for name, weight in weights.items()}
    save_file(renamed, tmp_path / "wide" / "adapter_model.safetensors")
    refused(tmp_path / "wide", checkpoint, "must be an adapter of .*, which differs in .*layers")
    (tmp_path / "wide" / "adapter_model.safetensors").unlink()
    refused(tmp_path / "wide", checkpoint, "must have adapter_model.safetensors beside adapter_config.json, got none")
