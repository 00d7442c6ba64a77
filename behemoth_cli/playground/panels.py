"""What the page shows, as HTML and JSON made of numbers and words. Every word is escaped; no browser is needed."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from html import escape
from urllib.parse import urlencode

from behemoth_cli.playground import asking, telling
from behemoth_cli.playground.attacking import Left, Tried
from behemoth_cli.playground.making import MOST_COUNT, Made, View, expected_of, method_of
from behemoth_cli.playground.outcomes import STATUSES, Expected, counted, known_codes
from behemoth_cli.playground.scene import drawn, scene_of
from behemoth_cli.playground.sessions import Session
from behemoth_cli.playground.shelf import Shelf, Shelved
from behemoth_cli.playground.telling import State, Table
from behemoth_cli.playground.words import MOST_LETTERS, Words, understood
from behemoth_data.forms import SURFACES
from behemoth_data.settings import check, check_known
from behemoth_data.world import Edge, Fact
from behemoth_editing.report import text as texts

MOST_BROKEN = 200  # that are listed


def table_html(table: Table, caption: str = "") -> str:
    """The table, which scrolls by itself where it is wider than the page."""
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in table.heads)
    rows = "".join(
        f'<tr><th scope="row">{row[0]}</th>' + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>"
        for row in table.rows
    )
    titled = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="bm-html wrap" tabindex="0"><table>{titled}<thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def said_html(text: str, *, bad: bool = False) -> str:
    """A line that is read aloud when it changes."""
    kind = ' class="bad" role="alert"' if bad else ' role="status"'
    return f'<div class="bm-html"><p{kind}>{escape(text)}</p></div>'


def progress_html(done: float, text: str, seconds: float) -> str:
    """How far an edit is."""
    return (
        f'<div class="bm-html"><p role="status">{escape(text)}, {seconds:.0f} s</p>'
        f'<progress max="1" value="{done:.3f}">{done:.0%}</progress></div>'
    )


def of_edits(made: Made) -> str:
    """How many edits, in words."""
    count = len(made.edit_set.edits)
    return "1 edit" if count == 1 else f"{count} edits"


@dataclasses.dataclass(frozen=True)
class Looked:
    """What a page looks at: a model, in which words, which fact, and which of the session's edits."""

    shelved: Shelved
    words: Words
    fact: Fact
    made: Made | None  # none: the model that nobody edited
    place: str  # name of the model
    step: int | None

    @property
    def view(self) -> View:
        """The facts of the picture."""
        return self.shelved.view if self.made is None else self.made.view

    def codes(self) -> dict[Fact, str]:
        """What is known of every fact of the picture."""
        view = self.view
        return known_codes(view.facts, view.answers.tolist()) if self.made is None else self.made.codes


def looked_at(
    shelf: Shelf,
    session: Session,
    model: str,
    step: int | None,
    surface: str,
    relation: int,
    pick: Mapping[str, int],
    shown: int,
) -> Looked:
    """What these choices choose; where one is not there, the first one. Raises: as Shelf.get() does."""
    shelved = shelf.get(model, step)
    session.of(model, step)
    world = shelved.checkpoint.corpus.world
    words = shelved.words.get(surface) or next(iter(shelved.words.values()))
    relation = min(max(0, int(relation or 0)), world.config.num_relations - 1)
    edge = Edge(pick.get("edge", 0))
    edge = edge if edge in world.edges else Edge.SUBJECT_OBJECT
    head = min(max(0, int(pick.get("head", 0))), world.num_heads(edge) - 1)
    made = session.made[shown - 1] if 0 < shown <= len(session.made) else None
    return Looked(shelved, words, world.fact(edge, head, relation), made, model, step)


