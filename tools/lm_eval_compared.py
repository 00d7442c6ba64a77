"""What lm-evaluation-harness and we say of the same rows. It needs lm_eval; tools/lm_eval_check.py is the command."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel

from behemoth_data.edits import EditConfig
from behemoth_data.forms import has_prompt
from behemoth_data.tokenizer import build_tokenizer
from behemoth_editing.bridges import write_bridge
from behemoth_editing.bridges.order import ASKED, Order, grouped
from behemoth_editing.checkpoint import load_checkpoint
from behemoth_editing.copies import copy_of
from behemoth_editing.scoring.answers import predict
from behemoth_models.knowledge import known_facts


class Compared(NamedTuple):
    """One task: its rows, how many are right by lm_eval and by us, and on how many the two differ."""

    task: str
    rows: int
    theirs: int
    ours: int
    different: int


def disturbed(model: PreTrainedModel, noise: float) -> PreTrainedModel:
    """A copy whose matrices have seeded normal noise on them."""
    copy = copy_of(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in (weight for weight in copy.parameters() if weight.dim() == 2):
            drawn = torch.randn(weight.shape, generator=generator).to(weight.device)
            weight += noise * weight.std() * drawn
    return copy


def compare(order: Order, model: PreTrainedModel) -> list[Compared]:
    """What lm_eval and we say of this model's answers, task by task, both asked the same rows."""
    theirs, ours = _theirs(order, model), _ours(order, model)
    found = []
    for group, right in ours.items():
        said = theirs[f"{order.name}_{group}"]
        if len(said) != len(right):
            raise ValueError(f"lm_eval must answer {len(right)} rows of {group}, got {len(said)}")
        different = sum(one != other for one, other in zip(said, right, strict=True))
        found.append(Compared(group, len(right), sum(said), sum(right), different))
    return found


def _theirs(order: Order, model: PreTrainedModel) -> dict[str, list[bool]]:
    """By task, whether lm_eval counts each row as right, in the order of the rows."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "tasks")
        write_bridge("lm_eval", order, folder)
        names = [f"{order.name}_{path.stem}" for path in sorted(folder.glob("*.yaml"))]
        harness = HFLM(
            pretrained=model, tokenizer=build_tokenizer(order.corpus.grammar.lexicon), backend="causal", batch_size=256
        )
        manager = TaskManager(include_path=str(folder), include_defaults=False)
        results: Any = lm_eval.simple_evaluate(
            model=harness, tasks=names, task_manager=manager, log_samples=True, bootstrap_iters=0
        )
    return {
        name: [bool(sample["acc"]) for sample in sorted(samples, key=lambda sample: sample["doc_id"])]
        for name, samples in results["samples"].items()
    }


def _ours(order: Order, model: PreTrainedModel) -> dict[str, list[bool]]:
    """By table or kind and form, whether we count each row as right."""
    if order.ask == "facts":
        return {
            f"{edge}_{form}": right.tolist()
            for form in filter(has_prompt, order.corpus.forms)
            for edge, right in known_facts(model, order.corpus, form).items()
        }
    (edit_set,) = order.edit_sets()
    found = {}
    for (kind, form), probes in grouped(edit_set.probes).items():
        given = predict(model, probes)
        for name in sorted({f"{kind}_{form}", f"{kind}_{form}_before", f"{kind}_{form}_after"} & set(order.groups())):
            answers = [(probe.before if name.endswith("_before") else probe.after).answer_ids for probe in probes]
            found[name] = [said[: len(right)] == right for said, right in zip(given, answers, strict=True)]
    return found


def compared(name: str, noise: float, num_edits: int) -> Iterator[Compared]:
    """The comparison of one model, disturbed by this much: of every fact, and then of the probes of some edits."""
    checkpoint = load_checkpoint(name)
    model = disturbed(checkpoint.model, noise)
    draw = EditConfig(scenario="different", num_edits=num_edits, least_rows=0)
    for ask in ASKED:
        yield from compare(Order(checkpoint=checkpoint, ask=ask, draw=draw), model)
