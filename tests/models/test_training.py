"""Facts about training: what it takes, what it computes, and what it says it did.

Run as a script, this file trains as one of the processes of a launch.
"""

import importlib
import json
import math
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import ClassVar

import accelerate
import numpy as np
import pytest
import torch
from pyarrow import parquet
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from behemoth_data import CorpusConfig, WorldConfig, build, load_dataset
from behemoth_data.description import from_description
from behemoth_data.tables import sentence_table
from behemoth_data.world import Edge
from behemoth_models.batches import RowSentences
from behemoth_models.config import OPTIMIZERS, TrainConfig
from behemoth_models.knowledge import recall
from behemoth_models.precision import resolve_precision
from behemoth_models.sizes import SHAPES, Shape, pythia
from behemoth_models.training import summed_loss, train

# (8 x 2 + 8 x 2 + 4 x 2) x 4 = 160 sentences of at most 11 tokens: 10 steps of 16.
NESTED = {"num_subjects": 8, "num_relations": 2, "num_objects": 4, "num_nested_objects": 2}
REPEATS = 4
QUICK = {"size": "3m", "batch_size": 16, "measurements": 2}
EXACT = {**QUICK, "precision": "fp32", "optimizer": "adamw", "max_steps": 5}
LABELS = {"subject_object", "subject_nested", "object_nested"}
module = importlib.import_module("behemoth_models.training")
MODEL = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
FILES = sorted([*MODEL, "facts.parquet", "training.json", "training_curve.svg"])


def nested_corpus():
    return build(WorldConfig(**NESTED), corpus=CorpusConfig(repeats=REPEATS))


def process(folder):
    """Trains as one process of several, and leaves what this process saw."""
    torch.set_num_threads(1)
    norms = record_norms()
    known_facts, shares = module.known_facts, []

    def in_small_batches(*arguments, share):
        shares.append(share)
        return known_facts(*arguments, batch_size=3, share=share)  # so that no process gets all of a table

    module.known_facts = in_small_batches
    report = train(nested_corpus(), TrainConfig(**EXACT, accumulation_steps=2), folder / "model", progress=False)
    seen = {"report": report, "norms": norms, "shares": shares}
    (folder / f"process-{os.environ['RANK']}.json").write_text(json.dumps(seen), encoding="utf-8")


def record_norms(patch=setattr):
    """A list that grows by every norm that gradients had before they were clipped."""
    plain, norms = accelerate.Accelerator.clip_grad_norm_, []

    def recording(self, *arguments, **options):
        norms.append(float(plain(self, *arguments, **options)))
        return norms[-1]

    patch(accelerate.Accelerator, "clip_grad_norm_", recording)
    return norms


@pytest.fixture(scope="module")
def corpus():
    return nested_corpus()


@pytest.fixture(scope="module")
def quick(corpus, tmp_path_factory):
    """A folder of ten steps, and what train() returned."""
    folder = tmp_path_factory.mktemp("quick") / "model"
    return folder, train(corpus, TrainConfig(**QUICK), folder, progress=False)


@pytest.fixture(scope="module")
def exact(corpus, tmp_path_factory):
    """A folder of five steps in float32, and what train() returned, with the norms of the gradients."""
    with pytest.MonkeyPatch.context() as patch:
        norms = record_norms(patch.setattr)
        folder = tmp_path_factory.mktemp("exact") / "model"
        return folder, train(corpus, TrainConfig(**EXACT), folder, progress=False), norms


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def test_weights_depend_on_the_seed_and_not_on_what_torch_drew_before_or_on_measurements(corpus, quick, tmp_path):
    for name, seed in (("same", 0), ("other", 1)):
        torch.rand(3)
        config = TrainConfig(**{**QUICK, "measurements": 0}, train_seed=seed)
        assert train(corpus, config, tmp_path / name, progress=False)["curve"] == []
    assert weights(tmp_path / "same") == weights(quick[0])
    assert weights(tmp_path / "other") != weights(quick[0])


@pytest.fixture
def one_layer(exact):
    """A trained model of which one layer's MLP alone is to learn more, and the names of what learns."""
    start = AutoModelForCausalLM.from_pretrained(exact[0])
    for name, parameter in start.named_parameters():
        parameter.requires_grad_(".2.mlp." in name)
    return start, sorted(name for name, parameter in start.named_parameters() if parameter.requires_grad)


