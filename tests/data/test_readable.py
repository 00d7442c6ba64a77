"""Facts about what others need of a model folder: other names for the same settings, and files that they may read.

That version 4 of transformers does read such a folder is checked with that version, by tests/compat.
"""

import json
import os
import stat

import pytest

from behemoth_data.readable import make_readable

ROTARY = {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.75}
CONFIG = {"model_type": "gpt_neox", "dtype": "float32", "rope_parameters": ROTARY, "vocab_size": 64}
TOKENIZER = {"tokenizer_class": "TokenizersBackend", "padding_side": "left", "pad_token": "ü"}


@pytest.fixture
def folder(tmp_path):
    """A folder as transformers 5 writes it; nobody but the owner may read the weights."""
    write(tmp_path / "config.json", CONFIG)
    write(tmp_path / "tokenizer_config.json", TOKENIZER)
    for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
        (tmp_path / name).touch(0o600)
    return tmp_path


def write(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_settings_stand_under_the_names_of_both_versions(folder):
    make_readable(folder)
    old = {"rotary_pct": 0.75, "rotary_emb_base": 500.0, "torch_dtype": "float32"}
    assert read(folder / "config.json") == {**CONFIG, **old}
    assert read(folder / "tokenizer_config.json") == {**TOKENIZER, "tokenizer_class": "PreTrainedTokenizerFast"}


def test_place_that_a_model_was_loaded_from_is_not_told(folder):
    write(folder / "config.json", {**read(folder / "config.json"), "_name_or_path": "/home/somebody/run"})
    make_readable(folder)
    assert "_name_or_path" not in read(folder / "config.json")


def test_readable_folder_stays_as_it_is(folder):
    make_readable(folder)
    once = {path.name: path.read_bytes() for path in folder.iterdir()}
    make_readable(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == once


def test_settings_that_are_not_there_get_no_other_name(folder):
    write(folder / "config.json", {"model_type": "gpt_neox", "rope_parameters": None})
    write(folder / "tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer"})
    make_readable(folder)
    assert read(folder / "config.json") == {"model_type": "gpt_neox", "rope_parameters": None}
    assert read(folder / "tokenizer_config.json") == {"tokenizer_class": "GPT2Tokenizer"}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o600])
def test_weights_are_as_open_as_the_rest(folder, mode):
    (folder / "config.json").chmod(mode)
    make_readable(folder)
    weights = sorted(folder.glob("*.safetensors"))
    assert [stat.S_IMODE(path.stat().st_mode) for path in [folder / "config.json", *weights]] == [mode] * 3


def test_no_mode_is_set_that_is_there_already(folder, monkeypatch):
    make_readable(folder)
    monkeypatch.setattr(os, "chmod", lambda *_, **__: pytest.fail("a file system without modes may refuse this"))
    make_readable(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_folder_of_half_a_model_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(OSError, match=name):
        make_readable(folder)


def test_type_that_version_4_wrote_counts_more_than_the_one_it_was_loaded_with(folder):
    write(folder / "config.json", {**CONFIG, "torch_dtype": "float16"})
    make_readable(folder)
    config = read(folder / "config.json")
    assert (config["dtype"], config["torch_dtype"]) == ("float16", "float16")
