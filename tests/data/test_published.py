"""An exported folder is found again as the corpus that it was made from, and its rows."""

import json

import pytest

from behemoth_data import build, export
from behemoth_data.corpus import CorpusConfig
from behemoth_data.exports import MANIFEST
from behemoth_data.published import open_published
from behemoth_data.world import WorldConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    sizes = {"num_subjects": 12, "num_relations": 2, "num_objects": 6, "num_nested_objects": 3, "repeats": 2}
    return export(tmp_path_factory.mktemp("data") / "behemoth", ["nested"], overrides=sizes, progress=False)


def test_corpus_and_rows_are_those_of_the_export(folder):
    corpus, rows = open_published(folder, "nested")
    world = WorldConfig(num_subjects=12, num_relations=2, num_objects=6, num_nested_objects=3)
    assert corpus.digest == build(world, None, CorpusConfig(repeats=2)).digest
    tokens = corpus.block(0, len(corpus))[:, :-1]
    assert rows["text"][:] == corpus.grammar.text(tokens).to_pylist()


def test_config_that_the_folder_lacks_is_refused(folder):
    with pytest.raises(ValueError, match="must be one of nested, got 'independent'"):
        open_published(folder, "independent")


def test_rows_of_another_version_are_refused(folder, tmp_path):
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    (tmp_path / MANIFEST).write_text(json.dumps({**manifest, "rows_version": "0.9.0"}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"rows_version of .* must be .*, as this generator makes, got 0\.9\.0"):
        open_published(tmp_path, "nested")
