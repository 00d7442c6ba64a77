"""What would be published from which folder: exactly these files, with cards whose numbers the runs wrote."""

import hashlib
import json
import math
import os
import re
import shutil

import pyarrow as pa
import pytest
import yaml
from datasets import load_dataset
from pyarrow import parquet

from behemoth_data.exports import read_manifest
from behemoth_editing.bench.board import Entry, line_of
from behemoth_editing.bench.tracks import VERSION, Number
from behemoth_hub import dataset, leaderboard, metrics, models, results
from behemoth_hub.cards import accuracy
from behemoth_hub.checks import front_matter

RUN_FILES = {
    *("README.md", "config.json", "facts.parquet", "generation_config.json", "model.safetensors", "tokenizer.json"),
    *("tokenizer_config.json", "training.json", "training_curve.svg"),
}


def paths(uploads):
    return {upload.path for upload in uploads}


def content(publication, path, branch="main"):
    (upload,) = [upload for upload in publication.revisions[branch] if upload.path == path]
    return upload.read()


@pytest.fixture
def data_folder(exported, tmp_path):
    """A copy of the small dataset that a test may change."""
    return shutil.copytree(exported, tmp_path / "behemoth")


@pytest.fixture
def run_copy(run_folder, tmp_path):
    """A copy of the small run that a test may change."""
    return shutil.copytree(run_folder, tmp_path / "nested")


def rewrite(path, change):
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


# The dataset


def test_dataset_is_the_exported_folder_with_eval_yaml_under_its_name_on_the_hub(exported):
    made = dataset(exported, "alice", progress=False)
    folder = {path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()}
    assert paths(made.uploads) == {*folder, "eval.yaml"}
    assert (made.repo, made.kind, made.tag) == ("alice/behemoth", "dataset", "v3.1.0")
    card = made.card()
    assert 'load_dataset("alice/behemoth", "independent")\n' in card
    assert 'load_dataset("behemoth"' not in card
    assert made.loading[-1] == 'datasets.load_dataset("alice/behemoth", "nested")'


def test_published_manifest_lists_every_other_file_with_its_digest(exported):
    made = dataset(exported, "alice", progress=False)
    manifest = json.loads(content(made, "manifest.json"))
    others = {upload.path: upload.read() for upload in made.uploads if upload.path != "manifest.json"}
    assert manifest["files"] == {
        path: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for path, data in others.items()
    }
    same = ("rows_version", "code_digest", "configs", "rows")
    assert {key: manifest[key] for key in same} == {key: read_manifest(exported)[key] for key in same}


def test_benchmark_has_one_task_for_each_config_of_facts(exported):
    tasks = yaml.safe_load(content(dataset(exported, "alice", progress=False), "eval.yaml"))["tasks"]
    assert [(task["id"], task["split"]) for task in tasks] == [
        (name, "validation") for name in ("independent", "correlated", "nested")
    ]


def test_other_tag_may_be_given(exported):
    assert dataset(exported, "alice", tag="v9", progress=False).tag == "v9"


def test_what_the_manifest_does_not_list_stays_here(data_folder):
    (data_folder / "notes.md").write_text("mine", encoding="utf-8")
    (data_folder / ".secret.json").write_text("{}", encoding="utf-8")
    made = dataset(data_folder, "alice", progress=False)
    assert made.left_out == ["notes.md"]
    assert not paths(made.uploads) & {"notes.md", ".secret.json"}


def change_a_number_of_the_card(folder):
    path = folder / "README.md"
    path.write_text(
        path.read_text(encoding="utf-8").replace("num_examples: 640", "num_examples: 641"), encoding="utf-8"
    )


def change_a_row(folder):
    path = folder / "nested" / "test-00000-of-00001.parquet"
    table = parquet.read_table(path)
    text = pa.array([table["text"][0].as_py()] * table.num_rows)
    parquet.write_table(table.set_column(0, table.schema.field(0), text), path, compression="zstd")


