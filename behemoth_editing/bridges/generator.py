"""The layout of the paper's own generator, written: texts, graph, tokenizer, validation and fine-tuning files.

Its words are numbers of four digits. Here they are our token ids, so that a text of this layout, read by the tokenizer
that lies beside it, has the very ids that our models are trained on. Its pickles, copies of text files, are left out.
Source: IST-DASLab/behemoth at 4bf6d13, the code of Iofinova and Alistarh, arXiv 2601.23153: create_data.py,
create_finetuning_data.py, graph_utils.py, tokenization_utils.py, phrase_creation_utils.py. Reading is in
generator_reading.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from behemoth_data.corpus import INVERTED, Corpus
from behemoth_data.edits import EditSet
from behemoth_data.grammar import Query
from behemoth_data.lexicon import END, PADDING, UNKNOWN, Role
from behemoth_data.settings import check
from behemoth_data.world import Edge, Fact
from behemoth_editing.bridges.order import Order, grouped, put_text, write_json, write_lines

SENTENCES = 100_000  # of a file of texts
MARKERS = ("SS", "RR", "OO", "QQ", "AA", ".", END, PADDING, UNKNOWN)  # the words that are no numbers
GRAMMARS = {"statement": "inverted", "repeats": "simplerepeats", "nonsense": "nonsense"}
TABLES = {  # what a table's files begin with, in a nested world
    Edge.SUBJECT_OBJECT: "subject_object_",
    Edge.SUBJECT_NESTED: "subject_nested_object_",
    Edge.OBJECT_NESTED: "object_nested_object_",
}
ROLES = {
    "subjects": Role.SUBJECT,
    "relationships": Role.RELATION,
    "objects": Role.OBJECT,
    "subject_nested_relationships": Role.SUBJECT_NESTED_RELATION,
    "object_nested_relationships": Role.OBJECT_NESTED_RELATION,
    "object_nested_objects": Role.NESTED,
}
RETAINED = {"same_old_object": "with_same_value", "same_relation": "with_same_rel", "unrelated": "reg_data"}
ASKED = {**RETAINED, "same_subject": "same_edges_diff_rel", "implicit": "implicitly_remapped_edges"}


class Words:
    """The tokens of a vocabulary as this layout writes them: markers as they are, all else by number."""

    def __init__(self, corpus: Corpus) -> None:
        named = corpus.grammar.lexicon.token_ids
        self.written = {number: word if word in MARKERS else f"{number:04}" for word, number in named.items()}

    def said(self, ids: Iterable[int]) -> str:
        """The text of these tokens, which begins with a space; a full stop and what follows have none before them."""
        words = (self.written[number] for number in ids if self.written[number] != PADDING)
        return "".join(word if word in (".", END) else f" {word}" for word in words)

    def pair(self, query: Query) -> tuple[str, str]:
        """A prompt and its answer."""
        return self.said(query.prompt_ids), self.said(query.answer_ids)


def graph_lines(corpus: Corpus) -> list[str]:
    """metadata/relationship_graph.txt, subject by subject: subject, relation, object, second object, nested object."""
    world, config = corpus.world, corpus.world.config
    subjects = np.arange(config.num_subjects)
    relations = []
    for relation in range(config.num_relations):
        objects = world.objects(subjects, relation)
        second = world.dissenting_objects(subjects, relation)
        nested = world.nested(objects, relation) if config.num_nested_objects else np.full_like(objects, -1)
        rows = np.stack([subjects, np.full_like(subjects, relation), objects, second, nested], axis=1).tolist()
        relations.append([" ".join("None" if value < 0 else str(value) for value in row) for row in rows])
    return [line for of_subject in zip(*relations, strict=True) for line in of_subject]


def remappings(corpus: Corpus) -> dict[str, Any]:
    """metadata/remappings_map.json: for every id of each role its word's tokens, relation by relation."""
    lexicon, config = corpus.grammar.lexicon, corpus.world.config
    counts = {
        Role.SUBJECT: config.num_subjects,
        Role.OBJECT: config.num_objects,
        Role.NESTED: config.num_nested_objects,
    }
    found: dict[str, Any] = {
        "special_vocab": {word: lexicon.token_ids[word] for word in MARKERS if word in lexicon.token_ids}
    }
    for name, role in ROLES.items():
        if config.num_nested_objects or role in (Role.SUBJECT, Role.RELATION, Role.OBJECT):
            ids = np.arange(counts.get(role, config.num_relations))
            groups = range(config.num_relations) if role in (Role.OBJECT, Role.NESTED) else (0,)
            found[name] = [word for group in groups for word in lexicon.encode(role, ids, group).tolist()]
    return found


def special_tokens(corpus: Corpus) -> dict[str, str]:
    """metadata/other_special_tokens.json: the grammar's own words. W10, which no sentence has, is the next free one."""
    named = corpus.grammar.lexicon.token_ids
    words = {f"W{number}": f"W{number}" for number in range(10)}
    words |= {f"WQ{number}": f"Q{number}" for number in range(1, 5)}
    return {name: f"{named[word]:04}" for name, word in words.items()} | {"W10": f"{len(named):04}"}