def test_training_begins_with_the_weights_that_are_given_and_moves_those_alone_that_learn(corpus, one_layer, tmp_path):
    start, learns = one_layer
    before = {name: parameter.detach().clone() for name, parameter in start.named_parameters()}
    for optimizer in OPTIMIZERS:
        config = TrainConfig(**{**EXACT, "optimizer": optimizer})
        train(corpus, config, tmp_path / optimizer, start=start, progress=False)
        after = dict(AutoModelForCausalLM.from_pretrained(tmp_path / optimizer).named_parameters())
        assert sorted(name for name, parameter in after.items() if not parameter.equal(before[name])) == learns
        assert all(parameter.equal(before[name]) for name, parameter in start.named_parameters())  # theirs
        stored = json.loads((tmp_path / optimizer / "config.json").read_text(encoding="utf-8"))["behemoth"]
        assert stored["start"] == {"weights": start.config.behemoth["weights"], "learns": learns}


def test_a_cut_off_training_goes_on_from_the_same_start_and_from_no_other(corpus, one_layer, tmp_path, monkeypatch):
    start, _ = one_layer
    config = TrainConfig(**{**EXACT, "measurements": 5})
    train(corpus, config, tmp_path / "whole", start=start, progress=False)
    known, calls = module._known, []

    def stop(*arguments, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return known(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_known", stop)
        with pytest.raises(KeyboardInterrupt):
            train(corpus, config, tmp_path / "cut", start=start, progress=False)
    with pytest.raises(ValueError, match=r"holds an unfinished run whose start is {'weights': .*, got None"):
        train(corpus, config, tmp_path / "cut", progress=False)
    train(corpus, config, tmp_path / "cut", start=start, progress=False)
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


def test_a_start_of_another_shape_or_in_which_nothing_learns_is_refused(corpus, one_layer, tmp_path):
    start, _ = one_layer
    other = pythia("3m", 128)
    with pytest.raises(ValueError, match=r"start must have .*embed_in.weight of shape \(64, 32\), .* got \(128, 32\)"):
        train(corpus, TrainConfig(**EXACT), tmp_path / "model", start=other, progress=False)
    start.requires_grad_(False)
    with pytest.raises(ValueError, match="start must have at least 1 parameter that requires gradients, got 0"):
        train(corpus, TrainConfig(**EXACT), tmp_path / "model", start=start, progress=False)
    assert os.listdir(tmp_path) == []


def test_one_process_can_train_in_one_precision_after_another(corpus, exact, tmp_path):
    config = TrainConfig(**{**EXACT, "precision": "bf16", "max_steps": 1})
    rounded = train(corpus, config, tmp_path / "model", progress=False)
    assert (rounded["precision"], exact[1]["precision"]) == ("bf16", "fp32")
    assert exact[1]["losses"][0] != rounded["losses"][0]  # of the same weights
    assert exact[1]["losses"][0] == pytest.approx(rounded["losses"][0], rel=0.01)


def test_precision_is_by_default_what_the_device_is_good_at_and_stored_as_what_it_was(quick):
    folder, report = quick
    stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))["behemoth"]
    assert report["config"]["precision"] == stored["train"]["precision"] == "auto"
    assert report["precision"] == stored["precision"] == resolve_precision("auto", "cpu")


def test_folder_is_a_plain_hugging_face_one_with_a_report_and_no_state(quick):
    assert sorted(os.listdir(quick[0])) == FILES
    assert (quick[0] / "training_curve.svg").read_text(encoding="utf-8").count("</svg>") == 1


