"""What is pulled from the Hub is never run, and is refused where it carries a pickle or another world."""

import json
import os
import pickle
import shutil
import subprocess
import sys

import pytest

PULLS = """
import json
from behemoth_data.published import open_published
from behemoth_editing.checkpoint import load_checkpoint

def said(load, *arguments, **options):
    try:
        load(*arguments, **options)
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "loaded"

print(json.dumps({
    "pickle": said(load_checkpoint, "bob/pickle"),
    "foreign": said(load_checkpoint, "bob/foreign"),
    "code": said(load_checkpoint, "bob/code"),
    "good": said(load_checkpoint, "bob/good"),
    "step": said(load_checkpoint, "bob/good", revision="step"),
    "no step": said(load_checkpoint, "bob/good", revision="step9"),
    "nothing": said(load_checkpoint, "bob/nothing"),
    "pickled rows": said(open_published, "bob/rows", "nested"),
    "rows": said(open_published, "bob/good-rows", "nested"),
}))
"""


class Evil:
    """Whoever unpickles it makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def rewrite(path, change):
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


@pytest.mark.slow
def test_pickles_code_and_foreign_worlds_are_refused_and_nothing_is_run(
    hub, publisher, other_token, run_folder, exported, tmp_path
):
    ran, api = tmp_path / "ran", publisher(other_token).api

    def upload(name, folder, change=lambda folder: None, repo_type="model"):
        copy = shutil.copytree(folder, tmp_path / name)
        change(copy)
        api.create_repo(f"bob/{name}", repo_type=repo_type)
        api.upload_folder(repo_id=f"bob/{name}", folder_path=copy, repo_type=repo_type)

    def add_code(folder):
        (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')", encoding="utf-8")
        rewrite(folder / "config.json", lambda data: data.update(auto_map={"AutoConfig": "evil.Config"}))

    foreign = {"facts": "0" * 16}
    upload("pickle", run_folder, lambda folder: (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(ran))))
    upload(
        "foreign",
        run_folder,
        lambda folder: rewrite(folder / "config.json", lambda data: data["behemoth"]["digests"].update(foreign)),
    )
    upload("code", run_folder, add_code)
    upload("good", run_folder)
    api.create_branch("bob/good", branch="step")
    upload("rows", exported, lambda folder: (folder / "rows.pkl").write_bytes(pickle.dumps(Evil(ran))), "dataset")
    upload("good-rows", exported, repo_type="dataset")

    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }

    def pull(**more):
        done = subprocess.run(
            [sys.executable, "-c", PULLS],
            cwd=tmp_path,
            env={**environment, **more},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    said = pull()
    assert "ValueError: model must hold no pickle" in said["pickle"]
    assert "with ['pytorch_model.bin']" in said["pickle"]
    assert "facts digest must be 0000000000000000, as when the model was trained" in said["foreign"]
    assert "model must need no code of its own" in said["code"]
    assert (said["good"], said["step"], said["rows"]) == ("loaded", "loaded", "loaded")
    assert "'bob/good' is no folder with a model, nor a Hub id that can be reached" in said["no step"]
    assert "'bob/nothing' is no folder with a model, nor a Hub id that can be reached" in said["nothing"]
    assert "ValueError: dataset must hold no pickle" in said["pickled rows"]
    assert not ran.exists()
    weights = [path for path in (tmp_path / "home").rglob("models--bob--pickle/**/*") if path.is_file()]
    assert {path.name for path in weights if path.parent.parent.name == "snapshots"} == {"config.json"}

    requests = len(hub.log)
    said = pull(HF_HUB_OFFLINE="1")
    assert (said["good"], said["step"], said["rows"]) == ("loaded", "loaded", "loaded")
    assert "'bob/nothing' is no folder with a model, nor a Hub id that can be reached" in said["nothing"]
    assert len(hub.log) == requests
