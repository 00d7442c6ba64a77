"""What a model is and what it is called: weights tell models apart, and names say nothing of anybody's machine."""

import pytest

from behemoth_editing.sweep.identity import model_names, model_of, precision_of, short_names, shown_place, shown_rows


def row(model, before=None, **more):
    return {"model": model, "weights": {"before": before or model}, "error": None, **more}


def test_model_is_its_weights_and_its_name_only_where_they_are_unknown():
    assert model_of(row("a/final", "1" * 16)) == "1" * 16
    assert model_of({"model": "a/final"}) == "a/final"


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (["runs/tiny"], ["tiny"]),
        (["lab/seed0/final", "lab/seed1/final", "lab/other"], ["seed0/final", "seed1/final", "other"]),
        (["/home/me/lab/seed0/final", "/home/me/lab/seed1/final"], ["seed0/final", "seed1/final"]),
        # More of the path would say whose machine it is, or is too long to be a name.
        (["/home/me/final", "/home/you/final"], ["final (0)", "final (1)"]),
        (["~/a/final", "~/b/final"], ["final (0)", "final (1)"]),
        (["a/0/x/final", "a/1/x/final"], ["final (0)", "final (1)"]),
        ([r"C:\Users\me\tiny", "/"], ["tiny", ""]),
    ],
)
def test_name_is_the_shortest_end_of_a_path_that_no_other_has(places, names):
    found = short_names({str(number): place for number, place in enumerate(places)}, str)
    assert [found[str(number)] for number in range(len(places))] == names


def test_models_of_one_folder_are_told_apart_by_their_digests():
    rows = [row("runs/tiny", "a" * 16), row("runs/tiny", "b" * 16), row("runs/tiny", "a" * 16)]
    assert model_names(rows) == {"a" * 16: "tiny (aaaaaaaa)", "b" * 16: "tiny (bbbbbbbb)"}


def test_one_model_in_two_folders_has_one_name():
    rows = shown_rows([row("runs/tiny", "a" * 16), row("/data/copy", "a" * 16)])
    assert [found["model"] for found in rows] == ["tiny", "tiny"]


def test_hub_id_stays_whole():
    assert model_names([row("alice/tiny", "a", hub_id="alice/tiny"), row("runs/tiny", "b")]) == {
        "a": "alice/tiny",
        "b": "tiny",
    }


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("no file '/home/me/a b/x.json'", "no file 'x.json'"),
        ('open "~/x/y"', 'open "y"'),
        ("edit '--output_dir=/Users/John Smith/res'", "edit '--output_dir=res'"),
        ("edit --output_dir=/Users/john/res", "edit --output_dir=res"),
        ("at /home/me/x.json: bad", "at x.json: bad"),
        ("file:///home/me/x.json", "x.json"),
        ("see https://huggingface.co/docs/hub/x.html", "see https://huggingface.co/docs/hub/x.html"),
        ("ratio 1/2, and/or n/a; 3 / 4", "ratio 1/2, and/or n/a; 3 / 4"),
        ("alice/behemoth-pythia-31m", "alice/behemoth-pythia-31m"),
        ("results/mine/config.json is missing", "config.json is missing"),
        ("../secret/place", "place"),
        (r"C:\Users\me\x.json", "x.json"),
        ("OSError:/home/me/x", "OSError:x"),
        ("[/home/me/x, /home/me/y]", "[x, y]"),
        ("runs/tiny/model.safetensors", "model.safetensors"),
        ("model runs/tiny knows it", "model tiny knows it"),
    ],
)
def test_words_keep_everything_but_paths(said, shown):
    (found,) = shown_rows([row("runs/tiny", error=said)])
    assert found["error"] == shown


def test_different_paths_in_settings_stay_different():
    rows = [row("m", settings={"vectors": f"/home/{who}/v.parquet"}) for who in ("me", "you")]
    one, other = (found["settings"]["vectors"] for found in shown_rows(rows))
    assert one != other
    assert one.startswith("v.parquet (")


def test_rows_that_may_be_shown_stay_as_they_are():
    rows = shown_rows([row("lab/a/final", "1" * 16), row("lab/b/final", "2" * 16, error="no /x/y.json")])
    assert shown_rows(rows) == rows


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("results/demo", "results/demo"),
        ("/home/me/results/demo", "demo"),
        ("../demo", "demo"),
        ("~/demo", "demo"),
        (".", "."),
    ],
)
def test_commands_name_folders_below_the_working_directory_only(place, shown):
    assert shown_place(place) == shown


@pytest.mark.parametrize(
    ("found", "precision"),
    [
        ({"precision": "bf16", "details": [{"precision": "fp32"}]}, "bf16"),
        ({"precision": None, "details": [{"precision": "fp32"}, {"precision": "fp32"}]}, "fp32"),
        ({"details": [{"precision": "bf16"}, {"precision": "fp32"}]}, "bf16+fp32"),
        ({"details": [{"loss": 1.0}, "words"]}, None),
        ({"details": None}, None),
    ],
)
def test_precision_is_what_the_row_says_or_its_details(found, precision):
    assert precision_of(found) == precision