def test_report_says_what_was_done(quick, corpus):
    folder, report = quick
    assert json.loads((folder / "training.json").read_text(encoding="utf-8")) == json.loads(json.dumps(report))
    assert (report["steps"], report["sentences"], report["exposures_per_fact"]) == (10, 160, 4.0)
    assert report["exposures"] == dict.fromkeys(LABELS, 4.0)
    assert report["tokens"] == sum(len(text.split()) for text in texts(corpus, 160))
    assert report["parameters"] == 76_288 + 2 * 32 * 64 * -(-len(corpus.grammar.lexicon.vocabulary) // 64)
    assert (report["processes"], report["device"]) == (1, str(accelerate.Accelerator().device))
    assert set(report["versions"]) == {"torch", "transformers", "accelerate", "numpy"}
    assert report["config"]["size"] == "3m"
    assert len(report["losses"]) == 10
    assert [point["step"] for point in report["curve"]] == [5, 10]
    for point in report["curve"]:
        assert 0 < point["loss"] < 2 * math.log(128)
        assert point["loss"] == report["losses"][point["step"] - 1]
        assert set(point["recall"]) == set(point["exposures"]) == LABELS
    assert report["curve"][1]["exposures"] == dict.fromkeys(LABELS, 4.0)
    for timed in ("seconds", "step_seconds"):
        assert 0 < report["curve"][0][timed] < report["curve"][1][timed] <= report[timed]
    assert report["step_seconds"] < report["seconds"]
    assert report["losses"][-1] < report["losses"][0]
    assert set(report["recall"]) == {"statement", "rso"}


def texts(corpus, count):
    return sentence_table(corpus, 0, count)["text"].to_pylist()


def rows_of(folder):
    return parquet.read_table(folder / "facts.parquet").to_pylist()


def mean(numbers):
    numbers = list(numbers)
    return sum(numbers) / len(numbers)


def test_exposures_of_every_fact_are_the_texts_that_told_of_it(exact, corpus):
    folder, report, _ = exact
    read, rows = texts(corpus, 5 * 16), rows_of(folder)
    assert [(row["edge"], row["subject"], row["relation"], row["object"]) for row in rows] == [
        (edge.label, *ids)
        for edge in Edge
        for ids in zip(*(ids.tolist() for ids in corpus.world.facts(edge)), strict=True)
    ]
    told = []
    for edge in Edge:
        heads, relations, tails = (words.to_pylist() for words in corpus.grammar.words(edge, *corpus.world.facts(edge)))
        told += [
            sum({head, relation, tail} <= set(text.split()) for text in read)
            for head, relation, tail in zip(heads, relations, tails, strict=True)
        ]
    assert [row["exposures"] for row in rows] == told
    assert sum(told) == 80
    assert len(set(told)) > 2
    for label in LABELS:
        exposures = mean(row["exposures"] for row in rows if row["edge"] == label)
        assert report["exposures"][label] == report["curve"][-1]["exposures"][label] == pytest.approx(exposures)


def test_facts_are_first_known_after_the_measurement_that_first_found_them(quick):
    folder, report = quick
    rows, (first, second) = rows_of(folder), report["curve"]
    assert {row["first_known_step"] for row in rows} <= {5, 10, None}
    for label in LABELS:
        steps = [row["first_known_step"] for row in rows if row["edge"] == label]
        assert mean(step == 5 for step in steps) == pytest.approx(first["recall"][label])
        assert mean(step is not None for step in steps) >= second["recall"][label]
    assert any(row["first_known_step"] is not None for row in rows)


def test_recall_in_the_report_is_what_the_saved_model_knows(trained, small_corpus):
    report = json.loads((trained / "training.json").read_text(encoding="utf-8"))
    model = AutoModelForCausalLM.from_pretrained(trained)
    for edge in small_corpus.world.edges:
        tokens = torch.from_numpy(small_corpus.grammar.tokens(edge, "rso", *small_corpus.world.facts(edge)))
        with torch.no_grad():
            right = model(tokens).logits[:, -4].argmax(-1) == tokens[:, -3]  # one-token answers
        assert report["recall"]["rso"][edge.label] == pytest.approx(right.float().mean().item(), abs=1e-9)


def test_config_carries_the_world_its_words_and_its_digests(trained, small_corpus):
    carried = json.loads((trained / "config.json").read_text(encoding="utf-8"))["behemoth"]
    assert carried["world"] == {
        "correlation": None,
        "num_subjects": 80,
        "num_relations": 3,
        "num_objects": 20,
        "num_nested_objects": 5,
        "binary_first": False,
        "minority_fraction": 0.0,
        "seed": 0,
    }
    assert carried["lexicon"] == {"surface": "synthetic", "one_token_limit": 1000}
    assert carried["corpus"]["repeats"] == 26
    assert carried["train"]["learning_rate"] == 1.5e-2
    assert carried["step"] == 121
    assert set(carried["digests"]) == {"facts", "vocabulary", "grammar", "sentences"}
    assert set(carried["recall"]) == {"statement", "rso"}
    again = from_description(carried)
    assert again.digest == small_corpus.digest
    assert (again.block(0, 50) == small_corpus.block(0, 50)).all()


@pytest.mark.parametrize("part", ["facts", "vocabulary", "grammar", "sentences"])
def test_world_that_the_generator_now_makes_differently_is_refused(trained, part):
    carried = json.loads((trained / "config.json").read_text(encoding="utf-8"))["behemoth"]
    carried["digests"][part] = "0123456789abcdef"
    with pytest.raises(ValueError, match=f"{part} digest must be 0123456789abcdef, as when the model was trained"):
        from_description(carried)


def test_tokenizer_survives_the_round_trip(trained, small_corpus):
    tokenizer = AutoTokenizer.from_pretrained(trained)
    grammar = small_corpus.grammar
    assert tokenizer.get_vocab() == grammar.lexicon.token_ids
    for edge in small_corpus.world.edges:
        tokens = grammar.tokens(edge, "statement", *small_corpus.world.facts(edge))[:7]
        texts = grammar.text(tokens).to_pylist()
        assert tokenizer(texts)["input_ids"] == tokens.tolist()
        assert tokenizer.batch_decode(tokens) == texts
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|endoftext|>", "<|padding|>")


LONELY = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("behemoth_data", "behemoth_models", "behemoth_editing"):
            raise ImportError(name + " must not be needed")
sys.meta_path.insert(0, Refuse())
import json
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline
folder, prompts = sys.argv[1], json.loads(sys.argv[2])
model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
answers = []
for prompt in prompts:
    ids = tokenizer(prompt, return_tensors="pt")
    said = model.generate(**ids, do_sample=False, max_new_tokens=3)[0, ids["input_ids"].shape[1]:]
    answers.append(tokenizer.decode(said))
print(json.dumps(answers))
"""


@pytest.mark.slow
def test_folder_needs_none_of_our_code_to_answer(trained, small_corpus):
    facts = [small_corpus.world.fact(edge, 3, 1) for edge in Edge]
    queries = [small_corpus.grammar.query(fact) for fact in facts]
    done = subprocess.run(
        [sys.executable, "-I", "-c", LONELY, str(trained), json.dumps([query.prompt for query in queries])],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    assert answers == [f"{query.answer} . <|endoftext|>" for query in queries]


def of_unlike_lengths(corpus):
    """Prompts of every table in every form that ends in the object."""
    facts = [corpus.world.fact(edge, head, relation) for edge in Edge for head in (0, 3) for relation in (0, 2)]
    forms = ("statement", "rso", "question")
    return [corpus.grammar.query(fact, form) for fact in facts for form in forms]


def test_prompts_of_unlike_lengths_have_the_same_answers_in_a_batch_as_one_at_a_time(trained, small_corpus):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(trained), AutoTokenizer.from_pretrained(trained)
    queries = of_unlike_lengths(small_corpus)
    assert len({len(query.prompt_ids) for query in queries}) > 1
    alone = []
    for query in queries:
        ids = torch.tensor([query.prompt_ids])
        said = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=2)
        alone.append(said[0, ids.shape[1] :].tolist())
    batch = tokenizer([query.prompt for query in queries], return_tensors="pt", padding=True)
    together = model.generate(**batch, do_sample=False, max_new_tokens=2)[:, batch["input_ids"].shape[1] :]
    assert together.tolist() == alone
    texts = [text.strip() for text in tokenizer.batch_decode(alone)]
    assert sum(text == f"{query.answer} ." for text, query in zip(texts, queries, strict=True)) >= 0.6 * len(texts)
    answer = pipeline("text-generation", model=model, tokenizer=tokenizer, batch_size=5)
    prompts = [query.prompt for query in queries]
    said = answer(prompts, do_sample=False, max_new_tokens=2, return_full_text=False)
    assert [found[0]["generated_text"].strip() for found in said] == texts


def test_settings_of_the_folder_have_the_names_that_version_4_knows_too(trained):
    config = json.loads((trained / "config.json").read_text(encoding="utf-8"))
    assert config["rope_parameters"] == {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}
    assert (config["rotary_pct"], config["rotary_emb_base"]) == (0.25, 10000.0)
    assert (config["dtype"], config["torch_dtype"]) == ("float32", "float32")
    assert json.loads((trained / "tokenizer_config.json").read_text(encoding="utf-8")) == {
        **{"tokenizer_class": "PreTrainedTokenizerFast", "backend": "tokenizers"},
        **{"padding_side": "left", "model_input_names": ["input_ids", "attention_mask"]},
        **{"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|padding|>"},
        **{"unk_token": "<|unknown|>", "clean_up_tokenization_spaces": False, "model_max_length": int(1e30)},
    }
    for name in ("config.json", "generation_config.json"):
        found = json.loads((trained / name).read_text(encoding="utf-8"))
        assert [found[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")] == [0, 0, 1]


def test_batch_larger_than_the_corpus_is_refused_before_anything_is_written(corpus, tmp_path):
    with pytest.raises(ValueError, match="batch_size must lie between 1 and the corpus's 160 sentences, got 161"):
        train(corpus, TrainConfig(**{**QUICK, "batch_size": 161}), tmp_path / "model", progress=False)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("size", "30m", "size must be one of 3m, 7m, 10m, 14m, 31m, 70m, got '30m'"),
        ("vocab_size", 0, "vocab_size must be at least 1, got 0"),
        ("optimizer", "sgd", "optimizer must be one of muon, adamw, got 'sgd'"),
        ("schedule", "linear", "schedule must be one of wsd, cosine, constant, got 'linear'"),
        ("precision", "fp16", "precision must be one of auto, bf16, fp32, got 'fp16'"),
        ("precision", "no", "precision must be one of auto, bf16, fp32, got 'no'"),
        ("learning_rate", 0, "learning_rate must be above 0, got 0"),
        ("learning_rate", float("nan"), "learning_rate must be a number, got nan"),
        ("learning_rate", "fast", "learning_rate must be float, got 'fast'"),
        ("max_grad_norm", -1.0, "max_grad_norm must be above 0, got -1.0"),
        ("batch_size", 0, "batch_size must be at least 1, got 0"),
        ("batch_size", 2.5, "batch_size must be int, got 2.5"),
        ("accumulation_steps", 0, "accumulation_steps must be at least 1, got 0"),
        ("measurements", -1, "measurements must be at least 0, got -1"),
        ("weight_decay", -0.1, "weight_decay must be at least 0, got -0.1"),
        ("warmup_fraction", 1.5, r"warmup_fraction must lie in \[0, 1\], got 1.5"),
        ("decay_fraction", -0.5, r"decay_fraction must lie in \[0, 1\], got -0.5"),
        ("final_fraction", 1.1, r"final_fraction must lie in \[0, 1\], got 1.1"),
        ("target_recall", 0.0, r"target_recall must lie in \(0, 1\], got 0.0"),
        ("target_recall", 1.5, r"target_recall must lie in \(0, 1\], got 1.5"),
        ("train_seed", 2**64, r"train_seed must be from -2\*\*63 to 2\*\*63 - 1, got 18446744073709551616"),
        ("max_steps", 0, "max_steps must be at least 1, got 0"),
        ("max_tokens", 0, "max_tokens must be at least 1, got 0"),
        ("max_exposures", 0.0, "max_exposures must be above 0, got 0.0"),
        ("max_minutes", 0.0, "max_minutes must be above 0, got 0.0"),
        ("save_every", 0, "save_every must be at least 1, got 0"),
    ],
)
def test_bad_setting_names_field_bound_and_value(field, value, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**{field: value})


@pytest.mark.parametrize(
    ("fields", "steps"),
    [
        ({}, 10),
        ({"batch_size": 17}, 9),
        ({"max_steps": 3}, 3),
        ({"max_steps": 11}, 10),
        ({"max_tokens": 16 * 11}, 1),  # a step has 16 rows of 11 places, padding included
        ({"max_tokens": 16 * 11 * 4 - 1}, 3),
        ({"max_tokens": 16 * 11 * 4}, 4),
        ({"max_tokens": 10**9}, 10),
        ({"max_exposures": 1.0}, 2),  # 40 facts: 2.5 steps
        ({"max_exposures": 2}, 5),
        ({"max_exposures": 100.0}, 10),
        ({"max_steps": 6, "max_tokens": 16 * 11 * 4, "max_exposures": 2.0}, 4),
        ({"max_steps": 6, "max_tokens": 16 * 11 * 9, "max_exposures": 2.0}, 5),
        ({"max_minutes": 1e-9}, 10),  # the schedule does not know of it
    ],
)
def test_steps_are_those_of_one_pass_or_of_the_smallest_budget(corpus, fields, steps):
    assert corpus.max_length == 11
    assert TrainConfig(**{**QUICK, **fields}).num_steps(corpus) == steps


def test_whole_number_of_exposures_is_no_step_short():
    corpus = build(WorldConfig(num_subjects=7, num_relations=1, num_objects=3), corpus=CorpusConfig(repeats=100))
    budgets = range(1, 101)  # a step tells every fact once
    steps = [TrainConfig(batch_size=7, max_exposures=float(budget)).num_steps(corpus) for budget in budgets]
    assert steps == list(budgets)


@pytest.mark.parametrize(("field", "value"), [("max_tokens", 16 * 11 - 1), ("max_exposures", 0.39)])
def test_budget_smaller_than_a_step_is_refused_before_anything_is_written(corpus, tmp_path, field, value):
    with pytest.raises(ValueError, match=f"{field} must allow one step of 176 tokens, got {value}"):
        train(corpus, TrainConfig(**QUICK, **{field: value}), tmp_path / "model", progress=False)
    assert os.listdir(tmp_path) == []


def test_budget_ends_training_and_its_schedule(exact, corpus):
    report = exact[1]
    assert (report["steps"], report["sentences"], report["exposures_per_fact"]) == (5, 80, 2.0)
    assert report["tokens"] == sum(len(text.split()) for text in texts(corpus, 80))
    assert [point["step"] for point in report["curve"]] == [2, 5]  # 2.5 is rounded to the even number


def test_minutes_end_training_at_the_first_step_beyond_them(corpus, tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 15))  # it is looked at before and after every step, and after measuring
    monkeypatch.setattr(module, "time", types.SimpleNamespace(perf_counter=lambda: float(next(clock))))
    report = train(corpus, TrainConfig(**QUICK, max_minutes=1.4), tmp_path / "model", progress=False)
    assert report["steps"] == len(report["losses"]) == 3  # after 30, 60 and 90 seconds
    assert [point["step"] for point in report["curve"]] == [3]  # what it ends with is measured
    assert report["seconds"] == report["curve"][0]["seconds"] == 105
    assert report["step_seconds"] == report["curve"][0]["step_seconds"] == 45
    assert sorted(os.listdir(tmp_path / "model")) == FILES


def test_target_recall_ends_training_when_every_table_has_reached_it(corpus, exact, tmp_path, monkeypatch):
    # How many of the 16, 16 and 8 facts are known at each measurement.
    counts = iter([(16, 11, 8), (12, 16, 5), (13, 12, 6), (16, 16, 8)])

    def known_facts(*_, **__):
        return {
            edge.label: np.arange(corpus.world.num_facts(edge)) < count
            for edge, count in zip(Edge, next(counts), strict=True)
        }

    config = TrainConfig(**{**EXACT, "measurements": 5}, target_recall=0.75)
    with monkeypatch.context() as patch:
        patch.setattr(module, "known_facts", known_facts)
        patch.setattr(module, "_report", None)  # the run is cut off before it has ended
        with pytest.raises(TypeError):
            train(corpus, config, tmp_path / "model", progress=False)
    monkeypatch.setattr(module, "summed_loss", None)  # and goes on without another step
    report = train(corpus, config, tmp_path / "model", progress=False)
    assert report["steps"] == 3
    assert report["losses"] == exact[1]["losses"][:3]
    recall = {"subject_object": 13 / 16, "subject_nested": 12 / 16, "object_nested": 6 / 8}
    assert [point["recall"] for point in report["curve"]][2:] == [recall]
    assert sorted(os.listdir(tmp_path / "model")) == FILES


def test_target_that_is_never_looked_for_is_refused():
    with pytest.raises(ValueError, match="measurements must be at least 1, got 0"):
        TrainConfig(measurements=0, target_recall=0.5)


def test_target_recall_that_is_not_reached_changes_nothing(corpus, exact, tmp_path):
    report = train(corpus, TrainConfig(**EXACT, target_recall=1.0), tmp_path / "model", progress=False)
    assert report["steps"] == 5
    assert weights(tmp_path / "model") == weights(exact[0])


def test_recall_is_measured_once_a_step_at_most(corpus, tmp_path):
    config = TrainConfig(**{**QUICK, "measurements": 100, "max_steps": 2})
    report = train(corpus, config, tmp_path / "model", progress=False)
    assert [point["step"] for point in report["curve"]] == [1, 2]


def test_learning_rate_follows_the_schedule(corpus, tmp_path, monkeypatch):
    made, rates, loss, optimizers = [], [], module.summed_loss, module.optimizers

    def making(*arguments):
        made.extend(optimizers(*arguments))
        return made

    def recording(*arguments):
        rates.append({group["lr"] for optimizer in made for group in optimizer.param_groups})
        return loss(*arguments)

    monkeypatch.setattr(module, "optimizers", making)
    monkeypatch.setattr(module, "summed_loss", recording)
    config = TrainConfig(**QUICK, max_steps=5, learning_rate=0.01, warmup_fraction=0.4, decay_fraction=0.4)
    train(corpus, config, tmp_path / "model", progress=False)
    assert len(made) == 2
    assert [len(rate) for rate in rates] == [1] * 5
    # Two steps up, one at the peak, and two down of which the last is halfway.
    assert [rate.pop() for rate in rates] == pytest.approx([0.005, 0.01, 0.01, 0.01, 0.005])


def test_loss_is_summed_over_tokens_that_are_no_padding(corpus):
    lexicon = corpus.grammar.lexicon
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = pythia("14m", len(lexicon.vocabulary))
    padding = lexicon.token_ids["<|padding|>"]
    rows = [row + [padding] * (place % 3) for place, row in enumerate(corpus.block(0, 12).tolist())]
    rows = [row + [padding] * (corpus.max_length + 2 - len(row)) for row in rows]
    total, count = 0.0, 0
    for row in rows:
        ids = [token for token in row if token != padding]
        with torch.no_grad():
            chances = model(torch.tensor([ids])).logits[0].double().softmax(-1)
        for place in range(len(ids) - 1):
            total -= math.log(float(chances[place, ids[place + 1]]))
            count += 1
    assert count < 12 * (corpus.max_length + 1)
    assert summed_loss(model, torch.tensor(rows), padding).item() == pytest.approx(total, rel=1e-5)


@pytest.fixture(scope="module")
def first_gradient(corpus):
    """Norm of the gradient of the first batch's mean loss, which is computed in one go, and that loss."""
    vocab_size = -(-len(corpus.grammar.lexicon.vocabulary) // 64) * 64
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = pythia("3m", vocab_size)
    rows = torch.from_numpy(corpus.block(0, 16).astype(np.int64))
    labels = rows.masked_fill(rows == corpus.grammar.lexicon.token_ids["<|padding|>"], -100)
    loss = model(input_ids=rows, labels=labels).loss  # transformers' own mean over the tokens
    loss.backward()
    return torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]).item(), loss.item()


