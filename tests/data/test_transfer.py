"""Facts about questions over two steps, about candidates, and negated: read from their texts, decided by dictionaries.

Statistical tests have an error rate of one in a million; their seeds are fixed.
"""

import dataclasses
import functools
import itertools
import json
import re
from collections import Counter

import numpy as np
import pytest
from scipy.stats import binom, chi2

from behemoth_data.corpus import Corpus, CorpusConfig, build
from behemoth_data.description import from_description
from behemoth_data.edits import EditConfig, draw_edits
from behemoth_data.forms import FORMS, names_of
from behemoth_data.kinds import KINDS, TRANSFER_KINDS
from behemoth_data.lexicon import LexiconConfig, Role
from behemoth_data.rows import splits
from behemoth_data.settings import digest
from behemoth_data.tables import fact_table, sentence_table
from behemoth_data.world import Edge, Fact, World, WorldConfig

ERROR_RATE = 1e-6
SO, SN, ON = Edge.SUBJECT_OBJECT, Edge.SUBJECT_NESTED, Edge.OBJECT_NESTED
SIZES = {"num_subjects": 40, "num_relations": 3, "num_objects": 12}
STRUCTURES = {
    "independent": {},
    "dissent": {"minority_fraction": 0.5},
    "correlated": {"correlation": 0.8},
    "binary": {"correlation": 0.8, "binary_first": True},
    "nested": {"num_nested_objects": 4},
    "correlated_nested": {"correlation": 0.8, "num_nested_objects": 4},
}
SURFACES = ("synthetic", "natural")
YES_NO = ("affirmed_true", "affirmed_false", "denied_true", "denied_false")
TRANSFER = ("two_step", *YES_NO)
QUESTIONS = ("question", *TRANSFER)
ROLES = {
    SO: (Role.SUBJECT, Role.RELATION, Role.OBJECT),
    SN: (Role.SUBJECT, Role.SUBJECT_NESTED_RELATION, Role.NESTED),
    ON: (Role.OBJECT, Role.OBJECT_NESTED_RELATION, Role.NESTED),
}
TWO_STEP = {
    "synthetic": r"QQ Q1 RR (?P<q>\w+) Q2 RR (?P<r>\w+) Q2 SS (?P<s>\w+) Q3 Q4 AA OO(?: (?P<o>\w+) \.)?",
    "natural": r"Question: What is the (?P<q>\w+) of the (?P<r>\w+) of (?P<s>\w+ \w+)\? Answer:(?: (?P<o>\w+)\.)?",
}
CANDIDATE = {
    "synthetic": (
        r"QQ Q5 RR (?P<r>\w+) Q2 SS (?P<s>\w+)(?P<not> N1)? OO (?P<o>\w+) Q3 Q4 AA(?: (?P<answer>YES|NO) \.)?"
    ),
    "natural": (
        r"Question: Is the (?P<r>\w+) of (?P<s>\w+?(?: \w+)??)(?P<not> not)? (?P<o>\w+)\? "
        r"Answer:(?: (?P<answer>Yes|No)\.)?"
    ),
}
structures = pytest.mark.parametrize("structure", STRUCTURES)


def make(structure, surface="synthetic", world=(), **fields):
    config = {"repeats": 30, "question_fraction": 0.4, "question_forms": QUESTIONS, **fields}
    return build(
        WorldConfig(**{**SIZES, **STRUCTURES[structure], **dict(world)}),
        LexiconConfig(surface=surface),
        CorpusConfig(**config),
    )


corpus_of = functools.cache(make)


def tables_of(world):
    """The tables as dictionaries from (head, relation) to the tail."""
    found = {}
    for edge in world.edges:
        heads, relations, tails = (column.tolist() for column in world.facts(edge))
        found[edge] = dict(zip(zip(heads, relations, strict=True), tails, strict=True))
    return found