def add_a_default(folder):
    path = folder / "README.md"
    path.write_text(path.read_text(encoding="utf-8").replace("---\n", "---\nlicense: mit\n", 1), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_a_number_of_the_card, r"README.md of .* must be the card that its data files give: export it again"),
        (add_a_default, "README.md of .* must be the card that its data files give"),
        (change_a_row, "test-00000-of-00001.parquet of .* must be as its manifest says|must be the card"),
        (lambda folder: (folder / "README.md").unlink(), "README.md of .* must be the card"),
        (lambda folder: (folder / "structures" / "nested.svg").unlink(), "must hold structures/nested.svg, which its"),
        (
            lambda folder: (folder / "manifest.json").unlink(),
            "dataset must be a folder that `behemoth data` wrote",
        ),
        (
            lambda folder: rewrite(folder / "manifest.json", lambda data: data.update(code_digest="0" * 16)),
            "code_digest of .* must be this code's [0-9a-f]{16}, got 0000000000000000: export it again",
        ),
        (
            lambda folder: rewrite(folder / "manifest.json", lambda data: data.update(rows_version="1.0.0")),
            "rows_version of .* must be this code's 3.1.0, got 1.0.0",
        ),
        (
            lambda folder: rewrite(folder / "manifest.json", lambda data: data["configs"]["nested"].update(seed=1)),
            "must be as its manifest says|must be the card that its data files give",
        ),
        (lambda folder: rewrite(folder / "manifest.json", lambda data: data.pop("rows")), "must have .*rows"),
    ],
    ids=["card", "key twice", "row", "no card", "no picture", "no manifest", "code", "version", "seed", "no rows"],
)
def test_folder_that_is_not_what_the_generator_makes_is_refused(data_folder, change, message):
    change(data_folder)
    with pytest.raises(ValueError, match=message):
        dataset(data_folder, "alice", progress=False)