def test_gradient_is_that_of_the_mean_over_the_batch(exact, first_gradient):
    norm, loss = first_gradient
    assert exact[2][0] == pytest.approx(norm, rel=1e-4)
    assert exact[1]["losses"][0] == pytest.approx(loss, rel=1e-5)
    assert len(exact[2]) == 5  # clipped once a step


def assert_same_training(report, norms, exact):
    """Losses and gradients are the same but for rounding."""
    assert report["losses"] == pytest.approx(exact[1]["losses"], rel=1e-5)
    assert norms == pytest.approx(exact[2], rel=1e-4)
    assert report["tokens"] == exact[1]["tokens"]
    assert report["exposures"] == exact[1]["exposures"]


@pytest.mark.parametrize("accumulation_steps", [2, 8])
def test_batch_in_parts_gives_the_loss_and_the_gradient_of_the_whole(
    corpus, exact, tmp_path, monkeypatch, accumulation_steps
):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "3")  # the settings count, not the environment
    norms = record_norms(monkeypatch.setattr)
    config = TrainConfig(**EXACT, accumulation_steps=accumulation_steps)
    report = train(corpus, config, tmp_path / "model", progress=False)
    assert len(norms) == 5
    assert_same_training(report, norms, exact)


@pytest.mark.slow
def test_two_processes_train_as_one_does(corpus, exact, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launch, __file__, str(tmp_path)],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"process-{rank}.json").read_text(encoding="utf-8")) for rank in range(2))
    assert first["report"]["processes"] == second["report"]["processes"] == 2
    assert first["report"]["losses"] == second["report"]["losses"]
    assert (first["shares"], second["shares"]) == ([[0, 2]] * 4, [[1, 2]] * 4)  # two measurements, two forms at the end
    assert first["report"]["recall"] == second["report"]["recall"]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    for form in ("statement", "rso"):
        assert first["report"]["recall"][form] == pytest.approx(recall(model, corpus, form))
    assert_same_training(first["report"], first["norms"], exact)
    assert [point["step"] for point in first["report"]["curve"]] == [2, 5]
    for ours, theirs in zip(first["report"]["curve"], exact[1]["curve"], strict=True):
        for label in LABELS:
            assert ours["recall"][label] == pytest.approx(theirs["recall"][label], abs=0.13)  # two facts of 16
    assert sorted(os.listdir(tmp_path / "model")) == FILES
    assert [row["exposures"] for row in rows_of(tmp_path / "model")] == [row["exposures"] for row in rows_of(exact[0])]
    ours, theirs = (
        AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in (tmp_path / "model", exact[0])
    )
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], rtol=0.0, atol=2e-3)


