"""A grid of cells -> one result row per cell, appended as each ends. What a method does is not known here.

A cell is one method with its settings on one seeded draw of edits of one model; a row holds raw counts and scores.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import itertools
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm
from transformers import PreTrainedModel

from behemoth_data.edits import CHANGE_KINDS, KEEP_KINDS, EditConfig, EditSet, Probe, draw_edits
from behemoth_data.places import local_path
from behemoth_data.scenarios import num_edited
from behemoth_data.settings import check, digest
from behemoth_editing.checkpoint import Checkpoint
from behemoth_editing.identity import precision_in
from behemoth_editing.measures import confidence, kl_divergence, weight_change
from behemoth_editing.method import EditMethod, Shared, weights_digest
from behemoth_editing.plain import plain, words_of
from behemoth_editing.predict import Answer, answer_log_probabilities, answered, next_log_probabilities, predict
from behemoth_editing.result_file import RESULTS, Placed, Row, append_row, mend, settled
from behemoth_editing.statistics import score_units

_KL_PROMPTS = 100  # unrelated prompts of an edit set whose distributions are compared, at most


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """One method with its settings on one draw of edits of one model. Two with the same id are equal."""

    checkpoint: Checkpoint
    method: EditMethod
    edits: EditConfig

    @functools.cached_property
    def id(self) -> str:
        """16 hex digits that differ between any two cells whose results could, under one version of this code."""
        weights, corpus, code = self.checkpoint.weights, self.checkpoint.corpus.digest, version("behemoth-bench")
        return digest([weights, corpus, self.method.name, plain(self.method), self.edits, code])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)


def cell_id(cell: Cell) -> str:
    """The id of a cell, by which its row is known."""
    return cell.id


def grid(checkpoints: Iterable[Checkpoint], methods: Iterable[EditMethod], draws: Iterable[EditConfig]) -> list[Cell]:
    """Every combination as a cell, once, those of one model and one draw next to each other."""
    combinations = itertools.product(checkpoints, draws, methods)
    return list(dict.fromkeys(Cell(checkpoint, method, edits) for checkpoint, edits, method in combinations))


def check_cells(cells: Sequence[Cell]) -> None:
    """Raises: ValueError for the first cell that its model or its world cannot have. Runs no edit."""
    for cell in cells:
        cell.method.check(cell.checkpoint.model)
    for checkpoint, edits in dict.fromkeys((cell.checkpoint, cell.edits) for cell in cells):
        draw_edits(checkpoint.corpus, edits)


def unfinished(cells: Sequence[Cell], output: Path) -> list[Cell]:
    """The cells that `output` has no good row for.

    Its file then has one row for each cell that is done: no line that a kill cut short, no second copy of a cell, and
    no failure that is to be tried again.
    Raises: ValueError if the rows there are of other models or another version of this code.
    """
    output = local_path("output_dir", output)
    path = output / RESULTS
    if not path.exists():
        check(
            not output.exists() or (output.is_dir() and not any(output.iterdir())),
            f"output_dir must be new, empty or hold a {RESULTS}, got {output}, which holds something else",
        )
        return list(cells)
    wanted = {(cell.checkpoint.weights, version("behemoth-bench")) for cell in cells}
    wanted_cells = {cell_id(cell) for cell in cells}

    def choose(rows: Placed) -> list[Row]:
        for row in rows.values():
            found = (row["weights"]["before"], row["versions"]["behemoth"])
            check(
                found in wanted,
                f"output_dir must be new or hold results of the same models and code {sorted(wanted)}, got {found} in "
                f"{path}; choose another folder, or --overwrite",
            )
        return [row for row in settled(rows) if row["error"] is None or row["cell"] not in wanted_cells]

    done = {row["cell"] for row in mend(path, choose) if row["error"] is None}
    return [cell for cell in cells if cell_id(cell) not in done]


def run(cells: Sequence[Cell], output: Path, *, progress: bool = True) -> list[Row]:
    """A row for each cell, appended to `output`/results.jsonl as it ends; a cell that fails says why in its row.

    Edits, probes and the answers before are made once per model and draw and used by all methods. What a method says of
    itself stands in its row as plain() has it.
    """
    output = local_path("output_dir", output)
    output.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    failed = 0
    with tqdm(total=len(cells), desc="cells", unit="cell", disable=not progress) as bar:
        for checkpoint, of_model in itertools.groupby(cells, key=lambda cell: cell.checkpoint):
            shared = Shared(progress=progress)
            for edits, group in itertools.groupby(of_model, key=lambda cell: cell.edits):
                draw = _drawn(checkpoint, edits)
                for cell in group:
                    bar.set_postfix(method=cell.method.name, scenario=edits.scenario, failed=failed)
                    row = _row(cell)
                    try:
                        row.update(_results(cell, draw, shared))
                    except Exception as error:  # one bad cell must not cost the others: its row says what happened
                        row["error"] = plain(words_of(error))
                        failed += 1
                    append_row(output / RESULTS, row)
                    rows.append(row)
                    bar.update()
    return rows


def cell_seconds(cells: Sequence[Cell]) -> dict[Cell, float]:
    """Roughly how long every cell will take: of each method and scenario, the first set of the first cell is tried.

    What cells share, such as statistics of keys, counts for the cell that is tried and for no other.
    """
    seconds: dict[Cell, float] = {}
    tried: dict[tuple[str, str], float] = {}
    with tqdm(total=len({_sort(cell) for cell in cells}), desc="trying", unit="cell", leave=False) as bar:
        for checkpoint, of_model in itertools.groupby(cells, key=lambda cell: cell.checkpoint):
            shared = Shared()
            for cell in of_model:
                extra, sort = 0.0, _sort(cell)
                if sort not in tried:
                    started = time.perf_counter()
                    spent = _results(cell, _drawn(checkpoint, cell.edits, most=1), shared)["seconds"]
                    tried[sort] = spent["edit"] + spent["score"]
                    extra = time.perf_counter() - started - tried[sort]
                    bar.update()
                seconds[cell] = extra + cell.edits.num_sets * tried[sort]
    return seconds


def _sort(cell: Cell) -> tuple[str, str]:
    return cell.method.name, cell.edits.scenario


@dataclasses.dataclass(frozen=True)
class _Draw:
    """Edit sets and what the model says before they are made: one entry per set."""

    sets: tuple[EditSet, ...]
    answers: list[list[Answer]]
    next_tokens: list[NDArray[Any]]  # log-probabilities [n, V] after unrelated prompts


def _drawn(checkpoint: Checkpoint, edits: EditConfig, most: int | None = None) -> _Draw:
    sets = draw_edits(checkpoint.corpus, edits)[:most]
    return _Draw(
        sets,
        [predict(checkpoint.model, edit_set.probes) for edit_set in sets],
        [_next_tokens(checkpoint.model, _unrelated(edit_set)) for edit_set in sets],
    )


def _next_tokens(model: PreTrainedModel, probes: Sequence[Probe]) -> NDArray[Any]:
    """Log-probabilities [n, V] of what follows the probes' prompts; float32, since many are kept."""
    if not probes:
        return np.empty((0, 0), np.float32)
    return next_log_probabilities(model, [probe.before.prompt_ids for probe in probes]).astype(np.float32)


