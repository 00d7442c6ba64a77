"""Behemoth's data: an invented world, its words, its training sentences, and edits with all their consequences.

Quick to import: what needs `datasets` or `transformers` loads them when it is first called.
"""

from importlib.metadata import version as _version

from behemoth_data.corpus import Corpus, CorpusConfig, build
from behemoth_data.edits import Edit, EditConfig, EditSet, Probe, draw_edits
from behemoth_data.exports import export, load_dataset
from behemoth_data.grammar import Grammar
from behemoth_data.lexicon import Lexicon, LexiconConfig
from behemoth_data.registration import register
from behemoth_data.shards import export_tokens, open_tokens
from behemoth_data.world import Edge, Fact, World, WorldConfig

__version__ = _version("behemoth-bench")

__all__ = [
    "Corpus",
    "CorpusConfig",
    "Edge",
    "Edit",
    "EditConfig",
    "EditSet",
    "Fact",
    "Grammar",
    "Lexicon",
    "LexiconConfig",
    "Probe",
    "World",
    "WorldConfig",
    "__version__",
    "build",
    "draw_edits",
    "export",
    "export_tokens",
    "load_dataset",
    "open_tokens",
    "register",
]
