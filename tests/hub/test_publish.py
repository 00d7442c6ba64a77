"""behemoth publish as a person calls it: what it says before, while and after, and how it ends."""

import dataclasses
import importlib
import re
import shutil

import pytest


@pytest.fixture
def publish(monkeypatch, hub, publisher, tmp_path):
    """The command's module, with alice's token and this Hub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "10000")  # help texts stand on one line
    script = importlib.import_module("behemoth_cli.publish")
    monkeypatch.setattr(script, "Publisher", lambda private=False: publisher(private=private))
    return script


@pytest.fixture
def without_token(monkeypatch, publish, publisher):
    monkeypatch.setattr("behemoth_hub.push.get_token", lambda: None)
    monkeypatch.setattr(publish, "Publisher", lambda private=False: publisher(token=None, private=private))


def refused(publish, words, capsys, status=2):
    """The one line on standard error that the script ends with."""
    with pytest.raises(SystemExit) as caught:
        publish.main([str(word) for word in words])
    assert caught.value.code == status
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith("behemoth publish: error: ")
    return line


def test_dry_run_shows_every_file_size_and_card_without_token_or_hub(
    publish, without_token, hub, exported, run_folder, results_folder, metric_names, capsys
):
    words = ["--namespace", "alice", "--dataset", exported, "--models", run_folder, "--metrics"]
    publish.main([*map(str, words), "--results", str(results_folder), "--dry_run"])
    out = capsys.readouterr().out
    assert hub.log == []
    assert out.startswith("alice/behemoth (dataset, tag v3.1.0)\n  main: 18 files, ")
    train = exported / "nested" / "train-00000-of-00001.parquet"
    assert f"\n  {train.stat().st_size:>14,}  nested/train-00000-of-00001.parquet\n" in out
    weights = run_folder / "step1" / "model.safetensors"
    step = out[out.index("\n  step1: 6 files, ") : out.index("\n  step2: 6 files, ")]
    assert f"\n  {weights.stat().st_size:>14,}  model.safetensors\n" in step
    for title in ("# Behemoth\n", "# behemoth-pythia-14m-nested\n", "# Edit Success\n", "# Behemoth results\n"):
        assert title in out
    sizes = [int(number.replace(",", "")) for number in re.findall(r"^  \w+: \d+ files, ([\d,]+) bytes$", out, re.M)]
    last = out.splitlines()[-1]
    assert last == f"{3 + len(metric_names)} repositories, {sum(sizes):,} bytes in all; nothing was sent"


def test_publishing_prints_what_was_sent_where_it_is_and_how_to_load_it(publish, hub, exported, token, capsys):
    words = ["--namespace", "alice", "--dataset", str(exported)]
    publish.main(words)
    commit = hub.repo("datasets", "alice/behemoth").branches["main"][:8]
    first, url, *loading = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"alice/behemoth main: 18 files, [\d,]+ bytes \(commit {commit}\)", first)
    assert re.fullmatch(rf"  {hub.url}/datasets/alice/behemoth \([\d.]+ s, tag v3.1.0\)", url)
    assert loading == [
        f'  datasets.load_dataset("alice/behemoth", "{name}")' for name in ("independent", "correlated", "nested")
    ]
    publish.main(words)
    assert capsys.readouterr().out.splitlines()[0] == f"alice/behemoth main: unchanged (commit {commit})"


def test_model_of_another_world_is_published_with_a_note(publish, run_folder, capsys):
    publish.main(["--namespace", "alice", "--models", str(run_folder)])
    *_, note = capsys.readouterr().out.splitlines()
    assert note.startswith("  note: ")
    assert "makes no claim on alice/behemoth" in note


def test_private_and_revision_reach_the_hub(publish, hub):
    publish.main(["--namespace", "team", "--metrics", "--private", "--revision", "v1.0.0"])
    repo = hub.repo("spaces", "team/edit_success")
    assert repo.private
    assert repo.tags == {"v1.0.0": repo.branches["main"]}


def test_changed_dataset_under_the_same_version_is_refused_and_the_old_one_stays(
    publish, hub, exported, small_settings, tmp_path, capsys
):
    from behemoth_data import export

    publish.main(["--namespace", "alice", "--dataset", str(exported)])
    before = hub.files("datasets", "alice/behemoth")
    export(tmp_path / "other", overrides={**small_settings, "seed": 1}, progress=False)
    capsys.readouterr()
    line = refused(publish, ["--namespace", "alice", "--dataset", tmp_path / "other"], capsys)
    assert "tag v3.1.0 of alice/behemoth must be of this content" in line
    assert hub.files("datasets", "alice/behemoth") == before
    publish.main(["--namespace", "alice", "--dataset", str(tmp_path / "other"), "--revision", "v3.1.0-seed1"])
    assert set(hub.repo("datasets", "alice/behemoth").tags) == {"v3.1.0", "v3.1.0-seed1"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metrics"], "namespace must be your user name or organisation on the Hub, got none"),
        (["--namespace", "alice/x", "--metrics"], "namespace must be one name, got 'alice/x'"),
        (
            ["--namespace", "alice"],
            "publish needs something to publish: --dataset, --models, --edited, --metrics, --space, --results or",
        ),
        (
            ["--namespace", "alice", "--dataset", "nothing"],
            "dataset must be a folder of `behemoth data`, got noth",
        ),
        (["--namespace", "alice", "--models", "nothing"], "folder must exist, got 'nothing'"),
        (["--namespace", "alice", "--results", "nothing"], "folder must exist, got 'nothing'"),
        (["--namespace", "alice", "--metric"], "option must be one of .*'--metrics'"),
    ],
)
def test_bad_words_are_one_line_and_send_nothing(publish, hub, words, message, capsys):
    assert re.search(message, refused(publish, words, capsys))
    assert hub.log == []


def test_without_a_token_the_line_says_where_to_get_one(publish, without_token, exported, hub, capsys):
    line = refused(publish, ["--namespace", "alice", "--dataset", exported], capsys)
    assert "publishing needs a token with write access: create one at https://huggingface.co/settings/tokens" in line
    assert hub.log == []


def test_namespace_of_someone_else_is_one_line_and_status_1(publish, exported, hub, token, capsys):
    line = refused(publish, ["--namespace", "bob", "--dataset", exported], capsys, status=1)
    assert "bob/behemoth: the token may not write there (403)" in line
    assert token not in line
    assert hub.repos == {}


def test_one_bad_folder_stops_everything_before_the_first_is_sent(publish, hub, exported, run_folder, tmp_path, capsys):
    bad = shutil.copytree(run_folder, tmp_path / "bad")
    (bad / "training.json").unlink()
    line = refused(publish, ["--namespace", "alice", "--dataset", exported, "--models", bad], capsys)
    assert "must be folders of finished runs" in line
    assert hub.log == []


def test_help_explains_every_option(publish, capsys):
    with pytest.raises(SystemExit) as caught:
        publish.main(["--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for field in dataclasses.fields(publish.PublishArguments):
        assert f"--{field.name}" in text
        assert " ".join(field.metadata["help"].split()) in text
