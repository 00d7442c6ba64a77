"""Facts about loading a model together with its world."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from behemoth_editing.checkpoint import load_checkpoint


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of the trained model's folder that a test may change."""
    return shutil.copytree(trained, tmp_path / "model")


def rewrite(folder, change):
    """config.json with the change made to what it holds."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    change(config)
    path.write_text(json.dumps(config), encoding="utf-8")


def test_folder_alone_gives_the_model_and_its_world(trained, checkpoint, small_corpus):
    assert checkpoint.name == str(trained)
    assert checkpoint.corpus.digest == small_corpus.digest
    assert not any(part.training for part in checkpoint.model.modules())
    report = json.loads((trained / "training.json").read_text(encoding="utf-8"))
    assert checkpoint.recall == report["recall"]


def test_folder_below_the_home_folder_is_found_by_its_sign(trained, monkeypatch):
    monkeypatch.setenv("HOME", str(trained.parent))
    found = load_checkpoint(f"~/{trained.name}")
    assert (found.name, found.from_hub) == (str(trained), False)


def test_precision_of_training_is_known_and_unknown_of_older_models(trained, checkpoint, folder):
    report = json.loads((trained / "training.json").read_text(encoding="utf-8"))
    assert checkpoint.precision == report["precision"]
    rewrite(folder, lambda config: config["behemoth"].pop("precision"))
    assert load_checkpoint(str(folder)).precision is None


def test_folder_in_the_words_of_transformers_5_alone_is_read_as_it_was(folder, checkpoint):
    rewrite(folder, lambda config: [config.pop(name) for name in ("rotary_pct", "rotary_emb_base", "torch_dtype")])
    path = folder / "tokenizer_config.json"
    names = json.loads(path.read_text(encoding="utf-8"))
    del names["model_input_names"]
    names |= {"tokenizer_class": "TokenizersBackend", "padding_side": "right"}
    path.write_text(json.dumps(names), encoding="utf-8")
    found = load_checkpoint(str(folder))
    assert (found.weights, found.corpus.digest) == (checkpoint.weights, checkpoint.corpus.digest)
    assert found.model.config.rope_parameters == checkpoint.model.config.rope_parameters
    assert AutoTokenizer.from_pretrained(folder).get_vocab() == checkpoint.corpus.grammar.lexicon.token_ids


def test_model_without_a_world_is_refused(folder):
    rewrite(folder, lambda config: config.pop("behemoth"))
    with pytest.raises(
        ValueError, match="model must carry its world in config.json under 'behemoth', .* got '.*model'"
    ):
        load_checkpoint(str(folder))


@pytest.mark.parametrize("part", ["world", "lexicon", "corpus", "digests", "recall"])
def test_world_that_lacks_a_part_is_refused_by_its_name(folder, part):
    rewrite(folder, lambda config: config["behemoth"].pop(part))
    with pytest.raises(ValueError, match=part):
        load_checkpoint(str(folder))


@pytest.mark.parametrize("part", ["vocabulary", "sentences"])
def test_world_that_is_made_differently_now_is_refused(folder, part):
    rewrite(folder, lambda config: config["behemoth"]["digests"].update({part: "0" * 16}))
    with pytest.raises(ValueError, match=f"{part} digest must be 0000000000000000, .* use the version that trained"):
        load_checkpoint(str(folder))


def test_another_world_seed_no_longer_fits_the_digests(folder):
    rewrite(folder, lambda config: config["behemoth"]["world"].update(seed=1))
    with pytest.raises(ValueError, match="digest must be"):
        load_checkpoint(str(folder))


def test_unknown_field_of_the_world_lists_the_known_ones(folder):
    rewrite(folder, lambda config: config["behemoth"]["world"].update(num_planets=8))
    with pytest.raises(ValueError, match="field of WorldConfig must be one of num_subjects, .*, got 'num_planets'"):
        load_checkpoint(str(folder))


def test_digest_changes_when_one_weight_does(folder, checkpoint):
    assert load_checkpoint(str(folder)).weights == checkpoint.weights
    tensors = load_file(folder / "model.safetensors")
    tensors["gpt_neox.layers.0.mlp.dense_h_to_4h.bias"][3] += 1e-3
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_checkpoint(str(folder)).weights != checkpoint.weights


@pytest.mark.parametrize("beside", [True, False], ids=["beside safetensors", "instead of them"])
def test_pickled_weights_are_refused_by_name(folder, beside):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    if not beside:
        (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"model must hold no pickle, .* got '.*model' with \['pytorch_model.bin'\]"):
        load_checkpoint(str(folder))


def test_weights_that_are_no_safetensors_are_refused_whatever_they_are_called(folder):
    (folder / "model.safetensors").rename(folder / "weights")
    with pytest.raises(OSError, match=r"model\.safetensors"):
        load_checkpoint(str(folder))


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1", b""])
def test_weights_that_are_no_whole_file_are_refused(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="model must have whole safetensors, got"):
        load_checkpoint(str(folder))


def test_model_with_code_of_its_own_is_refused_and_the_code_does_not_run(folder, tmp_path):
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')", encoding="utf-8")
    rewrite(folder, lambda config: config.update(auto_map={"AutoModelForCausalLM": "evil.Model"}))
    with pytest.raises(ValueError, match=r"model must need no code of its own, .*evil\.Model"):
        load_checkpoint(str(folder))
    assert not (tmp_path / "ran").exists()


def test_folder_that_is_not_there_is_an_oserror(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OSError, match="nothing"):
        load_checkpoint(str(tmp_path / "nothing"))