class Noted(RowSentences):
    """Rows of a dataset that remember which of them were read."""

    places: ClassVar[list[int]] = []

    def tokens(self, places):
        self.places.extend(places.tolist())
        return super().tokens(places)


def test_rows_of_the_dataset_train_the_same_model_as_the_corpus(corpus, exact, tmp_path):
    rows = load_dataset("nested", split="train", cache_dir=tmp_path / "cache", **NESTED, repeats=REPEATS)
    sentences = Noted(rows, corpus)
    Noted.places.clear()
    report = train(corpus, TrainConfig(**EXACT), tmp_path / "model", sentences=sentences, progress=False)
    assert Noted.places == list(range(80))
    assert report["losses"] == exact[1]["losses"]
    for name in ("model.safetensors", "config.json", "facts.parquet"):
        assert (tmp_path / "model" / name).read_bytes() == (exact[0] / name).read_bytes()


def test_batch_that_its_parts_cannot_share_is_refused_before_anything_is_written(corpus, tmp_path):
    with pytest.raises(ValueError, match="batch_size must be a multiple of 1 processes x 3 accumulation_steps, got 16"):
        train(corpus, TrainConfig(**QUICK, accumulation_steps=3), tmp_path / "model", progress=False)
    assert os.listdir(tmp_path) == []


