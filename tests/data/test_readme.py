"""The package's README says what the package does: its examples are made again here."""

import re
from pathlib import Path

import numpy as np
import pytest

import behemoth_data
from behemoth_data import CorpusConfig, Edge, LexiconConfig, WorldConfig, build
from behemoth_data.forms import FORMS

README = (Path(behemoth_data.__file__).parent / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)` \| ([A-Z].*?) \| (.*?) \|$", README, flags=re.MULTILINE)


def test_every_form_has_its_examples_in_the_order_of_the_grammar():
    assert [form for form, _, _ in ROWS] == list(FORMS)


@pytest.mark.parametrize("surface", ["synthetic", "natural"])
def test_examples_are_what_the_grammar_says(surface):
    world = WorldConfig(num_subjects=1000, num_nested_objects=10)
    corpus = build(world, LexiconConfig(surface=surface), CorpusConfig(grammar="nonsense"))
    for form, synthetic, natural in ROWS:
        tails = corpus.answers(Edge.SUBJECT_OBJECT, form, np.array([0]), np.array([0]))
        tokens = corpus.grammar.tokens(Edge.SUBJECT_OBJECT, form, 0, 0, tails)[:, :-1]
        assert corpus.grammar.text(tokens)[0].as_py() == {"synthetic": synthetic, "natural": natural}[surface]
