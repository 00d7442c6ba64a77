"""What EasyEdit reads: data files, the arguments of its edit(), settings for GPT-NeoX, and statistics of keys.

Source: zjunlp/EasyEdit at 14cea82. Data files: easyeditor/dataset/counterfact.py, zsre.py and knowedit.py. Arguments:
BaseEditor.edit() in easyeditor/editors/editor.py and _prepare_requests() in editors/utils.py. Settings: ROMEHyperParams
and MEMITHyperParams, of which every field is given. Statistics: layer_stats() in models/rome/layer_stats.py, which
reads the file where it is there, as SecondMoment and CombinedStat in util/runningstats.py store it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from behemoth_data.edits import Probe
from behemoth_data.settings import check
from behemoth_editing.architecture import architecture_of, layers_of, mlp_output, weight_of
from behemoth_editing.bridges.order import Order, write_json, write_yaml
from behemoth_editing.bridges.records import Record, records_of
from behemoth_editing.methods.contract import KeyStatistics, Shared
from behemoth_editing.methods.keys import shared_statistics
from behemoth_editing.methods.memit import Memit
from behemoth_editing.methods.rome import Rome

DATASET, PRECISION = "wikipedia", "float64"  # part of the name of a file of statistics: layer_stats() knows no other
OWN = "same_subject"  # the kind that KnowEdit calls Relation_Specificity


def counterfact_row(record: Record) -> dict[str, Any]:
    """One edit as the file of CounterFactDataset has it, with one fact that must stay."""
    stays = _stays(record)
    return {
        "case_id": record.number,
        "prompt": record.prompt,
        "subject": record.subject,
        "target_new": record.new,
        "ground_truth": record.old,
        "rephrase_prompt": _other_prompt(record),
        "locality_prompt": stays.prompt,
        "locality_ground_truth": stays.before.answer,
    }


def zsre_row(record: Record) -> dict[str, Any]:
    """One edit as the file of ZsreDataset has it, which refuses a fact that must stay without "nq question: "."""
    stays = _stays(record)
    return {
        "src": record.prompt,
        "subject": record.subject,
        "alt": record.new,
        "answers": [record.old],
        "rephrase": _other_prompt(record),
        "loc": f"nq question: {stays.prompt}",
        "loc_ans": stays.before.answer,
    }


def knowedit_row(record: Record) -> dict[str, Any]:
    """One edit as the file of KnowEditDataset has it: what follows is Reasoning, other facts must stay."""
    keep = record.around("keep")
    others = [probe for kind, probes in keep.items() if kind != OWN for probe in probes]
    follows = [probe for probes in record.around("ripple").values() for probe in probes]
    return {
        "subject": record.subject,
        "prompt": record.prompt,
        "target_new": record.new,
        "ground_truth": record.old,
        "portability": _named({"Reasoning": [_pair(probe, probe.after.answer) for probe in follows]}),
        "locality": _named(
            {
                "Relation_Specificity": [_pair(probe, probe.before.answer) for probe in keep.get(OWN, [])],
                "Forgetfulness": [_pair(probe, probe.before.answer) for probe in others],
            }
        ),
    }


def _named(lists: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Those that hold something: its reader takes the first of each that is there."""
    return {name: rows for name, rows in lists.items() if rows}


def _pair(probe: Probe, answer: str) -> dict[str, Any]:
    return {"prompt": probe.prompt, "ground_truth": [answer]}


def _other_prompt(record: Record) -> str:
    """The edit's prompt in another form, or the same one where the corpus has a single form."""
    return next(iter(record.prompts("paraphrase")), record.prompt)


def _stays(record: Record) -> Probe:
    """One fact that must stay, the nearest kind of fact first. An edit of which nothing is asked has only itself."""
    kept = [probe for probes in record.around("keep").values() for probe in probes]
    return kept[0] if kept else record.probes["edited"][0]


def edit_arguments(records: list[Record]) -> dict[str, Any]:
    """The arguments of edit(): every kind of probe that must stay is a locality, every other a portability.

    An edit that has none of a kind has None there, as edit() wants it.
    """
    groups: dict[str, dict[str, Any]] = {"keep": {}, "ripple": {}, "change": {}}
    for group, inputs in groups.items():
        kinds = [kind for record in records for kind in record.around(group) if kind != "edited"]
        for kind in dict.fromkeys(kinds):
            asked = [record.probes.get(kind, []) for record in records]
            inputs[kind] = {
                "prompt": [[probe.prompt for probe in probes] or None for probes in asked],
                "ground_truth": [[_right(group, probe) for probe in probes] or None for probes in asked],
            }
    return {
        "prompts": [record.prompt for record in records],
        "target_new": [record.new for record in records],
        "ground_truth": [record.old for record in records],
        "subject": [record.subject for record in records],
        "rephrase_prompts": [_other_prompt(record) for record in records],
        "locality_inputs": groups["keep"],
        "portability_inputs": groups["change"] | groups["ripple"],
    }