def test_31m_with_pythias_vocabulary_has_the_published_number_of_parameters(corpus):
    with torch.device("meta"):
        model = module._new_model(corpus, TrainConfig(size="31m", vocab_size=50304))
    assert sum(parameter.numel() for parameter in model.parameters()) == 30_494_720


def test_vocabulary_has_the_rows_that_are_asked_for(corpus, tmp_path):
    config = TrainConfig(**{**QUICK, "max_steps": 1}, vocab_size=201)
    report = train(corpus, config, tmp_path / "model", progress=False)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert model.config.vocab_size == len(model.get_input_embeddings().weight) == len(model.lm_head.weight) == 201
    assert report["parameters"] == 76_288 + 2 * 32 * 201


def test_vocabulary_smaller_than_the_corpuss_is_refused_before_anything_is_written(corpus, tmp_path):
    words = len(corpus.grammar.lexicon.vocabulary)
    message = f"vocab_size must be at least {words}, the corpus's tokens, got {words - 1}"
    with pytest.raises(ValueError, match=message):
        train(corpus, TrainConfig(**QUICK, vocab_size=words - 1), tmp_path / "model", progress=False)
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_model_computes_the_same_and_is_saved_under_plain_names(corpus, tmp_path, monkeypatch):
    monkeypatch.setitem(SHAPES, "14m", Shape(1, 32, 2, 64))  # compiling takes time by the layer
    reports = {}
    for name, compiled in (("plain", False), ("compiled", True)):
        config = TrainConfig(**{**EXACT, "max_steps": 2, "measurements": 1}, compile=compiled, save_every=1)
        reports[name] = train(corpus, config, tmp_path / name, progress=False)
    assert reports["compiled"]["losses"] == pytest.approx(reports["plain"]["losses"], rel=1e-5)
    for folder in (".", "step1", "step2"):
        plain, compiled = (load_file(tmp_path / name / folder / "model.safetensors") for name in reports)
        assert set(compiled) == set(plain)
        for name, weight in compiled.items():
            torch.testing.assert_close(weight, plain[name], rtol=0.0, atol=2e-3)