def test_missing_data_file_is_refused(data_folder):
    (data_folder / "nested" / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(OSError, match="test-00000-of-00001.parquet"):
        dataset(data_folder, "alice", progress=False)


# Models


def test_model_is_named_after_its_size_and_structure_and_lists_exactly_the_files_of_a_run(run_folder):
    (made,) = models([run_folder], "alice")
    assert (made.repo, made.kind, made.tag) == ("alice/behemoth-pythia-14m-nested", "model", None)
    assert paths(made.uploads) == RUN_FILES
    assert list(made.branches) == ["step1", "step2"]
    assert paths(made.branches["step1"]) == RUN_FILES - {"facts.parquet", "training.json", "training_curve.svg"}
    assert made.left_out == []


def test_steps_are_in_order_of_their_numbers_not_of_their_letters(run_copy):
    (run_copy / "step2").rename(run_copy / "step10")
    shutil.copytree(run_copy / "step1", run_copy / "step9")
    (made,) = models([run_copy], "alice")
    assert list(made.branches) == ["step1", "step9", "step10"]


def test_model_card_says_what_training_json_says(run_folder):
    (made,) = models([run_folder], "alice")
    training = json.loads((run_folder / "training.json").read_text(encoding="utf-8"))
    card = made.card()
    assert f"| parameters | {training['parameters']:,} |" in card
    assert "2 steps of 32 sentences, 64 sentences" in card
    data = front_matter(card, "card")
    (index,) = data["model-index"]
    found = {metric["name"]: metric["value"] for entry in index["results"] for metric in entry["metrics"]}
    assert found == {
        f"recall of {edge} facts asked as {form}": share
        for form, shares in training["recall"].items()
        for edge, share in shares.items()
    }
    assert data["license"] == "apache-2.0"
    assert (
        'from_pretrained("alice/behemoth-pythia-14m-nested", revision="step1")'
        in content(made, "README.md", "step1").decode()
    )


def test_model_card_says_with_whose_weights_a_training_began(run_folder, run_copy):
    assert "that was trained from scratch on one invented world of" in models([run_folder], "alice")[0].card()
    config = json.loads((run_copy / "config.json").read_text(encoding="utf-8"))
    config["behemoth"]["start"] = {"weights": "0123456789abcdef", "learns": ["a.weight", "b.bias"]}
    (run_copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    card = models([run_copy], "alice")[0].card()
    assert "that was trained from other weights on one invented world of" in card
    assert "a model whose digest is 0123456789abcdef, and moved these parameters alone:\na.weight, b.bias.\n" in card


def test_model_card_leaves_empty_the_tables_that_a_form_does_not_have(run_copy):
    def ask(data):
        data["recall"]["two_step"] = {"subject_object": 0.25}

    rewrite(run_copy / "training.json", ask)
    rewrite(run_copy / "config.json", lambda config: ask(config["behemoth"]))
    (made,) = models([run_copy], "alice")
    assert "| two_step | 25.00% |  |  |\n" in made.card()


def test_model_card_says_which_transformers_read_it_unless_the_folder_was_written_before(run_folder, run_copy):
    words = "Any transformers from 4.45 to 5.23 reads it alike."
    (made,) = models([run_folder], "alice")
    assert words in made.card()
    rewrite(run_copy / "config.json", lambda config: [config.pop(name) for name in ("rotary_pct", "rotary_emb_base")])
    (made,) = models([run_copy], "alice")
    assert words not in made.card()


def test_model_of_the_published_world_claims_its_result_on_the_dataset(run_folder, exported):
    (made,) = models([run_folder], "alice", manifest=read_manifest(exported))
    (entry,) = yaml.safe_load(content(made, ".eval_results/behemoth.yaml"))
    training = json.loads((run_folder / "training.json").read_text(encoding="utf-8"))
    facts = {"subject_object": 120, "subject_nested": 120, "object_nested": 80}  # 30 x 4, as many, 20 x 4
    right = sum(
        training["recall"][form][edge] * count for form in ("statement", "rso") for edge, count in facts.items()
    )
    assert entry["dataset"] == {"id": "alice/behemoth", "task_id": "nested"}
    assert entry["value"] == pytest.approx(right / 640)
    assert front_matter(made.card(), "card")["datasets"] == ["alice/behemoth"]
    assert made.notes == []


def test_model_of_another_world_claims_nothing_and_says_why(run_folder):
    (made,) = models([run_folder], "alice")
    assert ".eval_results/behemoth.yaml" not in paths(made.uploads)
    assert "datasets" not in front_matter(made.card(), "card")
    (note,) = made.notes
    assert note.endswith("nested makes no claim on alice/behemoth: num_objects of its world is 20, and 100 there")


def test_accuracy_weighs_tables_by_their_facts_and_leaves_questions_out():
    recall = {
        "statement": {"subject_object": 1.0, "object_nested": 0.5},
        "rso": {"subject_object": 0.5, "object_nested": 0.0},
        "question": {"subject_object": 0.0, "object_nested": 0.0},
        "two_step": {"subject_object": 0.0},
        "denied_false": {"subject_object": 0.0, "object_nested": 0.0},
    }
    # By hand: of 2 x (30 + 10) facts 30 + 5 + 15 are right.
    assert accuracy(recall, {"subject_object": 30, "object_nested": 10}) == pytest.approx(50 / 80)


@pytest.mark.parametrize("number", ["parameters", "steps", "tokens", "seconds", "recall", "losses", "versions"])
def test_number_that_the_run_did_not_write_stops_publication_by_its_name(run_copy, number):
    rewrite(run_copy / "training.json", lambda data: data.pop(number))
    if number == "recall":
        rewrite(run_copy / "config.json", lambda data: data["behemoth"].update(recall=None))
    with pytest.raises(ValueError, match=f"training.json of .* must have {number}, which the card quotes"):
        models([run_copy], "alice")


def test_nested_number_that_is_missing_stops_publication_by_its_name(run_copy):
    rewrite(run_copy / "training.json", lambda data: data["config"].pop("batch_size"))
    with pytest.raises(ValueError, match=r"the run must give everything that model.md.jinja quotes: .*batch_size"):
        models([run_copy], "alice")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "must be folders of finished runs, .* has no config.json"),
        (lambda folder: (folder / "training.json").unlink(), "must be folders of finished runs, .* no training.json"),
        (
            lambda folder: (folder / "pytorch_model.bin").write_bytes(b"\x80\x04"),
            r"must hold no pickle, got \['pytorch_model.bin'\]",
        ),
        (
            lambda folder: (folder / "step1" / "optimizer.pt").write_bytes(b"\x80\x04"),
            r"must hold no pickle, got \['step1/optimizer.pt'\]",
        ),
        (
            lambda folder: rewrite(
                folder / "config.json", lambda data: data["behemoth"]["digests"].update(facts="0" * 16)
            ),
            "facts digest must be 0000000000000000, as when the model was trained",
        ),
        (
            lambda folder: rewrite(folder / "config.json", lambda data: data.pop("behemoth")),
            "config.json of .* must carry its world under 'behemoth', got none",
        ),
        (
            lambda folder: rewrite(
                folder / "training.json", lambda data: data["recall"]["statement"].update(subject_object=1.0)
            ),
            "must have the same recall in config.json and training.json",
        ),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"\x80\x04\x95" + bytes(100)),
            "model.safetensors of .* must be what its name says",
        ),
        (
            lambda folder: rewrite(
                folder / "training.json", lambda data: data["versions"].update(note="hf_" + "x" * 34)
            ),
            "must hold no token of the Hub",
        ),
    ],
    ids=[
        "unfinished",
        "no numbers",
        "pickle",
        "pickle below",
        "foreign world",
        "no world",
        "recall",
        "disguise",
        "token",
    ],
)
def test_run_that_may_not_be_published_is_refused(run_copy, change, message):
    change(run_copy)
    with pytest.raises(ValueError, match=message):
        models([run_copy], "alice")


