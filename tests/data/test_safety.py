"""What names say pickle, and that folders with one are refused."""

import pytest

from behemoth_data.safety import PICKLES, pickles_among, refuse_pickles


@pytest.mark.parametrize("suffix", PICKLES)
def test_names_that_say_pickle_are_found_anywhere_in_a_folder(tmp_path, suffix):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / f"x{suffix.upper()}").write_bytes(b"")
    with pytest.raises(ValueError, match=rf"model must hold no pickle, .* with \['below/x\{suffix.upper()}'\]"):
        refuse_pickles("model", tmp_path, repo_type="model")


def test_safe_names_are_no_pickles():
    assert pickles_among(["model.safetensors", "rows.parquet", "bin/a.json", "pkl"]) == []