def linked(shelf: Shelf, methods: Sequence[str], parts: Mapping[str, str]) -> State:
    """What a link with these parts asks for, all of which there is; parts that are not ours are left out.

    Raises: ValueError for what there is not, and as Shelf.get() does.
    """
    state = telling.state_of(urlencode(parts), foreign=True)
    if "method" not in parts and state.wish.method not in methods:
        state = dataclasses.replace(state, wish=dataclasses.replace(state.wish, method=methods[0]))
    model, wish = state.model or shelf.names[0], state.wish
    check_known("method", wish.method, methods)
    check_known("surface", state.surface, SURFACES)
    method_of(wish.method, state.settings, MOST_COUNT)
    world, edge = shelf.get(model, state.step).checkpoint.corpus.world, Edge.from_label(wish.edge)
    most, fact = world.num_heads(edge), world.fact(edge, wish.head, wish.relation)
    check(wish.num_edits <= most, f"num_edits must be at most {most}, the facts of the relation, got {wish.num_edits}")
    if "new_tail" in parts:
        tails = world.num_tails(edge, wish.relation)
        check(0 <= wish.new_tail < tails, f"new_tail must lie in [0, {tails}), got {wish.new_tail}")
        check(wish.new_tail != fact.tail, f"new_tail must be another than the fact's own, got {wish.new_tail}")
    return dataclasses.replace(state, model=model)


def picture(looked: Looked) -> str:
    """What the graph is told, as JSON."""
    world, words, fact = looked.shelved.checkpoint.corpus.world, looked.words, looked.fact
    codes = looked.codes()
    subjects = sorted({known.head for known in looked.view.facts if known.edge is Edge.SUBJECT_OBJECT})
    scene = scene_of(world, fact.relation, subjects)
    texts = {known: words.fact(known) for known in scene.facts}
    shown = {known: codes.get(known, "wrong") for known in scene.facts}
    crowded = len(subjects) > 150
    edits = () if looked.made is None else looked.made.edit_set.edits
    told = drawn(
        scene,
        shown,
        texts,
        names={n: words.tail(Edge.OBJECT_NESTED, fact.relation, n) for n in scene.nested},
        moves=[
            [int(edit.fact.edge), edit.fact.head, edit.new_tail]
            for edit in edits
            if edit.fact.relation == fact.relation and edit.new_tail is not None
        ],
        counts=counted(shown),
        statuses={
            name: {"label": status.label, "text": status.text, "shape": status.shape, "rank": _RANKS[name]}
            for name, status in STATUSES.items()
        },
        dot=2.6 if crowded else 4,
        sign=8 if crowded else 9,
        picked=[int(fact.edge), fact.head],
        title=f"{len(scene.marks)} facts of the relation {words.relation(Edge.SUBJECT_OBJECT, fact.relation)}: "
        + ", ".join(f"{count} {STATUSES[name].label}" for name, count in counted(shown).items()),
        version=time.monotonic_ns(),
    )
    return json.dumps(told)


# What stands above what in the picture: kept facts below, broken ones over them, edits on top.
_RANKS = {
    name: place
    for place, name in enumerate(("kept", "known", "wrong", "stayed", "followed", "broken", "missed", "made"))
}


def says_html(looked: Looked) -> str:
    """What the model says to the picked fact in each form, and the likeliest objects, before and after."""
    corpus, words, fact = looked.shelved.checkpoint.corpus, looked.words, looked.fact
    before = asking.replies(looked.shelved.checkpoint.model, corpus, fact)
    after = None if looked.made is None else asking.replies(looked.made.model, corpus, fact)

    before_all = Expected({}, {})
    made = looked.made
    expected = before_all if made is None else expected_of(made.edit_set, made.method.goal, [fact])

    def said(reply: asking.Reply, wanted: Expected) -> str:
        text = reply.answer if reply.tail == asking.NO_TAIL else words.tail(fact.edge, fact.relation, reply.tail)
        wrong = not wanted.allows(fact, reply.tail)
        share = "no object of this relation" if reply.tail == asking.NO_TAIL else f"p = {reply.probability:.3f}"
        mark = f'<span class="bad">{escape(text)} ≠</span>' if wrong else escape(text)
        return f"{mark}<small>{share}; {reply.validity:.3f} on its objects</small>"

    heads = ["form and prompt", "before", *([] if after is None else ["after"])]
    rows = []
    for place, reply in enumerate(before):
        shown = words.grammar.query(fact, reply.form).prompt
        read = "" if words.own else f"<small>the model reads: {escape(reply.prompt)}</small>"
        name = reply.form.replace("_", " ") + ("" if reply.taught else " (not taught)")
        row = [f"{escape(name)}<small>{escape(shown)} …</small>{read}", said(reply, before_all)]
        rows.append(row if after is None else [*row, said(after[place], expected)])
    truth = f"In the world: {words.fact(fact)}"
    if made is not None and fact in expected.edited:
        wanted = expected.edited[fact]
        if wanted is None:
            truth += f"; {made.method.name} is to {made.method.goal} it, so that any other answer will do"
        else:
            truth += f"; edited to {words.tail(fact.edge, fact.relation, wanted)}"
    return table_html(Table(heads, rows), truth + ". ≠ marks what is not so.") + _top_html(
        looked, before[0], None if after is None else after[0]
    )