def test_two_runs_of_one_name_are_refused(run_folder, run_copy):
    with pytest.raises(ValueError, match="must have names of their own, got alice/behemoth-pythia-14m-nested for"):
        models([run_folder, run_copy], "alice")


def test_other_files_of_a_run_stay_here(run_copy):
    (run_copy / "behemoth").mkdir()
    (run_copy / "behemoth" / "events.out.tfevents.1").write_bytes(b"log")
    (run_copy / "notes.md").write_text("mine", encoding="utf-8")
    (made,) = models([run_copy], "alice")
    assert made.left_out == ["notes.md", "behemoth/events.out.tfevents.1"]
    assert paths(made.uploads) == RUN_FILES


# Links


@pytest.mark.parametrize("name", ["facts.parquet", "step1/tokenizer.json"])
def test_link_that_leads_out_of_the_folder_is_refused(run_copy, tmp_path, name):
    (tmp_path / "secret").write_bytes((run_copy / name).read_bytes())
    (run_copy / name).unlink()
    (run_copy / name).symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match=f"must hold no symbolic link .* out of itself, got .*{name}"):
        models([run_copy], "alice")


def test_link_to_a_folder_is_refused(run_copy, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (run_copy / "step3").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="must hold no symbolic link to a folder"):
        models([run_copy], "alice")


def test_link_within_the_folder_is_followed(run_copy):
    shutil.move(run_copy / "facts.parquet", run_copy / "kept.parquet")
    os.symlink("kept.parquet", run_copy / "facts.parquet")
    (made,) = models([run_copy], "alice")
    assert content(made, "facts.parquet") == (run_copy / "kept.parquet").read_bytes()


def test_linked_file_of_a_dataset_is_refused(data_folder, tmp_path):
    path = data_folder / "nested" / "test-00000-of-00001.parquet"
    shutil.move(path, tmp_path / "away.parquet")
    path.symlink_to(tmp_path / "away.parquet")
    with pytest.raises(ValueError, match="must hold no symbolic link"):
        dataset(data_folder, "alice", progress=False)


# Metrics


def test_every_metric_folder_becomes_a_space(metric_names):
    made = metrics("alice")
    assert [publication.repo for publication in made] == [f"alice/{name}" for name in metric_names]
    for publication, name in zip(made, metric_names, strict=True):
        assert publication.kind == "space"
        assert paths(publication.uploads) == {"README.md", "app.py", "requirements.txt", "world.svg", f"{name}.py"}
        card = publication.card()
        assert f'evaluate.load("alice/{name}")' in card
        assert "behemoth_editing/metrics" not in card
        assert card.count("## Licence and citation") == 1


def test_requirements_of_a_space_are_what_its_file_imports(metric_names):
    for publication in metrics("alice"):
        lines = content(publication, "requirements.txt").decode().splitlines()
        assert [re.match(r"[\w-]+", line)[0] for line in lines] >= ["datasets", "evaluate"]
        assert all(re.fullmatch(r"[\w-]+[<>=.\d,]*", line) for line in lines)


