"""A stranger with an empty cache and without our packages loads what was published, with plain calls; then offline."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
MODEL = "alice/behemoth-pythia-14m-nested"

# Our packages cannot be imported in the stranger's process, even where they are installed.
STRANGER = """
import importlib.abc, json, sys

class Without(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("behemoth_data", "behemoth_models", "behemoth_editing", "behemoth_hub", "hub_cards"):
            raise ImportError(name)

sys.meta_path.insert(0, Without())
import datasets, evaluate, transformers

online = sys.argv[1] == "online"
configs = ["independent", "correlated", "nested", "independent_edits", "correlated_edits", "nested_edits"]
rows = {}
for config in configs:
    loaded = datasets.load_dataset("alice/behemoth", config)
    rows[config] = {split: len(loaded[split]) for split in loaded}
    if online:
        streamed = datasets.load_dataset("alice/behemoth", config, streaming=True)
        for split in loaded:
            assert list(streamed[split]) == list(loaded[split]), (config, split)
results = datasets.load_dataset("alice/behemoth-results", split="test")
name = "alice/behemoth-pythia-14m-nested"
model = transformers.AutoModelForCausalLM.from_pretrained(name)
step = transformers.AutoModelForCausalLM.from_pretrained(name, revision="step1")
tokenizer = transformers.AutoTokenizer.from_pretrained(name)
text = loaded["test"][0]["probes"][0]["prompt"]
metric = evaluate.load("alice/edit_success")
print(json.dumps({
    "rows": rows,
    "methods": results["method"][:],
    "steps": [model.config.behemoth["step"], step.config.behemoth["step"]],
    "same": bool((model.lm_head.weight == step.lm_head.weight).all()),
    "decoded": [text, tokenizer.decode(tokenizer(text)["input_ids"])],
    "score": metric.compute(predictions=["red fox", "owl"], references=["red fox", "hen"]),
}))
"""


@pytest.fixture
def environment(hub, token, tmp_path):
    """What a process needs to know of the Hub, with an empty cache of its own."""

    def make(home, *, writes=False, **more):
        return {
            **os.environ,
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            **({"HF_TOKEN": token} if writes else {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}),
            **more,
        }

    return make


def run(words, cwd, environment):
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_what_was_published_is_pulled_by_strangers_and_edited(
    hub, exported, run_folder, results_folder, environment, token, tmp_path
):
    words = [SCRIPTS / "publish.py", "--namespace", "alice", "--dataset", exported, "--models", run_folder]
    words += ["--metrics", "--results", results_folder]
    done = run(words, tmp_path, environment("publisher", writes=True))
    assert f"  {hub.url}/datasets/alice/behemoth (" in done.stdout
    assert '  evaluate.load("alice/edit_success")\n' in done.stdout
    assert token not in done.stdout + done.stderr
    assert not any(token.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    (tmp_path / "elsewhere").mkdir()
    found = json.loads(
        run(["-c", STRANGER, "online"], tmp_path / "elsewhere", environment("stranger")).stdout.splitlines()[-1]
    )
    # By hand: 30 x 4 facts twice, as many again about nested objects, 20 x 4 about objects, in both of two forms.
    facts = {"train": 240, "validation": 240, "test": 240}
    nested = {"train": 640, "validation": 640, "test": 640}
    assert found["rows"] == {
        **{"independent": facts, "correlated": facts, "nested": nested},
        **{"independent_edits": {"test": 4}, "correlated_edits": {"test": 4}, "nested_edits": {"test": 12}},
    }
    assert found["methods"] == ["rome", "lora"]
    assert found["steps"] == [2, 1]
    assert not found["same"]
    assert found["decoded"][0] == found["decoded"][1]
    assert found["score"] == {"edit_success": 0.5, "count": 2}

    requests = len(hub.log)
    offline = environment("stranger", HF_HUB_OFFLINE="1", HF_EVALUATE_OFFLINE="1")
    again = run(["-c", STRANGER, "offline"], tmp_path / "elsewhere", offline)
    assert json.loads(again.stdout.splitlines()[-1]) == found
    assert len(hub.log) == requests

    launch = "-m accelerate.commands.launch --num_machines 1 --num_processes 1 --mixed_precision no"
    launch += " --dynamo_backend no --num_cpu_threads_per_process 1"
    edit = (
        f"--model {MODEL} --methods rome --rome.steps 2 --sweep.num_edits 1 --sweep.probes_per_edit 2 --output_dir out"
    )
    run([*launch.split(), SCRIPTS / "edit.py", *edit.split()], tmp_path, environment("editor"))
    (row,) = (tmp_path / "out" / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert (json.loads(row)["model"], json.loads(row)["error"]) == (MODEL, None)


@pytest.mark.slow
def test_switch_of_the_hub_is_that_of_datasets_too_and_not_that_of_evaluate(environment):
    said = "import datasets, evaluate; print(datasets.config.HF_HUB_OFFLINE, evaluate.config.HF_EVALUATE_OFFLINE)"
    for more, expected in (
        ({}, "True False"),
        ({"HF_EVALUATE_OFFLINE": "1", "HF_DATASETS_OFFLINE": "0"}, "False True"),
    ):
        done = run(["-c", said], None, environment("any", HF_HUB_OFFLINE="1", **more))
        assert done.stdout.split() == expected.split()