def _top_html(looked: Looked, before: asking.Reply, after: asking.Reply | None) -> str:
    fact = looked.fact

    def cell(place: int, reply: asking.Reply) -> str:
        if place >= len(reply.top):
            return ""
        tail, share = reply.top[place]
        bar = f'<span class="bar" style="width:{4 * share:.2f}rem"></span>'
        return f"{escape(looked.words.tail(fact.edge, fact.relation, tail))}<small>{share:.4f} {bar}</small>"

    replies = [before, *([] if after is None else [after])]
    rows = [[str(place + 1), *(cell(place, reply) for reply in replies)] for place in range(len(before.top))]
    heads = ["", "before", "after"][: 1 + len(replies)]
    told = table_html(Table(heads, rows), f"After the {before.form.replace('_', ' ')}, among the relation's objects")
    return f'<details class="bm-html"><summary>The ten likeliest objects</summary>{told}</details>'


def asked_html(looked: Looked, text: str) -> str:
    """What the model says after a prompt that somebody typed. Raises: ValueError for one that it cannot read."""
    check(len(text) <= MOST_LETTERS, f"prompt must have at most {MOST_LETTERS} letters, got {len(text)}")
    found = understood(looked.words, text)
    models = {"before": looked.shelved.checkpoint.model} | (
        {} if looked.made is None else {f"after {looked.made.method.name}": looked.made.model}
    )
    corpus, words = looked.shelved.checkpoint.corpus, looked.words
    rows = []
    if found is None:
        for name, model in models.items():
            said = asking.continued(model, corpus, text)
            top = ", ".join(f"{escape(token)} {share:.3f}" for token, share in said.top)
            rows.append([name, escape(" ".join(said.words)), top])
        return table_html(Table(["model", "goes on with", "likeliest next words"], rows))
    fact = found.fact
    for name, model in models.items():
        reply = next(reply for reply in asking.replies(model, corpus, fact) if reply.form == found.form)
        answer = reply.answer if reply.tail == asking.NO_TAIL else words.tail(fact.edge, fact.relation, reply.tail)
        top = ", ".join(
            f"{escape(words.tail(fact.edge, fact.relation, tail))} {share:.3f}" for tail, share in reply.top
        )
        rows.append([name, f"{escape(answer)}<small>p = {reply.probability:.3f}</small>", top])
    caption = f"Understood as the {found.form.replace('_', ' ')} of {words.fact(fact)}"
    return table_html(Table(["model", "answer", "likeliest objects"], rows), caption)