def test_unknown_tracker_is_refused_before_anything_is_written(corpus, tmp_path):
    with pytest.raises(ValueError, match="tracker must be one of tensorboard, trackio, got 'wandb'"):
        train(corpus, TrainConfig(**QUICK), tmp_path / "model", tracker="wandb", progress=False)
    assert os.listdir(tmp_path) == []


def test_tracker_that_is_not_installed_is_refused_before_anything_is_written(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "get_available_trackers", lambda: [])
    with pytest.raises(ValueError, match=r"tracker must be installed \(pip install trackio\), got 'trackio'"):
        train(corpus, TrainConfig(**QUICK), tmp_path / "model", tracker="trackio", progress=False)
    assert os.listdir(tmp_path) == []


def logged_by_tensorboard(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "model" / "behemoth")).Reload()
    return {name: {e.step: e.value for e in events.Scalars(name)} for name in ("loss", "recall/subject_object")}


def logged_by_trackio(folder):
    from trackio.sqlite_storage import SQLiteStorage

    (run,) = SQLiteStorage.get_runs("behemoth")
    points = SQLiteStorage.get_logs("behemoth", run)
    return {
        name: {point["step"]: point[name] for point in points if name in point}
        for name in ("loss", "recall/subject_object")
    }


@pytest.mark.parametrize(
    ("tracker", "logged", "more"),
    [("tensorboard", logged_by_tensorboard, ["behemoth"]), ("trackio", logged_by_trackio, [])],
)
def test_tracker_gets_losses_and_recall_and_changes_nothing(
    corpus, exact, tmp_path, monkeypatch, tracker, logged, more
):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when trackio is first imported
    report = train(corpus, TrainConfig(**EXACT), tmp_path / "model", tracker=tracker, progress=False)
    assert sorted(os.listdir(tmp_path / "model")) == sorted([*FILES, *more])
    found = logged(tmp_path)
    assert found["loss"] == pytest.approx(dict(enumerate(report["losses"], start=1)))
    assert found["recall/subject_object"] == pytest.approx({2: exact_recall(report, 2), 5: exact_recall(report, 5)})
    assert weights(tmp_path / "model") == weights(exact[0])


def exact_recall(report, step):
    return next(point["recall"]["subject_object"] for point in report["curve"] if point["step"] == step)


if __name__ == "__main__":
    process(Path(sys.argv[1]))