def tables_after(world, edits):
    """The tables after the edits: a subject's nested object is stated, or that of its object."""
    tables, stated = tables_of(world), {}
    for edit in edits:
        table = stated if edit.fact.edge is SN else tables[edit.fact.edge]
        table[edit.fact.head, edit.fact.relation] = edit.new_tail
    if SN in tables:
        tables[SN] = {(s, r): stated.get((s, r), tables[ON][object, r]) for (s, r), object in tables[SO].items()}
    return tables


def meanings_of(corpus):
    """What every word of the world stands for: role, relation where roles have words in each, and id."""
    world, lexicon, found = corpus.world.config, corpus.grammar.lexicon, {}
    nested = world.num_relations if world.num_nested_objects else 0
    sizes = [world.num_subjects, world.num_relations, nested, nested, world.num_objects, world.num_nested_objects]
    for role, size in zip(Role, sizes, strict=True):
        for group in range(world.num_relations if role in (Role.OBJECT, Role.NESTED) else 1):
            for id in range(size):
                found[lexicon.word(role, id, group)] = role, group, id
    return found


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a question says: over two steps, or about a candidate; the answer is None in a prompt."""

    edge: Edge
    head: int
    relation: int
    candidate: int | None
    negated: bool
    answer: int | bool | None  # a nested object; yes

    def right(self, tables, seconds=()):
        """The right answer by the tables; `seconds` are objects that dissenting sentences take for the truth."""
        if self.candidate is None:
            return tables[ON][tables[SO][self.head, self.relation], self.relation]
        true = self.candidate == tables[self.edge][self.head, self.relation] or self.candidate in seconds
        return true != self.negated


def read(text, surface, meanings):
    """What a text of one of the forms says; None for another one."""
    found = re.fullmatch(TWO_STEP[surface], text)
    if found:
        (q, _, first), (r, _, second), (s, _, head) = (meanings[found[name]] for name in "qrs")
        assert (q, r, s) == (Role.OBJECT_NESTED_RELATION, Role.RELATION, Role.SUBJECT)
        assert first == second
        if found["o"] is None:
            return Asked(SO, head, second, None, False, None)
        role, group, answer = meanings[found["o"]]
        assert (role, group) == (Role.NESTED, second)
        return Asked(SO, head, second, None, False, answer)
    found = re.fullmatch(CANDIDATE[surface], text)
    if not found:
        return None
    (r, _, relation), (s, group, head), (o, other, tail) = (meanings[found[name]] for name in "rso")
    (edge,) = (edge for edge, roles in ROLES.items() if roles == (s, r, o))
    assert other == relation
    assert s is Role.SUBJECT or group == relation
    answer = None if found["answer"] is None else found["answer"].lower() == "yes"
    return Asked(edge, head, relation, tail, found["not"] is not None, answer)


def by_chance(count, total, probability):
    low, high = binom.interval(1 - ERROR_RATE, total, probability)
    return low <= count <= high


# what sentences say


@structures
@pytest.mark.parametrize("surface", SURFACES)
def test_every_question_in_the_corpus_is_true_by_the_dictionaries(structure, surface):
    corpus = corpus_of(structure, surface)
    tables, meanings, world = tables_of(corpus.world), meanings_of(corpus), corpus.world
    seen = Counter()
    for row in sentence_table(corpus, 0, len(corpus)).to_pylist():
        said = read(row["text"], surface, meanings)
        assert (said is not None) == (row["form"] in TRANSFER)
        if said is None:
            continue
        second = int(world.dissenting_objects(said.head, said.relation)) if said.edge is SO else -1
        true, form = tables[said.edge][said.head, said.relation], row["form"]
        assert (said.edge, said.head, said.relation) == (Edge(row["edge"]), row["subject"], row["relation"])
        if form == "two_step":
            assert said.answer == said.right(tables) == row["object"]
        else:
            assert said.answer == said.right(tables, [second] if form.endswith("_true") else [])
            assert said.candidate == row["object"]
            assert said.negated == form.startswith("denied")
            assert (said.candidate in (true, second)) == form.endswith("_true")
        assert row["text"].startswith(f"{row['prompt']} {row['answer']}")
        assert read(row["prompt"], surface, meanings) == dataclasses.replace(said, answer=None)
        seen[form, said.edge] += 1
    edges = corpus.world.edges
    assert set(seen) == {*itertools.product(YES_NO, edges), *([("two_step", SO)] if ON in edges else [])}


@pytest.mark.parametrize("structure", ["independent", "dissent", "nested"])
def test_text_of_a_corpus_is_its_tokens(structure):
    corpus = corpus_of(structure)
    lexicon = corpus.grammar.lexicon
    texts = sentence_table(corpus, 0, 2000)["text"].to_pylist()
    for text, row in zip(texts, make(structure).block(0, 2000).tolist(), strict=True):
        words = [lexicon.vocabulary[token] for token in row]
        assert text.split() == words[: words.index("<|endoftext|>")]


@structures
def test_true_and_false_candidates_have_one_prompt_but_for_the_candidate(structure):
    corpus = corpus_of(structure)
    for polarity in ("affirmed", "denied"):
        true, false = (fact_table(corpus, SO, f"{polarity}_{truth}").to_pylist() for truth in ("true", "false"))
        for one, other in zip(true, false, strict=True):
            assert one["object_word"] != other["object_word"]
            assert one["prompt"].replace(f" {one['object_word']} ", f" {other['object_word']} ") == other["prompt"]
            assert {one["answer"], other["answer"]} == {"YES", "NO"}


@pytest.mark.parametrize("rule", ["always yes", "always no", "deaf to not"])
def test_model_that_ignores_the_fact_or_the_negation_is_right_by_chance(rule):
    corpus = corpus_of("nested")
    tables, meanings, right = tables_of(corpus.world), meanings_of(corpus), []
    for form in YES_NO:
        for row in fact_table(corpus, SO, form).to_pylist():
            said = read(row["text"], "synthetic", meanings)
            deaf = dataclasses.replace(said, negated=False).right(tables)
            right.append({"always yes": True, "always no": False, "deaf to not": deaf}[rule] == said.answer)
    assert np.mean(right) == 0.5


# candidates


@structures
@pytest.mark.parametrize("seed", range(3))
def test_false_candidate_is_neither_the_truth_nor_a_dissenting_object_before_and_after_edits(structure, seed):
    world = World(WorldConfig(**{**SIZES, **STRUCTURES[structure], "seed": seed}))
    changed = [Fact(SO, head, 1, (int(world.objects(head, 1)) + 1) % 12) for head in range(20)]
    for here in (world, world.after(changed)):
        for edge in here.edges:
            heads, relations, tails = here.facts(edge)
            found = here.others(edge, heads, relations)
            for head, relation, true, other in zip(
                *(column.tolist() for column in (heads, relations, tails, found)), strict=True
            ):
                second = int(here.dissenting_objects(head, relation)) if edge is SO else -1
                assert other not in (true, second)
                assert 0 <= other < here.num_tails(edge, relation)
                assert other == int(here.others(edge, head, relation))


@pytest.mark.parametrize("dissent", [0.0, 1.0])
def test_every_other_object_is_a_candidate_equally_often(dissent):
    world = World(WorldConfig(num_subjects=30_000, num_relations=1, num_objects=5, minority_fraction=dissent))
    heads = np.arange(30_000)
    true, second = world.objects(heads, 0), world.dissenting_objects(heads, 0)
    found = world.others(SO, heads, 0)
    for object, other in itertools.product(range(5), [-1] if dissent == 0 else range(5)):
        if object == other:
            continue
        counts = np.bincount(found[(true == object) & (second == other)], minlength=5)
        counts = np.delete(counts, [object] if other < 0 else [object, other])
        expected = counts.sum() / len(counts)
        assert ((counts - expected) ** 2 / expected).sum() < chi2.isf(ERROR_RATE, len(counts) - 1)


def test_candidate_stays_when_the_world_grows():
    small, large = (World(WorldConfig(num_subjects=n, num_relations=r)) for n, r in ((50, 2), (500, 4)))
    assert small.others(SO, np.arange(50), 1).tolist() == large.others(SO, np.arange(50), 1).tolist()


def test_world_without_a_false_candidate_is_refused():
    world = {"num_objects": 2, "minority_fraction": 0.5}
    message = "num_objects must be at least 3 with minority_fraction for question_forms"
    with pytest.raises(ValueError, match=message):
        make("independent", world=tuple(world.items()), question_forms=("denied_true", "denied_false"))
    with pytest.raises(ValueError, match="num_objects must be at least 3 so that an object is neither"):
        World(WorldConfig(**{**SIZES, **world})).others(SO, np.arange(40), 0)
    assert make("independent", world=tuple(world.items()), question_forms=("question",))


# which heads, and how often


@structures
@pytest.mark.parametrize("forms", [QUESTIONS, TRANSFER, ("two_step", "question"), ("denied_true",)])
def test_share_of_the_heads_is_asked_and_the_rest_never_in_the_whole_corpus(structure, forms):
    corpus = make(structure, question_forms=forms, question_fraction=0.2, question_subject_fraction=0.3)
    heads = {edge: set() for edge in corpus.world.edges}
    for row in sentence_table(corpus, 0, len(corpus)).to_pylist():
        if row["form"] in forms:
            heads[Edge(row["edge"])].add(row["subject"])
    for edge, asked in heads.items():
        expected = {SO: 12, SN: 12, ON: 4}[edge]
        assert len(asked) == corpus.num_asked(edge) == expected
        assert set(np.flatnonzero(corpus.asked(edge, np.arange(corpus.world.num_heads(edge)))).tolist()) == asked


@pytest.mark.parametrize("structure", ["independent", "nested"])
def test_questions_are_equally_often_in_each_form_that_their_table_has(structure):
    corpus = make(structure, world=(("num_subjects", 1000), ("num_objects", 200)), repeats=6)
    said = corpus.sentences(np.arange(len(corpus)))
    for edge in corpus.world.edges:
        forms = [form for form in QUESTIONS if form != "two_step" or (edge is SO and structure == "nested")]
        rows = said.forms[said.edges == edge]
        counts = Counter(corpus.forms[form] for form in rows.tolist())
        assert {form for form in counts if form in QUESTIONS} == set(forms)
        assert by_chance(sum(counts[form] for form in forms), len(rows) // 2, 2 * 0.4)
        assert all(by_chance(counts[form], len(rows) // 2, 2 * 0.4 / len(forms)) for form in forms)


def test_question_forms_decide_no_more_than_which_form_a_question_is_in():
    one, many = make("nested", question_forms=("question",)), corpus_of("nested")
    places = np.arange(len(one))
    first, second = one.sentences(places), many.sentences(places)
    assert first.heads.tolist() == second.heads.tolist()
    assert first.relations.tolist() == second.relations.tolist()
    assert first.edges.tolist() == second.edges.tolist()
    asks = [[corpus.forms[form] in QUESTIONS for form in said.forms] for corpus, said in ((one, first), (many, second))]
    assert asks[0] == asks[1]


def test_table_that_has_none_of_the_forms_has_no_questions():
    corpus = make("nested", question_forms=("two_step",))
    said = corpus.sentences(np.arange(len(corpus)))
    forms = np.array(corpus.forms)[said.forms]
    assert set(said.edges[forms == "two_step"].tolist()) == {SO}
    assert [corpus.num_asked(edge) for edge in Edge] == [20, 0, 0]


def test_world_that_has_none_of_the_forms_is_refused():
    with pytest.raises(ValueError, match=r"^question_forms must have a form .* num_nested_objects = 0, got \('two_"):
        make("independent", question_forms=("two_step",))
    assert make("independent", question_forms=("two_step",), question_fraction=0.0)


@pytest.mark.parametrize(
    ("forms", "message"),
    [
        ((), "question_forms must name a form, got ()"),
        (("question", "question"), "question_forms must name each form once, got ('question', 'question')"),
        (("rso",), f"question_forms must be one of {', '.join(QUESTIONS)}, got 'rso'"),
        (("new_question",), f"question_forms must be one of {', '.join(QUESTIONS)}, got 'new_question'"),
    ],
)
def test_bad_forms_are_refused(forms, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        CorpusConfig(question_forms=forms)


# blocks, rows and descriptions


@structures
def test_served_corpus_blocks_and_parts_are_alike(structure):
    corpus, fresh = make(structure, repeats=3), make(structure, repeats=3)
    for _ in range(corpus.num_distinct // len(corpus) + 1):
        whole = corpus.block(0, len(corpus))
    cuts = [*range(0, len(fresh), 50), len(fresh)]
    assert np.array_equal(np.concatenate([fresh.block(*cut) for cut in itertools.pairwise(cuts)]), whole)
    assert np.array_equal(corpus.tokens(np.arange(len(corpus))[::-1]), whole[::-1])
    numbers = corpus.numbers(np.arange(len(corpus)))
    assert numbers.max() < corpus.num_distinct
    known = corpus.distinct(np.arange(corpus.num_distinct))
    assert np.array_equal(known[numbers], whole)
    said, again = corpus.said(numbers), corpus.sentences(np.arange(len(corpus)))
    assert all(np.array_equal(getattr(said, f.name), getattr(again, f.name)) for f in dataclasses.fields(said))


@pytest.mark.parametrize("surface", SURFACES)
def test_description_describes_the_same_corpus(surface):
    corpus = make("nested", surface)
    description = json.loads(json.dumps(corpus.description()))
    assert description["corpus"]["question_forms"] == list(QUESTIONS)
    again = from_description(description)
    assert again.digest == corpus.digest
    assert np.array_equal(again.block(0, 500), corpus.block(0, 500))


def test_splits_ask_about_taught_and_other_heads_in_the_forms_that_are_taught():
    corpus = corpus_of("nested")
    found = splits(corpus)
    for split, asked in (("validation", True), ("test", False)):
        rows = [row for table in found[split].tables(0, found[split].units) for row in table.to_pylist()]
        rows = [row for row in rows if row["form"] not in ("statement", "rso")]
        counts = Counter((row["form"], row["edge"]) for row in rows)
        heads = {SO: 20, SN: 20, ON: 6}
        forms = (*names_of("question"), *TRANSFER)
        pairs = [(form, edge) for form in forms for edge in FORMS[form].asked_in(corpus.world)]
        assert counts == {(form, int(edge)): 3 * heads[edge] for form, edge in pairs}
        assert all(corpus.asked(Edge(row["edge"]), row["subject"]) == asked for row in rows)


# nothing that there was is another


def test_settings_that_came_later_are_told_only_where_they_are_set():
    corpus = build(WorldConfig(**SIZES))
    assert "question_forms" not in corpus.description()["corpus"]
    older = {name: value for name, value in dataclasses.asdict(corpus.config).items() if name != "question_forms"}
    assert digest(corpus.config) == digest(older)
    assert digest(CorpusConfig(question_forms=["question"])) == digest(older) != digest(CorpusConfig(repeats=15))
    later = ("transfer", "score_at")
    drawn = {name: value for name, value in dataclasses.asdict(EditConfig()).items() if name not in later}
    assert digest(EditConfig()) == digest(drawn) != digest(EditConfig(transfer=True))
    assert digest(EditConfig(score_at=[1, 3])) == digest(EditConfig(score_at=(1, 3))) != digest(drawn)


def test_digests_are_those_of_the_version_before():
    assert build(WorldConfig()).digest == "f9d37483bd3d4c3e"
    asking = CorpusConfig(question_fraction=0.2)
    assert build(WorldConfig(num_nested_objects=10), None, asking).digest == "4e74cbc08873ca91"
    assert digest(EditConfig()) == "2b264e9bf6d1ec30"


@pytest.mark.parametrize("surface", SURFACES)
def test_description_from_before_is_of_the_same_corpus_and_its_vocabulary_is_asked_in_its_own_words(surface):
    corpus = build(WorldConfig(**SIZES, num_nested_objects=4), LexiconConfig(surface=surface))
    description = json.loads(json.dumps(corpus.description()))
    new = {"synthetic": ("Q5", "YES", "NO", "N1"), "natural": ("Is", "Yes", "No")}[surface]
    assert corpus.grammar.lexicon.vocabulary[-len(new) :] == new
    vocabulary = corpus.grammar.lexicon.vocabulary[: -len(new)]
    description["num_tokens"] = len(vocabulary)
    description["digests"]["vocabulary"] = digest(vocabulary)
    older = from_description(description)
    assert older.digest == corpus.digest
    assert np.array_equal(older.block(0, len(older)), corpus.block(0, len(corpus)))
    fact, nested = Fact(SO, 3, 1, 2), int(older.answers(SO, "two_step", np.array([3]), np.array([1]))[0])
    assert older.grammar.query(fact, "two_step", nested) == corpus.grammar.query(fact, "two_step", nested)
    with pytest.raises(ValueError, match="form must be in words of this vocabulary"):
        older.grammar.query(fact, "denied_true")
    with pytest.raises(ValueError, match="form must be in words of this vocabulary"):
        draw_edits(older, EditConfig(num_edits=1, transfer=True, least_rows=0))


# probes


EDGES = {name: tuple(Edge) if "num_nested_objects" in fields else (SO,) for name, fields in STRUCTURES.items()}
SCENARIOS = ("single", "identical", "different", "sequence")
CASES = [(structure, edge, scenario) for structure in STRUCTURES for edge in EDGES[structure] for scenario in SCENARIOS]
CANDIDATES = {"affirmed_old": False, "affirmed_new": False, "denied_old": True, "denied_new": True}


def draw(structure, edge, scenario, surface="synthetic", **fields):
    config = EditConfig(
        scenario=scenario, edge=edge.label, num_edits=2, relation=1, least_rows=0, transfer=True, **fields
    )
    return draw_edits(corpus_of(structure, surface), config)


@pytest.mark.parametrize(("structure", "edge", "scenario"), CASES)
def test_answers_before_and_after_are_those_of_the_dictionaries(structure, edge, scenario):
    corpus = corpus_of(structure)
    meanings, before = meanings_of(corpus), tables_of(corpus.world)
    yes = {"YES": True, "NO": False}
    for edit_set in draw(structure, edge, scenario):
        after = tables_after(corpus.world, edit_set.edits)
        probes = [probe for probe in edit_set.probes if probe.kind in TRANSFER_KINDS]
        kinds = {kind for kind in TRANSFER_KINDS if kind != "two_step" or (ON in corpus.world.edges and edge is SO)}
        for number, edit in enumerate(edit_set.edits):
            assert sorted(probe.kind for probe in probes if probe.edit == number) == sorted(kinds)
            for probe in (probe for probe in probes if probe.edit == number):
                assert probe.fact == edit.fact
                assert probe.before.prompt_ids == probe.after.prompt_ids
                said = read(probe.prompt, "synthetic", meanings)
                if probe.kind in ("question", "new_question"):
                    words = [corpus.grammar.lexicon.word(ROLES[edge][2], t, 1) for t in (edit.fact.tail, edit.new_tail)]
                    assert [probe.before.answer, probe.after.answer] == words
                    continue
                assert (said.edge, said.head, said.relation) == (edge, edit.fact.head, 1)
                answers = [query.answer for query in (probe.before, probe.after)]
                if probe.kind == "two_step":
                    found = [meanings[answer] for answer in answers]
                    assert found == [(Role.NESTED, 1, said.right(tables)) for tables in (before, after)]
                else:
                    assert [yes[answer] for answer in answers] == [said.right(before), said.right(after)]
                    assert said.candidate == (edit.fact.tail if probe.kind.endswith("old") else edit.new_tail)
                    assert said.negated == CANDIDATES[probe.kind]
                    assert answers[0] != answers[1]


def test_two_step_answer_stays_where_both_objects_lie_in_one_nested_object():
    sets = draw_edits(
        corpus_of("nested"), EditConfig(num_edits=20, transfer=True, least_rows=0, probes_per_edit=1, relation=1)
    )
    nested, stayed = tables_of(corpus_of("nested").world)[ON], Counter()
    for edit_set in sets:
        (edit,) = edit_set.edits
        (probe,) = (probe for probe in edit_set.probes if probe.kind == "two_step")
        same = nested[edit.fact.tail, 1] == nested[edit.new_tail, 1]
        assert (probe.before == probe.after) == same
        stayed[same] += 1
    assert min(stayed[True], stayed[False]) > 0


def test_heads_that_training_asks_about_and_others_are_asked_alike():
    sets = draw_edits(corpus_of("nested"), EditConfig(num_edits=30, transfer=True, least_rows=0, probes_per_edit=1))
    taught = Counter()
    for edit_set in sets:
        kinds = {probe.kind for probe in edit_set.probes} & {*TRANSFER_KINDS}
        assert kinds == set(TRANSFER_KINDS)
        taught[bool(corpus_of("nested").asked(SO, edit_set.edits[0].fact.head))] += 1
    assert min(taught.values()) > 5


def test_paraphrases_are_in_forms_that_ask_for_the_edited_object_only():
    forms = {
        probe.form
        for edit_set in draw("nested", SO, "single")
        for probe in edit_set.probes
        if probe.kind == "paraphrase"
    }
    assert forms <= {"rso", "question"}
    assert {KINDS[kind].form for kind in TRANSFER_KINDS} == {
        "question", "new_question", "two_step", "affirmed_true", "denied_true"
    }  # fmt: skip


@pytest.mark.parametrize("scenario", ["forget", "refuse"])
def test_relations_that_are_forgotten_are_asked_in_no_other_form(scenario):
    (edit_set,) = draw_edits(
        corpus_of("nested"), EditConfig(scenario=scenario, forget_fraction=0.5, least_rows=0, transfer=True)
    )
    assert not {probe.kind for probe in edit_set.probes} & {*TRANSFER_KINDS}


def test_background_is_every_distinct_sentence_once():
    corpus = corpus_of("nested")
    (edit_set,) = draw("nested", SO, "identical")
    text = corpus.grammar.lexicon.decode
    found = Counter(text(row) for block in edit_set.background.blocks() for row in block)
    said = sentence_table(make("nested", repeats=400), 0, 400 * 276)["text"].to_pylist()
    assert found == dict.fromkeys((f"{line} <|endoftext|>" for line in said), 1)


def test_corpus_of_the_world_after_edits_says_what_is_true_there():
    corpus, edits = corpus_of("nested"), draw("nested", SO, "different")[0].edits
    after = Corpus(corpus.world.after([edit.new_fact for edit in edits]), corpus.grammar, corpus.config)
    tables, meanings = tables_after(corpus.world, edits), meanings_of(corpus)
    said = [read(text, "synthetic", meanings) for text in sentence_table(after, 0, len(after))["text"].to_pylist()]
    questions = [one for one in said if one is not None]
    assert {edit.fact.head for edit in edits} & {one.head for one in questions if one.edge is SO}
    assert all(one.answer == one.right(tables) for one in questions)
