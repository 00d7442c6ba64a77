"""behemoth bridge as a person calls it."""

import pytest

from behemoth_cli.bridge import NAMES
from behemoth_cli.console import main
from behemoth_editing.bridges import BRIDGES


def test_every_bridge_of_the_table_can_be_named():
    assert list(NAMES) == list(BRIDGES)


def test_the_folder_is_written_and_the_line_says_what_to_do_with_it(trained, tmp_path, capsys):
    words = [
        "--model",
        str(trained),
        "--scenario",
        "different",
        "--num_edits",
        "2",
        "--output_dir",
        str(tmp_path / "out"),
    ]
    main(["bridge", "counterfact", *words])
    assert capsys.readouterr().out.startswith(f"wrote {tmp_path / 'out'}: 2 records; put ")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["counterfact.json", "multi_counterfact.json"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["counterfat"], "bridge must be one of lm_eval, "),
        (["lm_eval", "--ask", "everything"], "ask must be one of facts, probes, got 'everything'"),
    ],
)
def test_a_wrong_word_is_one_line_and_nothing_is_written(words, said, trained, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["bridge", *words, "--model", str(trained), "--output_dir", str(tmp_path / "out")])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert said in line
    assert not (tmp_path / "out").exists()
