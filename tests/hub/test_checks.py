"""What is found wrong with a card before anything is sent, each fault by itself."""

from types import SimpleNamespace

import datasets.utils.resources
import pytest
import yaml

from behemoth_data import load_dataset
from behemoth_hub import Publication, Upload, dataset, metrics, models, results
from behemoth_hub.checks import card_faults, check_cards, front_matter, known_values, read_yaml

DATASET = {
    "license": "apache-2.0",
    "language": ["art"],
    "pretty_name": "B",
    "task_categories": ["text-generation"],
    "size_categories": ["n<1K"],
    "configs": [
        {"config_name": "a", "data_files": [{"split": "train", "path": "a/*.parquet"}], "default": True},
        {"config_name": "b", "data_files": [{"split": "test", "path": "b/*.parquet"}]},
    ],
    "dataset_info": [{"config_name": "a"}, {"config_name": "b"}],
}
MODEL = {"license": "mit", "language": "art", "library_name": "transformers", "pipeline_tag": "text-generation"}
SPACE = {
    "license": "apache-2.0",
    "title": "M",
    "emoji": "x",
    "sdk": "gradio",
    "app_file": "app.py",
    "tags": ["evaluate", "metric"],
}
FILES = {
    "dataset": ["README.md", "a/x.parquet", "b/y.parquet"],
    "model": ["README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"],
    "space": ["README.md", "app.py", "requirements.txt", "m.py"],
}
CARDS = {"dataset": DATASET, "model": MODEL, "space": SPACE}


def faults(kind, text="", files=(), without=(), **changes):
    data = {key: value for key, value in {**CARDS[kind], **changes}.items() if value is not None}
    names = [name for name in [*FILES[kind], *files] if name not in without]
    return card_faults(kind, data, text, [Upload(name, b"") for name in names])


@pytest.mark.parametrize("kind", CARDS)
def test_right_card_has_no_fault(kind):
    assert faults(kind) == []


@pytest.mark.parametrize(
    ("kind", "changes", "fault"),
    [
        ("dataset", {"license": "apache-3.0"}, "license must be one that the Hub knows, got 'apache-3.0'"),
        ("dataset", {"license": None}, "license must be given"),
        ("dataset", {"task_categories": ["unlearning"]}, "task_categories must be one that the Hub knows, got 'unlear"),
        ("dataset", {"size_categories": ["1M-10M"]}, "size_categories must be one that the Hub knows, got '1M-10M'"),
        ("dataset", {"language": ["invented"]}, "language must be one that the Hub knows, got 'invented'"),
        ("dataset", {"pretty_name": None}, "pretty_name must be given"),
        (
            "dataset",
            {"dataset_info": [{"config_name": "a"}]},
            r"dataset_info must describe the configs ['a', 'b'], got",
        ),
        ("dataset", {"text": "[More Information Needed]"}, "something is left to fill in: '[More Information Needed]'"),
        ("dataset", {"text": "rows: {{ rows }}"}, "something is left to fill in: '{{ '"),
        ("dataset", {"text": "{% if x %}"}, "something is left to fill in: '{%'"),
        ("dataset", {"text": "rows: TBD"}, "something is left to fill in: 'TBD'"),
        ("dataset", {"text": "![a world](structures/x.svg)"}, "the picture structures/x.svg must be among the files"),
        ("dataset", {"without": ["b/y.parquet"]}, "config b names b/*.parquet, and there is no such file"),
        ("dataset", {"files": ["c/z.parquet"]}, "c/z.parquet must belong to a config"),
        ("model", {"library_name": "nanogpt"}, "library_name must be transformers, got 'nanogpt'"),
        ("model", {"pipeline_tag": "talking"}, "pipeline_tag must be one that the Hub knows, got 'talking'"),
        ("model", {"without": ["tokenizer.json"]}, "tokenizer.json must be among the files"),
        ("space", {"sdk": "streamlit2"}, "sdk must be one that the Hub knows, got 'streamlit2'"),
        ("space", {"app_file": "main.py"}, "main.py must be among the files"),
        ("space", {"tags": ["metric"]}, "tags must hold evaluate and metric, got ['metric']"),
    ],
)
def test_fault_is_found_and_named(kind, changes, fault):
    (found,) = faults(kind, **changes)
    assert found.startswith(fault)


@pytest.mark.parametrize(
    ("defaults", "got"), [((True, True), "['a', 'b']"), ((False, False), "[]")], ids=["two", "none"]
)
def test_exactly_one_config_is_the_default(defaults, got):
    configs = [{**config, "default": flag} for config, flag in zip(DATASET["configs"], defaults, strict=True)]
    assert faults("dataset", configs=configs) == [f"one config must be the default, got {got}"]


def test_config_that_is_listed_twice_is_found():
    twice = [DATASET["configs"][0], {**DATASET["configs"][1], "config_name": "a"}]
    found = faults("dataset", configs=twice, dataset_info=[{"config_name": "a"}, {"config_name": "a"}])
    assert found == ["config a must be listed once"]