def outcome_html(looked: Looked) -> str:
    """What became of the facts: statuses by table, counts with intervals by kind."""
    made = looked.made
    if made is None:
        return said_html("No edit is shown: the model is as it was trained.")
    by_edge: dict[str, dict[str, int]] = {}
    for edge in looked.shelved.checkpoint.corpus.world.edges:
        some = {fact: code for fact, code in made.codes.items() if fact.edge is edge}
        by_edge[edge.label.replace("_", " – ")] = counted(some)
    names = [name for name in STATUSES if name not in ("known",) and any(name in found for found in by_edge.values())]
    rows = [[escape(edge), *(str(found.get(name, 0)) for name in names)] for edge, found in by_edge.items()]
    caption = f"{len(made.codes):,} facts looked at after {of_edits(made)} by {made.method.name} ({made.seconds:.1f} s)"
    statuses = table_html(Table(["facts of", *(STATUSES[name].label for name in names)], rows), caption)
    kinds = telling.kinds_table(made)
    shown = Table(kinds.heads, [[escape(cell) for cell in row] for row in kinds.rows])
    note = "Intervals of one model speak of other edits of it, not of other models."
    if made.method.goal != "edit":
        note += f" {made.method.name} is to {made.method.goal}: it counts as made where the old answer is gone."
    return statuses + table_html(shown, note)


def history_html(session: Session) -> str:
    """The session's edits side by side."""
    if not session.made:
        return said_html("No edit yet.")
    rows = []
    for number, made in enumerate(session.made, 1):
        found = counted(made.codes)
        scores = made.scored.scores
        same = next(n for n, other in enumerate(session.made, 1) if other.edit_set is made.edit_set)
        rows.append(
            [
                f"{number}: {escape(made.method.name)}",
                f"{len(made.edit_set.edits)}" + (f" (those of {same})" if same != number else ""),
                f"{found.get('made', 0)}",
                f"{found.get('broken', 0)}",
                escape(texts.share(scores["edit_success"])),
                escape(texts.share(scores["collateral_accuracy"])),
                f"{made.seconds:.1f}",
            ]
        )
    heads = ["edit", "facts edited", "made", "broken", "edit success", "collateral accuracy", "seconds"]
    return table_html(Table(heads, rows), "Every edit is made on the model as it was trained")


def attacks_html(session: Session, looked: Looked) -> str:
    """What the session's attacks on the shown edit found, each with its steps."""
    if looked.made is None:
        return said_html("No edit is shown that could be attacked.")
    tried = [one for one in session.tried if one.made is looked.made]
    if not tried:
        return said_html("No attack was tried on this edit.")
    return "".join(map(_attack_html, tried))


def _attack_html(tried: Tried) -> str:
    def cell(left: Left) -> str:
        told = f"<small>{left.bits:.2f} bits to be read, says {left.said:.2f}</small>"
        return f"{left.guessed} of {left.asked}{told}"

    rows = [
        [escape(step), cell(after), cell(before)]
        for step, after, before in zip(tried.steps, tried.after, tried.before, strict=True)
    ]
    caption = (
        f"{tried.attack.name} on {of_edits(tried.made)} by {tried.made.method.name}: old answers that are its best "
        f"guess ({tried.seconds:.1f} s); a fact has {tried.most:.2f} bits"
    )
    code = escape(telling.attack_code(tried.attack.name))
    table = table_html(Table([tried.attack.axis, "after the edit", "before it"], rows), caption)
    return f'{table}<details class="bm-html"><summary>The code for this attack</summary><pre>{code}</pre></details>'


def broken_json(looked: Looked) -> str:
    """The broken facts of all relations, as JSON."""
    if looked.made is None:
        return json.dumps({"said": "", "facts": []})
    broken = [fact for fact, code in looked.made.codes.items() if code == "broken"]
    answers = dict(zip(looked.made.view.facts, looked.made.answers.tolist(), strict=True))
    facts = []
    for fact in broken[:MOST_BROKEN]:
        now = answers[fact]
        words = "something else" if now == asking.NO_TAIL else looked.words.tail(fact.edge, fact.relation, now)
        facts.append([int(fact.edge), fact.head, fact.relation, f"{looked.words.fact(fact)}, now {words}"])
    more = f", the first {MOST_BROKEN} listed" if len(broken) > MOST_BROKEN else ""
    return json.dumps({"said": f"{len(broken)} broken{more}", "facts": facts})
