"""From the folders of finished runs to the repositories of models, kept steps as branches. Nothing is sent here."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from behemoth_data.card import CARD
from behemoth_data.description import from_description
from behemoth_data.settings import check
from behemoth_hub.cards import accuracy, check_numbers, evaluation_results, model_card
from behemoth_hub.checks import checked
from behemoth_hub.collect import DATASET, Publication, Upload, chosen

_WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
MODEL_FILES = (
    *("config.json", "generation_config.json", *_WEIGHTS, "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json"),
)
_RUN = (*MODEL_FILES, "training.json", "facts.parquet", "training_curve.svg")
_STEP = re.compile(r"step(\d+)")


def models(
    folders: Sequence[Path], namespace: str, *, tag: str | None = None, manifest: Mapping[str, Any] | None = None
) -> list[Publication]:
    """NAMESPACE/behemoth-pythia-SIZE-STRUCTURE for every folder of a finished run, its kept steps as branches.

    `manifest` is that of the dataset that is published with them; without one it is the dataset of all defaults.
    A model that was taught another world than the dataset's does not claim a result on it.
    Raises: ValueError for a folder that is no such run, or two whose models have one name.
    """
    found: dict[str, Path] = {}
    publications = []
    for folder in folders:
        publication = _model(folder, namespace, tag, manifest)
        first = found.setdefault(publication.repo, folder)
        check(first == folder, f"models must have names of their own, got {publication.repo} for {first} and {folder}")
        publications.append(publication)
    return publications


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Run:
    """A finished run as its folder has it."""

    folder: Path
    uploads: Sequence[Upload]
    others: Sequence[str]  # files that are not among them
    config: Mapping[str, Any]
    training: Mapping[str, Any]
    structure: str
    facts: Mapping[str, int]  # by table


def _read_run(folder: Path) -> _Run:
    """Raises: ValueError for a folder that is no finished run, lacks a number or has a world that is made otherwise."""
    uploads, others = chosen(folder, _RUN)
    there = {upload.path: upload for upload in uploads}
    for name in ("config.json", "training.json", "training_curve.svg", "model.safetensors"):
        check(name in there, f"models must be folders of finished runs, got {folder}, which has no {name}")
    config, training = (json.loads(there[name].read()) for name in ("config.json", "training.json"))
    description = config.get("behemoth") or {}
    check(bool(description), f"config.json of {folder} must carry its world under 'behemoth', got none")
    try:
        world = from_description(description).world
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    check_numbers(training, config, str(folder))
    check(
        description.get("recall") == training["recall"],
        f"{folder} must have the same recall in config.json and training.json",
    )
    size = (description.get("train") or {}).get("size")
    check(bool(size), f"config.json of {folder} must say under 'behemoth' how large the model is, got none")
    return _Run(
        folder=folder,
        uploads=uploads,
        others=others,
        config=config,
        training=training,
        structure=world.config.structure,
        facts={edge.label: world.num_facts(edge) for edge in world.edges},
    )


def _model(folder: Path, namespace: str, tag: str | None, manifest: Mapping[str, Any] | None) -> Publication:
    run = _read_run(folder)
    size = run.config["behemoth"]["train"]["size"]
    repo = f"{namespace}/behemoth-pythia-{size}-{run.structure.replace('_', '-')}"
    differs = _other_world(run.config["behemoth"], run.structure, manifest)
    taught = f"{namespace}/{DATASET}" if differs is None else None
    steps, step_folders = _steps(run.others)
    loads = f'transformers.AutoModelForCausalLM.from_pretrained("{repo}"'
    return checked(
        Publication(
            repo=repo,
            kind="model",
            uploads=[*run.uploads, _card(run, repo, steps, None, taught), *_claims(run, repo, taught)],
            branches={
                f"step{step}": [
                    *chosen(folder / f"step{step}", MODEL_FILES)[0],
                    _card(run, repo, steps, step, taught),
                ]
                for step in steps
            },
            tag=tag,
            loading=[
                f"{loads})",
                *(f'{loads}, revision="step{step}")' for step in steps[-1:]),
                f"behemoth edit --model {repo}",
            ],
            left_out=[name for name in run.others if name.split("/")[0] not in step_folders],
            notes=[] if differs is None else [f"{folder} makes no claim on {namespace}/{DATASET}: {differs}"],
        )
    )


def _card(run: _Run, repo: str, steps: Sequence[int], step: int | None, taught: str | None) -> Upload:
    """README.md of the trained model, or of one of its steps."""
    text = model_card(
        repo,
        run.config,
        run.training,
        structure=run.structure,
        weights_size=sum(upload.size for upload in run.uploads if upload.path.endswith(".safetensors")),
        steps=steps,
        step=step,
        dataset=taught,
    )
    return Upload(CARD, text.encode("utf-8"))


def _claims(run: _Run, repo: str, taught: str | None) -> list[Upload]:
    """What the model scores on the dataset that it was taught, in the Hub's format; nothing for another world."""
    if taught is None:
        return []
    recall = run.training["recall"]
    url = f"https://huggingface.co/{repo}/blob/main/training.json"
    text = evaluation_results(taught, run.structure, accuracy(recall, run.facts), list(recall), url)
    return [Upload(".eval_results/behemoth.yaml", text.encode("utf-8"))]


def _steps(names: Iterable[str]) -> tuple[list[int], set[str]]:
    """The kept steps among a run's files, in order, and their folders' names."""
    folders = {name.split("/")[0] for name in names if name.endswith("/config.json")}
    numbers = sorted(int(match[1]) for folder in folders if (match := _STEP.fullmatch(folder)))
    return numbers, {f"step{number}" for number in numbers}


def _other_world(description: Mapping[str, Any], structure: str, manifest: Mapping[str, Any] | None) -> str | None:
    """In which field a model's world differs from that config of the dataset; None if in none."""
    from behemoth_data.behemoth import BehemothConfig, field_helps
    from behemoth_data.world import PRESETS

    if manifest is not None:
        fields = manifest["configs"].get(structure)
    elif structure in PRESETS:
        made = BehemothConfig(name=structure, **PRESETS[structure])
        fields = {name: getattr(made, name) for name in field_helps()}
    else:
        fields = None
    if fields is None:
        return f"it has no config {structure}"
    taught = {**description["world"], **description["lexicon"], **description["corpus"]}
    for name, value in json.loads(json.dumps(taught)).items():
        there = json.loads(json.dumps(fields.get(name)))
        if there != value:
            return f"{name} of its world is {value}, and {there} there"
    return None