def _unrelated(edit_set: EditSet) -> list[Probe]:
    return [probe for probe in edit_set.probes if probe.kind == "unrelated"][:_KL_PROMPTS]


def _row(cell: Cell) -> Row:
    """What is known of a cell before it runs."""
    checkpoint, edits = cell.checkpoint, cell.edits
    world = checkpoint.corpus.world
    return {
        "cell": cell_id(cell),
        "method": cell.method.name,
        "settings": plain(cell.method),
        "precision": None,
        "scenario": edits.scenario,
        "edge": edits.edge,
        "relation": edits.relation,
        "num_edits": num_edited(world, edits),
        "seed": edits.edit_seed,
        "edits": dataclasses.asdict(edits),
        "structure": world.config.structure,
        "model": checkpoint.name,
        "hub_id": checkpoint.name if checkpoint.from_hub else None,
        "model_precision": checkpoint.precision,
        "world": dataclasses.asdict(world.config),
        "corpus": checkpoint.corpus.digest,
        "recall": checkpoint.recall,
        "scores": None,
        "units": None,
        "seconds": None,
        "weights": {"before": checkpoint.weights, "after": None, "change": None},
        "details": None,
        "versions": {
            "behemoth": version("behemoth-bench"),
            **{name: version(name) for name in ("torch", "transformers", "peft", "numpy")},
        },
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "error": None,
    }