def test_metric_without_a_card_or_with_a_foreign_import_is_refused(tmp_path):
    folder = tmp_path / "metrics" / "mine"
    folder.mkdir(parents=True)
    (folder / "mine.py").write_text("import evaluate\nfrom sklearn import metrics\n", encoding="utf-8")
    with pytest.raises(ValueError, match="metric mine must have a card"):
        metrics("alice", folder=tmp_path / "metrics")
    card = "---\ntitle: Mine\nemoji: x\nsdk: gradio\napp_file: app.py\ntags: [evaluate, metric]\ndescription: d\n---\n"
    (folder / "README.md").write_text(card + "# Mine\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"metric mine must need only packages .* requires, got \['sklearn'\]"):
        metrics("alice", folder=tmp_path / "metrics")
    (folder / "mine.py").write_text("import evaluate\n", encoding="utf-8")
    (made,) = metrics("alice", folder=tmp_path / "metrics")
    assert made.repo == "alice/mine"


# Results


def test_results_are_one_table_with_a_card_and_a_picture(results_folder):
    made = results([results_folder], "alice")
    assert (made.repo, made.kind) == ("alice/behemoth-results", "dataset")
    assert paths(made.uploads) == {"README.md", "results.parquet", "results.svg"}
    table = parquet.read_table(pa.BufferReader(content(made, "results.parquet")))
    assert table["method"].to_pylist() == ["rome", "lora"]
    assert 'load_dataset("alice/behemoth-results", split="test")' in made.card()
    assert results([results_folder], "alice").uploads[0].read() == content(made, "results.parquet")


def test_place_of_a_model_on_this_machine_is_not_published(results_folder):
    path = results_folder / "results.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("runs/nested", "/home/someone/nested"), encoding="utf-8")
    made = results([results_folder], "alice")
    table = parquet.read_table(pa.BufferReader(content(made, "results.parquet")))
    assert table["model"].to_pylist() == ["nested", "nested"]
    assert "/home" not in made.card()


def test_results_that_are_a_link_out_of_the_folder_are_refused(results_folder, tmp_path):
    shutil.move(results_folder / "results.jsonl", tmp_path / "away.jsonl")
    (results_folder / "results.jsonl").symlink_to(tmp_path / "away.jsonl")
    with pytest.raises(ValueError, match="must hold no symbolic link"):
        results([results_folder], "alice")


# Boards


@pytest.fixture
def board_of(results_folder, tmp_path):
    """A function that makes the folder of a bench: somebody's line of each of these methods, and rows."""

    def make(run_by, *methods, version=VERSION):
        folder = tmp_path / f"{run_by or 'nobody'}-{'-'.join(methods)}"
        shutil.copytree(results_folder, folder / "results")
        number = Number(0.25, 0.125, math.inf, models=2)
        entries = [
            Entry(
                version=version,
                track="ripple",
                level="hard",
                method=method,
                settings={"layer": 1},
                number=number,
                failed=0,
                run_by=run_by,
                weights=("0a1b",),
                versions={"behemoth": "0.3.0"},
                devices=("cpu",),
                started=("2026-11-27T23:17:12+00:00", "2026-11-28T00:00:00+00:00"),
            )
            for method in methods
        ]
        lines = [json.dumps(line_of(entry)) for entry in entries]
        (folder / "board.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return folder

    return make


def test_boards_of_several_people_are_one_dataset_with_the_rows_behind_them(board_of, tmp_path):
    made, space = leaderboard([board_of("Ada", "rome", "lora"), board_of("Bo", "<mine>")], "alice")
    assert (made.repo, made.kind) == (space.repo, "dataset") == ("alice/behemoth-board", "dataset")
    assert (space.kind, paths(space.uploads)) == ("space", {"README.md", "index.html"})
    assert front_matter(space.card(), "card")["sdk"] == "static"
    page = content(space, "index.html").decode("utf-8")
    assert "<td>0.25 [0.12, inf]</td>" in page
    assert "&lt;mine&gt;, Bo" in page  # what others wrote is text
    assert not re.search(r"(src|href)=.(?!https://huggingface.co/datasets/alice/behemoth-board|data:,)", page)
    assert paths(made.uploads) == {"README.md", "board.parquet", "results.parquet"}
    for upload in made.uploads:
        (tmp_path / "there").mkdir(exist_ok=True)
        (tmp_path / "there" / upload.path).write_bytes(upload.read())
    lines, rows = (
        load_dataset(str(tmp_path / "there"), name, split="test", cache_dir=str(tmp_path / "cache"))
        for name in ("board", "results")
    )
    assert [(line["method"], line["run_by"], line["low"], line["high"]) for line in lines] == [
        ("rome", "Ada", 0.125, None),
        ("lora", "Ada", 0.125, None),
        ("<mine>", "Bo", 0.125, None),
    ]
    assert json.loads(lines[0]["settings"]) == {"layer": 1}
    assert lines[0]["weights"] == ["0a1b"]
    assert len(rows) == 2  # those of both folders are the same two
    assert "| rome, Ada | 0.25 [0.12, inf] |" in made.card()
    assert "Run by Ada, Bo." in made.card()


def test_a_board_is_published_again_with_another_line(board_of, publisher, hub):
    for methods in (("rome",), ("rome", "lora")):
        for made in leaderboard([board_of("Ada", *methods)], "alice"):
            publisher().publish(made)
    assert b"lora" in hub.files("spaces", "alice/behemoth-board")["index.html"]


@pytest.mark.parametrize(
    ("boards", "said"),
    [
        ([("", "rome"), ("Bo", "lora")], "boards must say who ran them where there are several"),
        (
            [("Ada", "rome"), ("Ada", "lora", "rome")],
            "boards must have a line for each track, level, method",
        ),
        ([("Ada",)], "boards must be folders of `behemoth bench`, got"),
    ],
)
def test_boards_whose_lines_nobody_can_tell_apart_are_refused(boards, said, board_of):
    with pytest.raises(ValueError, match=said):
        leaderboard([board_of(*board) for board in boards], "alice")


def test_a_board_of_another_version_is_refused(board_of):
    with pytest.raises(ValueError, match="board must be of version"):
        leaderboard([board_of("Ada", "rome", version=VERSION + 1)], "alice")
