"""behemoth edit --save_models, score and verify as a person calls them, on the small world's model."""

import json
import re

import huggingface_hub
import pytest
import torch
from accelerate.state import AcceleratorState
from transformers import AutoModelForCausalLM

from behemoth_cli import console
from behemoth_data.edits import EditConfig, draw_edits
from behemoth_editing.report.summaries import load_results


@pytest.fixture
def here(monkeypatch, tmp_path):
    """An empty working directory; threads and accelerate's state are as they were afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # this process has its own number
    yield tmp_path
    AcceleratorState._reset_state(reset_partial_state=True)


def rows_in(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def refused(words, capsys):
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        console.main(words)
    assert caught.value.code == 2
    said = re.sub(r"\r?(Loading weights|reading):[^\r\n]*", "", capsys.readouterr().err)
    (line,) = [line for line in said.splitlines() if line.strip()]
    return line


def edited_by_hand(trained, checkpoint, folder):
    """Ten steps of plain PyTorch on one prompt and its new answer, with nothing of ours but the words."""
    (edits,) = draw_edits(checkpoint.corpus, EditConfig(num_edits=1, probes_per_edit=3))
    (request,) = edits.requests
    model = AutoModelForCausalLM.from_pretrained(trained)
    optimizer = torch.optim.Adam([model.gpt_neox.layers[3].mlp.dense_4h_to_h.weight], lr=1e-2)
    ids = torch.tensor([[*request.prompt_ids, *request.answer_ids]])
    labels = torch.full_like(ids, -100)
    labels[:, -len(request.answer_ids) :] = ids[:, -len(request.answer_ids) :]
    for _ in range(10):
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)


def test_model_that_plain_pytorch_edited_is_scored_once_and_verified(trained, checkpoint, here, capsys):
    edited_by_hand(trained, checkpoint, here / "mine")
    words = ["score", "--original", str(trained), "--edited", "mine", "--scenario", "single", "--sweep.num_edits", "1"]
    words += ["--sweep.probes_per_edit", "3", "--method", "adam", "--settings", '{"steps": 10}', "--source", "by hand"]
    words += ["--output_dir", "out"]
    console.main(words)
    assert "out/results.jsonl holds 1 cells; 1 scored now, 0 from an earlier run" in capsys.readouterr().out
    (row,) = rows_in(here / "out")
    assert row["scores"]["edit_success"]["value"] == 1.0
    assert (row["method"], row["settings"], row["num_edits"]) == ("adam (elsewhere: by hand)", {"steps": 10}, 1)
    assert row["weights"]["before"] == checkpoint.weights
    assert row["command"].startswith("behemoth score --original ")
    assert load_results([here / "out"]) == [row]
    assert (here / "out" / "results.parquet").is_file()
    console.main(words)
    assert "0 scored now, 1 from an earlier run" in capsys.readouterr().out
    assert rows_in(here / "out") == [row]
    console.main(["verify", "out"])
    assert capsys.readouterr().out.splitlines()[-1] == "0 of 1 rows differ; out holds 1"


def test_edit_keeps_models_that_verify_asks_again_and_a_row_that_differs_is_status_1(
    trained, here, capsys, monkeypatch
):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # nothing waits for a network
    words = f"edit --model {trained} --methods rome --sweep.num_edits 1 --sweep.probes_per_edit 3 --rome.steps 2"
    words = [*words.split(), "--output_dir", "out", "--save_models"]
    console.main(words)
    (row,) = rows_in(here / "out")
    assert [place.name for place in (here / "out" / "models").iterdir()] == [row["cell"]]
    assert row["command"] == " ".join(["behemoth", *words])
    console.main(["verify", "out", "--rows", "1"])
    assert "rome single seed 0, saved models: the same" in capsys.readouterr().out
    row["units"][0]["change"]["edited"] = [0, 7]
    (here / "out" / "results.jsonl").write_text(f"{json.dumps(row)}\n", encoding="utf-8", newline="\n")
    with pytest.raises(SystemExit) as caught:
        console.main(["verify", "out"])
    assert caught.value.code == 1
    said = capsys.readouterr().out
    assert "differs: units 0 change edited was [0, 7], and is [" in said
    assert said.splitlines()[-1] == "1 of 1 rows differ; out holds 1"
    row["model"] = "nowhere"
    (here / "out" / "results.jsonl").write_text(f"{json.dumps(row)}\n", encoding="utf-8", newline="\n")
    with pytest.raises(SystemExit):
        console.main(["verify", "out"])
    assert "cannot be made again: OSError: model 'nowhere' is no folder with a model" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("", "edited must name at least 1 model, got none"),
        ("--edited a b --method x y z", "method must have 1 value or 2, one for each model, got 3"),
        ("--edited a --settings 3", "settings must be a JSON object, such as '{\"layer\": 3}', got '3'"),
        ("--edited a --sweep.num_edits 2", "scenario must be one of single, identical"),
        ("--edited a --seed 2", "scenario must be one of single, identical"),
        ("--edited a --scenario singel", "scenario must be one of single, identical"),
        ("--edited a --scenario single --sweep.num_edits 1 2", "sweep must have one value for each option, got 2"),
        ("--edited a --scenario single --edits e.json", "edits must be left out where a scenario is given, got e.json"),
        ("--edited a --scenarios single", "option must be one of --original, --edited"),
    ],
)
def test_bad_words_of_score_are_one_line(words, part, here, capsys):
    line = refused(["score", *words.split()], capsys)
    assert line.startswith("behemoth score: error: ")
    assert part in line
    assert list(here.iterdir()) == []


def test_what_is_not_the_original_or_no_edit_is_one_line(trained, here, capsys):
    words = ["score", "--original", str(trained), "--edited", str(trained), "--output_dir", "out"]
    assert "edited must say which edits it holds since" in refused(words, capsys)
    (here / "edits.json").write_text("[", encoding="utf-8")
    assert "edits must be a file of JSON, got edits.json" in refused([*words, "--edits", "edits.json"], capsys)
    assert "results must name a folder, got none" in refused(["verify"], capsys)
    assert "results: out holds no results.jsonl" in refused(["verify", "out"], capsys)
    assert not (here / "out").exists()