def _results(cell: Cell, draw: _Draw, shared: Shared) -> Row:
    """Makes every set of edits on a copy of its own, or in a sequence on the last one's copy; asks and counts.

    A sequence is counted at its end; what each set's answers were right after it was made stands in `right_after`.
    """
    original, chained = cell.checkpoint.model, cell.edits.scenario == "sequence"
    model, units, right_after = original, list[dict[str, Any]](), list[dict[str, Any]]()
    seconds = {"edit": 0.0, "shared": 0.0, "score": 0.0}
    weights, changes, details = [], [], []
    for number, edit_set in enumerate(draw.sets):
        # What a model in the middle of a sequence is good for, no other cell is.
        own = shared if model is original else Shared(dict(shared.key_statistics), progress=shared.progress)
        started, shared_before = time.perf_counter(), own.seconds
        edited = cell.method(model, edit_set, own)
        written = time.perf_counter()
        answers = predict(edited.model, edit_set.probes)
        counted = count_units(edit_set, draw.answers[number], answers, first=len(units))
        if chained:
            model, right_after = edited.model, right_after + counted
            units += [{} for _ in counted]
        else:
            _add_measures(counted, edit_set, edited.model, draw.next_tokens[number])
            units += counted
        if not chained or edit_set is draw.sets[-1]:
            weights.append(weights_digest(edited.model))
            change = weight_change(original, edited.model)
            changes.append({"norm": change.norm, "relative": change.relative, "rank": change.rank})
        details.append(edited.details)
        seconds["edit"] += written - started - (own.seconds - shared_before)
        seconds["shared"] += own.seconds - shared_before
        seconds["score"] += time.perf_counter() - written
    if chained:
        started = time.perf_counter()
        units = []
        for number, edit_set in enumerate(draw.sets):
            counted = count_units(edit_set, draw.answers[number], predict(model, edit_set.probes), first=len(units))
            _add_measures(counted, edit_set, model, draw.next_tokens[number])
            units += counted
        for unit, then in zip(units, right_after, strict=True):
            unit["right_after"] = then
        seconds["score"] += time.perf_counter() - started
    found = {
        "units": units,
        "scores": score_units(units),
        "seconds": seconds,
        "weights": {"before": cell.checkpoint.weights, "after": weights, "change": changes},
        "details": details,
        "precision": precision_in(details),
    }
    return dict(plain(found))  # here, where what cannot be put into words costs this cell and no other


def count_units(
    edit_set: EditSet, before: Sequence[Answer], after: Sequence[Answer], first: int = 0
) -> list[dict[str, Any]]:
    """Raw counts for each edit of a set, numbered from `first`: the `units` of a result row.

    change: [answered with the new object, asked]. keep: [right before and after, right before, right after,
    asked]. ripple: [kept, followed, incoherent, wrong before]; dependent facts that the edit leaves as they
    are have nothing to follow and are not counted. forget, in forget and refuse: [right before and still answered
    with the old object, right before, refused, asked].
    """
    units: list[dict[str, Any]] = [
        {"edit": first + number, "change": {}, "keep": {}, "ripple": {}} for number in range(len(edit_set.edits))
    ]
    for probe, was, now in zip(edit_set.probes, before, after, strict=True):
        for part, counts in _counts(probe, was, now).items():
            kinds = units[probe.edit].setdefault(part, {})
            kinds[probe.kind] = [a + b for a, b in zip(kinds.get(probe.kind, [0] * len(counts)), counts, strict=True)]
    return units


def _counts(probe: Probe, was: Answer, now: Answer) -> dict[str, list[int]]:
    old, new = probe.before.answer_ids, probe.after.answer_ids
    knew, kept, changed = answered(was, old), answered(now, old), answered(now, new)
    if probe.kind in CHANGE_KINDS:
        counts = {"change": [int(changed), 1]}
        if probe.refusal_ids:
            refused = answered(now, probe.refusal_ids)
            counts["forget"] = [int(knew and kept), int(knew), int(refused), 1]
        return counts
    if probe.kind in KEEP_KINDS:
        return {"keep": [int(knew and kept), int(knew), int(kept), 1]}
    if old == new:
        return {}
    if not knew:
        return {"ripple": [0, 0, 0, 1]}
    return {"ripple": [int(kept), int(changed), int(not kept and not changed), 0]}


def _add_measures(
    units: Sequence[dict[str, Any]], edit_set: EditSet, model: PreTrainedModel, before: NDArray[Any]
) -> None:
    """Every unit has `measures`: the edited prompt's confidence, and the divergence on its unrelated prompts."""
    corpus, edits = edit_set.corpus, edit_set.edits
    candidates = corpus.grammar.answers(
        edit_set.edge, edit_set.relation, np.arange(corpus.world.num_tails(edit_set.edge, edit_set.relation))
    )
    said = answer_log_probabilities(model, [query.prompt_ids for query in edit_set.originals], candidates)
    old = np.array([edit.fact.tail for edit in edits])
    new = np.array([edit.fact.tail if edit.new_tail is None else edit.new_tail for edit in edits])
    found = confidence(said, new, old)
    for place, (unit, edit) in enumerate(zip(units, edits, strict=True)):
        unit["measures"] = {
            **{name: _short(getattr(found, name)[place]) for name in ("old", "old_rank", "validity")},
            **{name: _short(getattr(found, name)[place]) for name in ("new", "new_rank") if edit.new_tail is not None},
        }
    asked = _unrelated(edit_set)
    if asked:
        moved = kl_divergence(before, _next_tokens(model, asked))
        owners = np.array([probe.edit for probe in asked])
        for owner in np.unique(owners).tolist():
            units[owner]["measures"]["kl"] = _short(moved[owners == owner].mean())


def _short(value: float) -> float:
    """Six digits: more would only make rows long."""
    return float(f"{value:.6g}")
