"""What names say pickle, and that folders with one are refused."""

from types import SimpleNamespace

import pytest
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

from behemoth_data.safety import PICKLES, pickles_among, refuse_pickles


@pytest.mark.parametrize("suffix", PICKLES)
def test_names_that_say_pickle_are_found_anywhere_in_a_folder(tmp_path, suffix):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / f"x{suffix.upper()}").write_bytes(b"")
    with pytest.raises(ValueError, match=rf"model must hold no pickle, .* with \['below/x\{suffix.upper()}'\]"):
        refuse_pickles("model", tmp_path, repo_type="model")


def test_safe_names_are_no_pickles():
    assert pickles_among(["model.safetensors", "rows.parquet", "bin/a.json", "pkl"]) == []


def listing(monkeypatch, answer):
    """The Hub lists these names, or fails in this way."""

    def names(self, place, **options):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", names)


def test_pickle_in_a_repository_is_refused(monkeypatch):
    listing(monkeypatch, ["config.json", "pytorch_model.bin"])
    with pytest.raises(ValueError, match=r"model must hold no pickle, .* got 'bob/model' with \['pytorch_model.bin'\]"):
        refuse_pickles("model", "bob/model", repo_type="model")


@pytest.mark.parametrize(
    "error", [OfflineModeIsEnabled("offline"), HTTPError("no connection"), OSError("Max retries exceeded")]
)
def test_repository_passes_without_a_connection(monkeypatch, error):
    listing(monkeypatch, error)
    refuse_pickles("model", "bob/model", repo_type="model")


def test_repository_that_the_hub_will_not_list_does_not_pass(monkeypatch):
    response = SimpleNamespace(headers={}, request=None, status_code=500)
    listing(monkeypatch, HfHubHTTPError("the Hub fails", response=response))
    with pytest.raises(OSError, match="the Hub fails"):
        refuse_pickles("model", "bob/model", repo_type="model")
