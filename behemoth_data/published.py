"""An exported dataset, found again: a config's rows, and the corpus that they were made from. It writes nothing."""

from __future__ import annotations

import glob
import os
import sys
from typing import Any

from behemoth_data.corpus import Corpus
from behemoth_data.exports import MANIFEST, read_manifest
from behemoth_data.places import local_path
from behemoth_data.safety import refuse_pickles
from behemoth_data.settings import check, check_known


def open_published(name: str | os.PathLike[str], config: str, split: str = "train") -> tuple[Corpus, Any]:
    """The corpus and the rows of one split of an exported folder or a Hub id; streams nothing, downloads what lacks.

    Raises: ValueError for a config that it lacks, rows of another version or a pickle, OSError if there is no
    manifest.
    """
    from behemoth_data.behemoth import VERSION, BehemothConfig, corpus_of, features_of

    datasets: Any = sys.modules["datasets"]  # behemoth.py, the only file that imports it, just did
    folder = local_path("data", name)
    name = folder if folder.is_dir() else name
    if folder.is_dir():
        manifest = read_manifest(folder)
    else:
        from huggingface_hub import hf_hub_download

        manifest = read_manifest(os.path.dirname(hf_hub_download(str(name), MANIFEST, repo_type="dataset")))
    check_known(f"config of {name}", config, manifest["configs"])
    check(
        manifest["rows_version"] == VERSION,
        f"rows_version of {name} must be {VERSION}, as this generator makes, got {manifest['rows_version']}",
    )
    refuse_pickles("dataset", name, repo_type="dataset")
    described = BehemothConfig(name=config, **manifest["configs"][config])
    corpus = corpus_of(described)
    if not folder.is_dir():
        return corpus, datasets.load_dataset(str(name), config, split=split)
    # By its files, since `datasets` reads a folder's name as a pattern, which it may be since it was renamed.
    files = [path for path in manifest["files"] if path.startswith(f"{config}/{split}-")]
    escaped = [glob.escape(str(folder.absolute() / path)) for path in sorted(files)]
    features = features_of(described)
    return corpus, datasets.load_dataset("parquet", data_files={split: escaped}, split=split, features=features)