def _right(group: str, probe: Probe) -> str:
    return (probe.before if group == "keep" else probe.after).answer


def settings(model: PreTrainedModel, name: str, num_keys: int) -> dict[str, dict[str, Any]]:
    """What ROME's and MEMIT's YAML files say for this model: our settings, at the prompt's last token, no contexts.

    EasyEdit's MEMIT raises for the prompt's last token, so there the subject has to be the prompt's last word. Without
    statistics, num_keys 0, ROME does without its covariance; MEMIT cannot.
    """
    rome, memit = Rome(), Memit()
    width = weight_of(model, mlp_output(model, 0)).shape[1]
    shared = {
        "model_name": name,
        "stats_dir": "stats",
        "device": "cpu",
        "v_loss_layer": len(layers_of(model)) - 1,
        "kl_factor": 0.0,
        "mom2_adjustment": num_keys > 0,
        **modules(model),
        "mom2_dataset": DATASET,
        "mom2_n_samples": num_keys,
        "mom2_dtype": PRECISION,
    }
    own: dict[str, dict[str, Any]] = {
        "ROME": {"layers": [rome.layer], "fact_token": "last", **_search(rome), "context_template_length_params": []},
        "MEMIT": {
            "layers": list(memit.layers),
            "layer_selection": "all",
            "fact_token": "subject_last",
            **_search(memit),
            "mom2_update_weight": memit.covariance_weight * width,
        },
    }
    return {method: {"alg_name": method, **fields, **shared} for method, fields in own.items()}


def _search(method: Rome | Memit) -> dict[str, Any]:
    """How a value is looked for."""
    return {
        "v_num_grad_steps": method.steps,
        "v_lr": method.learning_rate,
        "v_weight_decay": method.decay,
        "clamp_norm_factor": method.max_norm,
    }


def modules(model: PreTrainedModel) -> dict[str, str]:
    """What the parts of the model are called, {} standing for a layer; the head's name depends on transformers."""
    parts = {part: name for name, part in model.named_modules()}
    layer = parts[layers_of(model)[0]].rpartition(".")[0] + ".{}"
    known = architecture_of(model)
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    return {
        "rewrite_module_tmp": f"{layer}.{known.mlp_output}",
        "layer_module_tmp": layer,
        "mlp_module_tmp": f"{layer}.{known.mlp_output.rpartition('.')[0]}",
        "attn_module_tmp": f"{layer}.{known.attention[0].rpartition('.')[0]}",
        "ln_f_module": parts[model.base_model.get_submodule(known.final_norm)],
        "lm_head_module": parts[head],
    }


def write_statistics(folder: Path, name: str, module: str, found: KeyStatistics) -> None:
    """The sum over a layer's keys and their number, in the file that layer_stats() looks for.

    Our ridge is in the sum, since EasyEdit inverts it without one.
    """
    path = folder / name.rpartition("/")[2] / f"{DATASET}_stats" / f"{module}_{PRECISION}_mom2_{found.num_keys}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    count = np.array(found.num_keys)
    moment = found.second_moment.double()
    ridge = Rome().ridge * moment.diagonal().mean() * torch.eye(len(moment), dtype=torch.float64)
    total = (moment + ridge).numpy() * found.num_keys
    arrays: dict[str, Any] = {"mom2.count": count, "mom2.mom2": total, "sample_size": count}
    np.savez(path, **arrays)


def write(order: Order, folder: Path, place: Path) -> str:
    """The data files, the arguments, the settings and, if asked for, the statistics of the layers that those edit."""
    sets, model, name = order.edit_sets(), order.checkpoint.model, order.checkpoint.name
    records = records_of(sets)
    for file, row in (("counterfact", counterfact_row), ("zsre", zsre_row), ("knowedit", knowedit_row)):
        write_json(folder / f"{file}.json", [row(record) for record in records])
    write_json(folder / "arguments.json", edit_arguments(records))
    num_keys = 0
    if order.statistics:
        check(len(sets) == 1, f"scenario must give one set of edits for statistics, got {len(sets)}: such as different")
        shared = Shared(progress=False)
        for layer in sorted({Rome().layer, *Memit().layers}):
            found = shared_statistics(model, layer, sets[0].background, shared, statistics=Rome().statistics)
            module, num_keys = modules(model)["rewrite_module_tmp"].format(layer), found.num_keys
            write_statistics(folder / "stats", name, module, found)
    for file, values in settings(model, name, num_keys).items():
        if num_keys or file == "ROME":
            write_yaml(folder / f"{file}.yaml", values)
    return f"{len(records)} edits; python tools/easyedit_run.py CHECKOUT {place} edits the model with them"
