"""Facts about training: what it takes, what it refuses, and the folder that it leaves."""

import errno
import importlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPTNeoXForCausalLM, PreTrainedTokenizerBase

from behemoth_data import CorpusConfig, WorldConfig, build
from behemoth_data.corpus import from_description
from behemoth_data.world import Edge
from behemoth_models.pythia import pythia
from behemoth_models.train import TrainConfig, learning_rate_factor, next_token_loss, optimizers, train

# (8 x 2 + 8 x 2 + 4 x 2) x 4 = 160 sentences: 10 steps of 16.
WORLD = WorldConfig(num_subjects=8, num_relations=2, num_objects=4, num_nested_objects=2)
QUICK = {"size": "14m", "batch_size": 16, "measurements": 2}
module = importlib.import_module("behemoth_models.train")  # the package has a function of this name
FILES = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


@pytest.fixture(scope="module")
def corpus():
    return build(WORLD, corpus=CorpusConfig(repeats=4))


@pytest.fixture(scope="module")
def quick(corpus, tmp_path_factory):
    """A folder of ten steps, and what train() returned."""
    folder = tmp_path_factory.mktemp("quick") / "model"
    return folder, train(corpus, TrainConfig(**QUICK), folder, progress=False)


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def test_same_seed_gives_bit_identical_weights_and_another_seed_others(corpus, quick, tmp_path):
    for name, seed in (("same", 0), ("other", 1)):
        train(corpus, TrainConfig(**QUICK, train_seed=seed), tmp_path / name, progress=False)
    assert weights(tmp_path / "same") == weights(quick[0])
    assert weights(tmp_path / "other") != weights(quick[0])


def test_weights_do_not_depend_on_what_torch_drew_before(corpus, quick, tmp_path):
    torch.rand(3)
    train(corpus, TrainConfig(**QUICK), tmp_path / "model", progress=False)
    assert weights(tmp_path / "model") == weights(quick[0])


def test_one_process_can_train_in_one_precision_after_another(corpus, quick, tmp_path):
    assert quick[1]["config"]["precision"] == "bf16"
    report = train(corpus, TrainConfig(**QUICK, precision="no"), tmp_path / "model", progress=False)
    assert report["config"]["precision"] == "no"
    assert weights(tmp_path / "model") != weights(quick[0])


def test_folder_is_a_plain_hugging_face_one_with_a_report(quick):
    assert sorted(os.listdir(quick[0])) == sorted([*FILES, "training.json"])


def test_report_says_what_was_done(quick):
    folder, report = quick
    assert json.loads((folder / "training.json").read_text(encoding="utf-8")) == json.loads(json.dumps(report))
    assert (report["steps"], report["sentences"], report["exposures_per_fact"]) == (10, 160, 4.0)
    assert report["config"]["size"] == "14m"
    assert [point["step"] for point in report["curve"]] == [5, 10]
    assert [point["exposures"] for point in report["curve"]] == [2.0, 4.0]
    for point in report["curve"]:
        assert 0 < point["loss"] < 2 * math.log(128)
        assert set(point["recall"]) == {"subject_object", "subject_nested", "object_nested"}
    assert report["curve"][1]["loss"] < report["curve"][0]["loss"]
    assert set(report["recall"]) == {"statement", "rso"}


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
    assert carried["lexicon"] == {"one_token_limit": 1000}
    assert carried["corpus"]["repeats"] == 26
    assert set(carried["digests"]) == {"vocabulary", "sentences"}
    assert set(carried["recall"]) == {"statement", "rso"}
    again = from_description(carried)
    assert again.digest == small_corpus.digest
    assert (again.block(0, 50) == small_corpus.block(0, 50)).all()


@pytest.mark.parametrize("part", ["vocabulary", "sentences"])
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
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, prompts = sys.argv[1], json.loads(sys.argv[2])
model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
answers = []
for prompt in prompts:
    ids = tokenizer(prompt, return_tensors="pt")
    said = model.generate(**ids, do_sample=False, max_new_tokens=3)[0, ids["input_ids"].shape[1]:]
    answers.append(tokenizer.decode(said))