def arguments(corpus: Corpus, shards: int) -> dict[str, Any]:
    """metadata/args.json: what the generator would have been called with."""
    world, config = corpus.world.config, corpus.config
    return {
        "subjects": world.num_subjects,
        "relationships": world.num_relations,
        "objects": world.num_objects,
        "repeats": config.repeats,
        "shards": shards,
        "shuffle": True,
        "output_dir": None,
        "graph_path": None,
        "validation_data_only": False,
        "write_graph_only": False,
        "inversion_frac": config.inversion_fraction,
        "minority_position_entity_frac": world.minority_fraction,
        "minority_position_frac": config.minority_share,
        "phrase_creator": GRAMMARS[config.grammar],
        "questions_entity_frac": config.question_subject_fraction,
        "questions_frac": config.question_fraction,
        "correlated_pair": world.correlation is not None,
        "correlation_strength": world.correlation or 1.0,
        "binarize_first_correlated": world.binary_first,
        "num_nested_objects": world.num_nested_objects,
        "obj_nested_obj_edges_upweight": config.object_nested_upweight,
    }


def tokenizer(words: Words) -> PreTrainedTokenizerFast:
    """What reads these texts into our token ids."""
    core = Tokenizer(models.WordLevel({word: number for number, word in words.written.items()}, unk_token=UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(".", "isolated")]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core, bos_token=END, eos_token=END, pad_token=PADDING, unk_token=UNKNOWN
    )


def write_world(corpus: Corpus, folder: Path) -> int:
    """data/, metadata/ and validations/ of the world; returned is how many sentences there are.

    Raises: ValueError for a corpus of natural words, which no number stands for, or of another grammar than statements.
    """
    lexicon, grammar = corpus.grammar.lexicon, corpus.config.grammar
    check(lexicon.config.surface == "synthetic", f"surface must be synthetic, got {lexicon.config.surface}")
    check(grammar == "statement", f"grammar must be statement, the one of fixed words, got {grammar}")
    words, metadata = Words(corpus), folder / "metadata"
    shards = range(0, len(corpus), SENTENCES)
    for number, start in enumerate(shards):
        block = corpus.block(start, min(start + SENTENCES, len(corpus))).tolist()
        put_text(folder / "data" / f"full_text_{number}.txt", "".join(map(words.said, block)))
    for edge, form in itertools.product(corpus.world.edges, (grammar, INVERTED[grammar])):
        facts = [Fact(edge, *ids) for ids in np.stack(corpus.world.facts(edge), axis=1).tolist()]
        name = f"{TABLES[edge] if len(corpus.world.edges) > 1 else ''}{'sro' if form == grammar else 'rso'}.txt"
        _write_pairs(folder / "validations" / name, map(words.pair, corpus.grammar.queries(facts, form)))
    put_text(metadata / "relationship_graph.txt", "".join(f"{line}\n" for line in graph_lines(corpus)))
    write_json(metadata / "remappings_map.json", remappings(corpus))
    write_json(metadata / "other_special_tokens.json", special_tokens(corpus))
    write_json(metadata / "args.json", arguments(corpus, len(shards)))
    write_json(
        metadata / "metadata.json",
        {"graph_size": corpus.world.num_facts(Edge.SUBJECT_OBJECT), "vocab_size": len(words.written) + 2},
    )
    tokenizer(words).save_pretrained(metadata)
    return len(corpus)


def write_edits(edit_set: EditSet, folder: Path) -> None:
    """A folder of fine-tuning files: what is trained on as instruction and output, and what is asked, with its prompts.

    What stands in its finetuning_data/train.jsonl is our training mixture, each edited fact as often as there.
    """
    words = Words(edit_set.corpus)
    taught = {"edited" if not edit_set.config.whole else "censored": list(edit_set.requests) * edit_set.edited_repeats}
    taught |= {RETAINED.get(kind, kind): list(queries) for kind, queries in edit_set.retain.items()}
    rows = {kind: [_instruction(*words.pair(query)) for query in queries] for kind, queries in taught.items()}
    for kind, of_kind in rows.items():
        write_lines(folder / "finetuning_data" / f"{kind}_sro.jsonl", of_kind)
    for name in ("train", "test", "val"):  # alike, as the generator writes them
        write_lines(folder / "finetuning_data" / f"{name}.jsonl", itertools.chain(*rows.values()))
    for (kind, form), probes in grouped(edit_set.probes).items():
        name = f"{ASKED.get(kind, kind)}_{'sro' if form == edit_set.corpus.forms[0] else form}.txt"
        _write_pairs(folder / "ft_validations" / name, (words.pair(probe.after) for probe in probes))


def _instruction(prompt: str, answer: str) -> dict[str, str]:
    return {"instruction": prompt, "input": "", "output": answer}


def _write_pairs(path: Path, pairs: Iterable[tuple[str, str]]) -> None:
    put_text(path, "".join(f"{prompt}\t{answer}\n" for prompt, answer in pairs))


def write(order: Order, folder: Path, place: Path) -> str:
    """The world, and beside it a folder of fine-tuning files for each edit set of the draw."""
    sentences = write_world(order.corpus, folder)
    sets = order.edit_sets()
    for number, edit_set in enumerate(sets):
        repeats = "" if edit_set.config.whole else f"_{edit_set.edited_repeats}overriderepeats"
        name = f"ftremapping_{len(edit_set.edits)}overrides{repeats}"
        write_edits(edit_set, folder / (f"{name}_{number}" if len(sets) > 1 else name))
    return f"{sentences} sentences and {len(sets)} edit sets; create_finetuning_data.py -g {place} reads the graph"