def test_all_faults_are_told_at_once():
    assert len(faults("dataset", license="x", language=["y"], text="TBD")) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("---\nlicense: mit\nlicense: mit\n---\n", "card: YAML must have every key once, got license twice"),
        ("---\na:\n  - {b: 1, b: 2}\n---\n", "card: YAML must have every key once, got b twice"),
        ("---\na: [\n---\n", "card: while parsing"),
        ("# A card\n", "card: a card must start with fields"),
        ("---\n- a\n---\n", "card: a card must start with fields"),
    ],
)
def test_front_matter_that_is_none_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        front_matter(text, "card")


def test_front_matter_may_hold_dashes_and_is_followed_by_any_text():
    assert front_matter("---\na: x --- y\n---\ntext\n---\nb: 1\n", "card") == {"a": "x --- y"}


def test_known_values_each_name_their_source():
    from importlib import resources

    text = resources.files("hub_cards").joinpath("known_values.yaml").read_text(encoding="utf-8")
    for field, entry in read_yaml(text, "known values").items():
        assert entry["source"].startswith("https://"), field
        assert len(entry["values"]) == len(set(entry["values"])) > 0


def test_sizes_and_languages_are_those_that_datasets_ships():
    from importlib import resources

    def shipped(name):
        return set(yaml.safe_load(resources.files(datasets.utils.resources).joinpath(name).read_text(encoding="utf-8")))

    assert known_values()["size"] == shipped("size_categories.json")
    assert known_values()["language"] <= shipped("languages.json")


# The cards that are made


def test_every_card_that_is_made_is_right(exported, run_folder, results_folder):
    made = [dataset(exported, "alice", progress=False), *models([run_folder], "alice"), *metrics("alice")]
    for publication in [*made, results([results_folder], "alice")]:
        check_cards(publication)


def test_configs_and_their_description_are_the_builders(exported, tmp_path, small_settings):
    data = front_matter(dataset(exported, "alice", progress=False).card(), "card")
    assert [config["config_name"] for config in data["configs"]] == [
        *("independent", "correlated", "nested"),
        *("independent_edits", "correlated_edits", "nested_edits"),
    ]
    for info in data["dataset_info"]:
        rows = load_dataset(info["config_name"], cache_dir=tmp_path, **small_settings)
        assert {split["name"]: split["num_examples"] for split in info["splits"]} == {
            split: len(rows[split]) for split in rows
        }
        features = next(iter(rows.values())).info._to_yaml_dict()["features"]
        assert info["features"] == features
        files = [path.stat().st_size for path in (exported / info["config_name"]).iterdir()]
        assert info["download_size"] == sum(files)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"evaluation_framework": "ours"}, "evaluation_framework must be one that the Hub knows, got 'ours'"),
        ({"tasks": [{"id": "x", "config": "a", "split": "test"}]}, "task x names the split a/test, and there is none"),
        ({"tasks": []}, "tasks must be given, each with an id of its own"),
    ],
)
def test_benchmark_that_names_what_is_not_there_is_refused(change, message):
    found = {
        "evaluation_framework": "inspect-ai",
        "tasks": [{"id": "a", "config": "a", "split": "train"}],
    }
    card = "---\n" + yaml.safe_dump(DATASET) + "---\nbehemoth-bench\n"
    files = {"README.md": card, "eval.yaml": yaml.safe_dump({**found, **change}), "a/x.parquet": "", "b/y.parquet": ""}
    uploads = [Upload(path, text.encode()) for path, text in files.items()]
    with pytest.raises(ValueError, match=message):
        check_cards(Publication(repo="alice/b", kind="dataset", uploads=uploads))


# The page of a metric


def test_page_of_every_metric_scores_what_is_typed_into_it(metric_names, monkeypatch, tmp_path):
    import sys

    class Interface(SimpleNamespace):
        pass

    made = {publication.repo.split("/")[1]: publication for publication in metrics("alice")}
    monkeypatch.setitem(
        sys.modules, "gradio", SimpleNamespace(Interface=Interface, Textbox=lambda **fields: SimpleNamespace(**fields))
    )
    for name in metric_names:
        folder = tmp_path / name
        folder.mkdir()
        for upload in made[name].uploads:
            (folder / upload.path).write_bytes(upload.read())
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, name, raising=False)
        page: dict = {"__name__": "app"}
        exec(compile((folder / "app.py").read_text(encoding="utf-8"), "app.py", "exec"), page)
        boxes = [box.label for box in page["page"].inputs]
        assert boxes == page["COLUMNS"]
        own = {"parts": "forgotten\nelsewhere", "refusals": "no\nno"}
        typed = [own.get(box, "a\nb") for box in boxes]
        assert page["score"](*typed).startswith("{")
        assert "must" in page["score"](typed[0], *(text.split("\n")[0] for text in typed[1:]))
        if name == "edit_success":
            assert yaml.safe_load(page["score"]("red fox\n", "red fox\nhen")) == {"edit_success": 0.5, "count": 2}