print(json.dumps(answers))
"""


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


@pytest.mark.parametrize("content", ["note.txt", "config.json"])
def test_output_that_holds_something_is_refused_and_untouched(corpus, tmp_path, content):
    (tmp_path / content).write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match="output_dir must be empty or new so that no trained model is lost, got"):
        train(corpus, TrainConfig(**QUICK), tmp_path, progress=False)
    assert os.listdir(tmp_path) == [content]
    assert (tmp_path / content).read_text(encoding="utf-8") == "mine"


def test_empty_output_folder_is_used(corpus, quick, tmp_path):
    (tmp_path / "model").mkdir()
    train(corpus, TrainConfig(**QUICK), tmp_path / "model", progress=False)
    assert weights(tmp_path / "model") == weights(quick[0])
    assert os.listdir(tmp_path) == ["model"]


def test_batch_larger_than_the_corpus_is_refused_before_anything_is_written(corpus, tmp_path):
    with pytest.raises(ValueError, match="batch_size must lie between 1 and the corpus's 160 sentences, got 161"):
        train(corpus, TrainConfig(**{**QUICK, "batch_size": 161}), tmp_path / "model", progress=False)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("size", "30m", "size must be one of 14m, 31m, 70m, got '30m'"),
        ("optimizer", "sgd", "optimizer must be one of muon, adamw, got 'sgd'"),
        ("precision", "fp16", "precision must be one of bf16, no, got 'fp16'"),
        ("learning_rate", 0, "learning_rate must be above 0, got 0"),
        ("learning_rate", float("nan"), "learning_rate must be a number, got nan"),
        ("learning_rate", "fast", "learning_rate must be float, got 'fast'"),
        ("max_grad_norm", -1.0, "max_grad_norm must be above 0, got -1.0"),
        ("batch_size", 0, "batch_size must be at least 1, got 0"),
        ("batch_size", 2.5, "batch_size must be int, got 2.5"),
        ("measurements", 0, "measurements must be at least 1, got 0"),
        ("weight_decay", -0.1, "weight_decay must be at least 0, got -0.1"),
        ("warmup_fraction", 1.5, r"warmup_fraction must lie in \[0, 1\], got 1.5"),
        ("decay_fraction", -0.5, r"decay_fraction must lie in \[0, 1\], got -0.5"),
    ],
)
def test_bad_setting_names_field_bound_and_value(field, value, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**{field: value})


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_loss_that_is_no_number_ends_training_and_leaves_nothing(corpus, tmp_path, monkeypatch, wrong):
    steps = []

    def broken(model, tokens, padding):
        steps.append(1)
        return next_token_loss(model, tokens, padding) * (wrong if len(steps) == 3 else 1.0)

    monkeypatch.setattr(module, "next_token_loss", broken)
    with pytest.raises(FloatingPointError, match=f"loss is {wrong} at step 3: try a lower learning_rate"):
        train(corpus, TrainConfig(**QUICK), tmp_path / "model", progress=False)
    assert os.listdir(tmp_path) == []


def test_weights_that_are_no_numbers_after_the_last_step_are_not_saved(corpus, tmp_path, monkeypatch):
    steps = []

    def backward_breaks(model, tokens, padding):
        steps.append(1)
        loss = next_token_loss(model, tokens, padding)
        if len(steps) == 10:
            loss.register_hook(lambda gradient: gradient * math.nan)  # the loss itself stays a number
        return loss

    monkeypatch.setattr(module, "next_token_loss", backward_breaks)
    with pytest.raises(FloatingPointError):
        train(corpus, TrainConfig(**QUICK), tmp_path / "model", progress=False)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("full_at", [GPTNeoXForCausalLM, PreTrainedTokenizerBase])
@pytest.mark.parametrize("made_before", [True, False])
def test_disk_that_fills_up_leaves_no_folder_that_loads(corpus, tmp_path, monkeypatch, full_at, made_before):
    def full(self, folder, *_, **__):
        Path(folder).mkdir(exist_ok=True)
        (Path(folder) / "half").write_text("half", encoding="utf-8")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(full_at, "save_pretrained", full)
    if made_before:
        (tmp_path / "model").mkdir()
    with pytest.raises(OSError, match="No space left"):
        train(corpus, TrainConfig(**QUICK), tmp_path / "model", progress=False)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["model"] * made_before


def test_learning_rate_warms_up_stays_and_decays_to_zero():
    config = TrainConfig(warmup_fraction=0.2, decay_fraction=0.5)
    factors = [learning_rate_factor(step, 10, config) for step in range(11)]
    assert factors == pytest.approx([0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0])
    flat = TrainConfig(warmup_fraction=0.0, decay_fraction=0.0)
    assert [learning_rate_factor(step, 4, flat) for step in range(4)] == [1.0] * 4
    triangle = TrainConfig(warmup_fraction=0.5, decay_fraction=1.0)
    assert [learning_rate_factor(step, 4, triangle) for step in range(4)] == pytest.approx([0.5, 0.75, 0.5, 0.25])


def placed(model, config):
    """(optimizer, weight decay) of every parameter, by its name; each is in one optimizer."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [
        (names[id(parameter)], (type(optimizer).__name__, group["weight_decay"], group["lr"]))
        for optimizer in optimizers(model, config)
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    assert sorted(name for name, _ in found) == sorted(names.values())
    return dict(found)


@pytest.fixture(scope="module")
def model():
    with torch.device("meta"):
        return pythia("14m", 64)


def test_muon_takes_all_matrices_but_the_input_embedding_and_adamw_the_rest(model):
    for name, where in placed(model, TrainConfig(learning_rate=0.01)).items():
        matrix = name.endswith("weight") and "norm" not in name and "embed_in" not in name
        assert where == (("Muon", 0.1, 0.01) if matrix else ("AdamW", 0.0, 0.01)), name


def test_adamw_takes_everything_and_decays_matrices_only(model):
    for name, where in placed(model, TrainConfig(optimizer="adamw", weight_decay=0.3, learning_rate=0.01)).items():
        vector = name.endswith("bias") or "norm" in name
        assert where == ("AdamW", 0.0 if vector else 0.3, 0.01), name


def test_adamw_has_pythias_betas(model):
    for config in (TrainConfig(), TrainConfig(optimizer="adamw")):
        (adamw,) = [o for o in optimizers(model, config) if isinstance(o, torch.optim.AdamW)]
        assert all(group["betas"] == (0.9, 0.95) for group in adamw.param_groups)


def test_loss_is_the_mean_over_tokens_that_are_no_padding(corpus):
    lexicon = corpus.grammar.lexicon
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = pythia("14m", len(lexicon.vocabulary))
    padding = lexicon.token_ids["<|padding|>"]
    rows = corpus.block(0, 12)[:, : corpus.max_length].tolist()
    rows = [row + [padding] * 2 for row in rows]
    total, count = 0.0, 0
    for row in rows:
        ids = [token for token in row if token != padding]
        with torch.no_grad():
            chances = model(torch.tensor([ids])).logits[0].double().softmax(-1)
        for place in range(len(ids) - 1):
            total -= math.log(float(chances[place, ids[place + 1]]))
            count += 1
    assert count < 12 * (corpus.max_length + 1)
    assert next_token_loss(model, torch.tensor(rows), padding).item() == pytest.approx(total / count, rel=1e-5)
