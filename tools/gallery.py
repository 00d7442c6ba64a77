"""Every structure, form, kind of probe and method, with examples: python tools/gallery.py --output docs/gallery.md.

It goes through the lists that the code has, so that what is added there appears here. Examples are of small seeded
worlds; no file is read.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from behemoth_cli.settings import Options, one_line_errors, parse, place
from behemoth_data import (
    Corpus,
    CorpusConfig,
    Edge,
    EditConfig,
    EditSet,
    LexiconConfig,
    Probe,
    WorldConfig,
    build,
    draw_edits,
)
from behemoth_data.edits import SCENARIOS
from behemoth_data.forms import FORMS, USES, answered_by
from behemoth_data.kinds import GROUPS, KINDS
from behemoth_data.lexicon import SURFACES
from behemoth_data.world import PRESETS
from behemoth_editing import METHODS
from behemoth_editing.methods.contract import READS

_STRUCTURES = {
    "independent": "A subject has one object in each relation, drawn uniformly and independently.",
    "correlated": "Most subjects have objects of the same number in relations 0 and 1.",
    "nested": "Every object belongs to a nested object, and so do the subjects that have it: two more tables say so.",
}
_GROUPS = {
    "change": "Right after the edit is the new answer.",
    "keep": "Right after the edit is the answer before it.",
    "ripple": "Neither answer is an error: reported are the shares that kept the old one, that followed "
    "the edit, and that are incoherent, which is neither.",
    "transfer": "Asked only by draws that say `transfer`, and counted like the last: an edit that carries is followed. "
    "Whether training asks about the edited head at all stands beside the counts.",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GalleryArguments:
    """Where the page goes."""

    output: str = place("docs/gallery.md", "file to write")


def main(argv: Sequence[str] | None = None) -> None:
    """Writes the page and prints one line that says what is where.

    Raises: SystemExit with status 2 for an unknown option, 1 for a disk that fails, after one line on standard error.
    """
    options = Options({"": GalleryArguments}, prog="gallery.py", description=__doc__, usage="[--option value ...]")
    (arguments,) = parse(options, argv, recipe={})
    path = Path(arguments.output)
    with one_line_errors(options.prog):
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(gallery(), encoding="utf-8", newline="\n")
        os.replace(partial, path)
    print(f"{path} has {len(PRESETS)} structures, {len(FORMS)} forms, {len(KINDS)} kinds of probe")


def gallery() -> str:
    """The whole page."""
    intro = "Made by `make gallery` from the code, with examples of small worlds: change the code, not this page."
    return "\n\n".join(["# Gallery", intro, *_structures(), *_forms(), *_kinds(), *_methods()]) + "\n"


def _structures() -> list[str]:
    parts = ["## Structures", "Below each picture: facts of subject 0 in relation 0, in a world of English names."]
    for name, preset in PRESETS.items():
        fields = ", ".join(f"{field}={value}" for field, value in preset.items())
        corpus = _corpus(name, "natural")
        said = [f"- `{edge.label}`: {_sentence(corpus, edge, 'statement')}" for edge in corpus.world.edges]
        picture = f"![{_STRUCTURES[name]}](../hub_cards/structures/{name}.svg)"
        parts += [f"### {name}", f"{_STRUCTURES[name]} `WorldConfig({fields})`", picture, "\n".join(said)]
    return parts


def _forms() -> list[str]:
    corpora = [_corpus("nested", surface) for surface in SURFACES]
    rows = [
        [
            f"`{name}`",
            *(_sentence(c, Edge.SUBJECT_OBJECT, name) for c in corpora),
            USES[form.use],
            "yes" if form.taught else "no",
        ]
        for name, form in FORMS.items()
    ]
    text = "One fact in every form, on every surface. Bold is the answer; what stands before it is the prompt."
    return ["## Forms", text, _table(["form", *SURFACES, "used", "taught"], rows)]


def _kinds() -> list[str]:
    text = "What is asked around an edit. The world, not the method, decides the answers before and after."
    parts = ["## Probe kinds", text]
    for name, meaning in _GROUPS.items():
        kinds = sorted((kind for kind in KINDS.values() if kind.group == name), key=lambda kind: kind.distance)
        rows = [[f"`{kind.name}`", kind.text, *_question(*example(kind.name))] for kind in kinds]
        table = _table(["kind", "fact asked", "the edit", "prompt", "before", "after"], rows)
        parts += [f"### The answer should {GROUPS[name]}", meaning, table]
    return parts


def _methods() -> list[str]:
    text = "What a method may read of the edits beside the model itself; no method reads a probe."
    rows = [
        [f"`{name}`", method.goal, ", ".join(f"`{part}`" for part in method.reads)] for name, method in METHODS.items()
    ]
    meanings = [[f"`{part}`", meaning] for part, meaning in READS.items()]
    return ["## Methods", text, _table(["method", "goal", "reads"], rows), _table(["what is read", "it is"], meanings)]


def example(kind: str) -> tuple[EditSet, Probe]:
    """The first edits, by table, scenario and structure, that have a probe of this kind, and that probe.

    A probe whose answers before and after differ is taken before others. Raises: LookupError if no edits have one.
    """
    for edge, scenario, name in itertools.product(Edge, SCENARIOS, PRESETS):
        for edits in _draw(name, scenario, edge.label):
            probes = [probe for probe in edits.probes if probe.kind == kind]
            if probes:
                return edits, max(probes, key=lambda probe: probe.before.answer != probe.after.answer)
    raise LookupError(f"no scenario has a probe of the kind {kind!r}")


@functools.cache
def _corpus(name: str, surface: str) -> Corpus:
    world = WorldConfig(num_subjects=40, num_relations=2, num_objects=20, **PRESETS[name])
    return build(world, LexiconConfig(surface=surface), CorpusConfig(grammar="nonsense", inversion_fraction=0))


@functools.cache
def _draw(name: str, scenario: str, edge: str) -> tuple[EditSet, ...]:
    """The edits of a scenario; none if the world lacks the table."""
    natural = LexiconConfig(surface="natural")
    corpus = build(_corpus(name, "natural").world.config, natural)
    if edge not in [known.label for known in corpus.world.edges]:
        return ()
    config = EditConfig(
        scenario=scenario,
        edge=edge,
        num_edits=2,
        forget_fraction=0.25,
        probes_per_edit=5,
        least_rows=0,
        transfer=True,
    )
    return draw_edits(corpus, config)


def _sentence(corpus: Corpus, edge: Edge, form: str) -> str:
    """What is said about subject 0 in relation 0, or about its object there, with the answer in bold."""
    head = int(corpus.world.objects(0, 0)) if edge is Edge.OBJECT_NESTED else 0
    fact, tails = corpus.world.fact(edge, head, 0), corpus.answers(edge, form, np.array([head]), np.array([0]))
    tokens = corpus.grammar.tokens(edge, form, fact.head, fact.relation, tails)[:, :-1]
    whole = str(corpus.grammar.text(tokens)[0].as_py())
    if answered_by(form) is None:
        return whole
    query = corpus.grammar.query(fact, form, int(tails[0]))
    return f"{query.prompt} **{query.answer}**{whole.removeprefix(f'{query.prompt} {query.answer}')}"


def _question(edits: EditSet, probe: Probe) -> list[str]:
    old, new = edits.originals[probe.edit], edits.requests[probe.edit]
    edit = f"{old.prompt} ~~{old.answer}~~ {new.answer}"
    return [edit, probe.prompt, probe.before.answer, probe.after.answer]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *rows])


if __name__ == "__main__":
    main(sys.argv[1:])
