"""From folders to publications: the dataset, models, metrics and results as their repositories are to be.

Each is checked here, offline, before anything is sent; nothing is sent here.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import requires
from pathlib import Path
from typing import Any

from behemoth_data.card import CARD, picture
from behemoth_data.corpus import from_description
from behemoth_data.export import MANIFEST, card_of, read_manifest
from behemoth_data.settings import check
from behemoth_hub.cards import (
    accuracy,
    benchmark,
    check_numbers,
    dataset_card,
    dumped,
    evaluation_results,
    metric_app,
    metric_card,
    model_card,
)
from behemoth_hub.checks import check_cards, front_matter
from behemoth_hub.collect import Publication, Upload, check_publication, chosen, files_in

DATASET = "behemoth"  # the name of the dataset's repository
RESULTS = "behemoth-results"

_WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
_MODEL = (
    *("config.json", "generation_config.json", *_WEIGHTS, "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json"),
)
_RUN = (*_MODEL, "training.json", "facts.parquet", "training_curve.svg")
_STEP = re.compile(r"step(\d+)")


def _checked(publication: Publication) -> Publication:
    """Raises: ValueError if a file may not be published or a card is wrong."""
    check_publication(publication)
    check_cards(publication)
    return publication


# The dataset


def dataset(folder: Path, namespace: str, *, tag: str | None = None, progress: bool = True) -> Publication:
    """NAMESPACE/behemoth as it is to be: an exported folder whose card was counted anew and found right.

    It is tagged with the version of its rows unless another tag is given.
    Raises: ValueError for a folder that is not exactly what its manifest says, OSError for one without a manifest.
    """
    repo = f"{namespace}/{DATASET}"
    there = files_in(folder)
    check(MANIFEST in there, f"dataset must be a folder that scripts/make_data.py wrote, got {folder}")
    manifest = read_manifest(folder)
    card = card_of(folder, progress=progress)
    check(
        CARD in there and card == there[CARD].read_text(encoding="utf-8"),
        f"{CARD} of {folder} must be the card that its data files give: export it again",
    )
    uploads = []
    for path, entry in manifest["files"].items():
        check(path in there, f"{folder} must hold {path}, which its manifest lists")
        upload = Upload(path, there[path])
        check(
            upload.size == entry["size"] and upload.sha256 == entry["sha256"],
            f"{path} of {folder} must be as its manifest says ({entry['size']} bytes), got another file",
        )
        uploads.append(upload)
    facts = [name for name in manifest["configs"] if not name.endswith("_edits")]
    made = {CARD: dataset_card(card, repo).encode("utf-8")}
    if facts:
        made["eval.yaml"] = benchmark(facts).encode("utf-8")
    manifest["files"] |= {
        path: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for path, data in made.items()
    }
    made[MANIFEST] = dumped(manifest)
    loaded = facts or list(manifest["configs"])
    return _checked(
        Publication(
            repo=repo,
            kind="dataset",
            uploads=[
                *(upload for upload in uploads if upload.path not in made),
                *(Upload(path, data) for path, data in made.items()),
            ],
            tag=tag or f"v{manifest['rows_version']}",
            loading=[f'datasets.load_dataset("{repo}", "{name}")' for name in loaded],
            left_out=[path for path in there if path not in manifest["files"] and path != MANIFEST],
        )
    )


# Models


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


def _model(folder: Path, namespace: str, tag: str | None, manifest: Mapping[str, Any] | None) -> Publication:
    uploads, others = chosen(folder, _RUN)
    there = {upload.path: upload for upload in uploads}
    for name in ("config.json", "training.json", "training_curve.svg", "model.safetensors"):
        check(name in there, f"models must be folders of finished runs, got {folder}, which has no {name}")
    config, training = (json.loads(there[name].read()) for name in ("config.json", "training.json"))
    description = config.get("behemoth") or {}
    check(bool(description), f"config.json of {folder} must carry its world under 'behemoth', got none")
    try:
        corpus = from_description(description)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    check_numbers(training, config, str(folder))
    check(
        description.get("recall") == training["recall"],
        f"{folder} must have the same recall in config.json and training.json",
    )
    structure = corpus.world.config.structure
    size = (description.get("train") or {}).get("size")
    check(bool(size), f"config.json of {folder} must say under 'behemoth' how large the model is, got none")
    repo = f"{namespace}/behemoth-pythia-{size}-{structure.replace('_', '-')}"
    differs = _other_world(description, structure, manifest)
    published = f"{namespace}/{DATASET}" if differs is None else None
    numbers, step_folders = _steps(others)

    def card(step: int | None) -> Upload:
        text = model_card(
            repo,
            config,
            training,
            structure=structure,
            weights_size=sum(upload.size for upload in uploads if upload.path.endswith(".safetensors")),
            steps=numbers,
            step=step,
            dataset=published,
        )
        return Upload(CARD, text.encode("utf-8"))

    made = [card(None)]
    if published is not None:
        facts = {edge.label: corpus.world.num_facts(edge) for edge in corpus.world.edges}
        url = f"https://huggingface.co/{repo}/blob/main/training.json"
        value = accuracy(training["recall"], facts)
        text = evaluation_results(published, structure, value, list(training["recall"]), url)
        made.append(Upload(".eval_results/behemoth.yaml", text.encode("utf-8")))
    branches = {f"step{number}": [*chosen(folder / f"step{number}", _MODEL)[0], card(number)] for number in numbers}
    return _checked(
        Publication(
            repo=repo,
            kind="model",
            uploads=[*uploads, *made],
            branches=branches,
            tag=tag,
            loading=[
                f'transformers.AutoModelForCausalLM.from_pretrained("{repo}")',
                *(
                    f'transformers.AutoModelForCausalLM.from_pretrained("{repo}", revision="step{number}")'
                    for number in numbers[-1:]
                ),
                f"accelerate launch scripts/edit.py --model {repo}",
            ],
            left_out=[name for name in others if name.split("/")[0] not in step_folders],
            notes=[] if differs is None else [f"{folder} makes no claim on {namespace}/{DATASET}: {differs}"],
        )
    )


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


# Metrics


def metrics(namespace: str, *, folder: Path | None = None, tag: str | None = None) -> list[Publication]:
    """NAMESPACE/NAME for every metric of behemoth_editing, or of another folder of such folders, each a Space.

    Raises: ValueError for a metric without a card or that needs a package which this project does not.
    """
    place = _metrics_folder() if folder is None else folder
    names = sorted(path.name for path in place.iterdir() if (path / f"{path.name}.py").is_file())
    return [_metric(place / name, f"{namespace}/{name}", tag) for name in names]


def _metrics_folder() -> Path:
    """Where the metrics are, found without importing what is beside them."""
    spec = importlib.util.find_spec("behemoth_editing")
    if spec is None or spec.origin is None:
        raise ValueError("behemoth_editing must be installed, for its metrics are to be published")
    return Path(spec.origin).with_name("metrics")


def _metric(folder: Path, repo: str, tag: str | None) -> Publication:
    name = folder.name
    (code,), _ = chosen(folder, [f"{name}.py"])
    card = folder / CARD
    check(card.is_file(), f"metric {name} must have a card, {card}")
    text = card.read_text(encoding="utf-8")
    fields = front_matter(text, str(card))
    body = text.split("---\n", 2)[2]
    texts = {
        CARD: metric_card(repo, fields, body),
        "app.py": metric_app(name, fields),
        "requirements.txt": _requirements(code.read().decode("utf-8"), name),
    }
    return _checked(
        Publication(
            repo=repo,
            kind="space",
            uploads=[
                code,
                *(Upload(path, made.encode("utf-8")) for path, made in texts.items()),
                Upload("world.svg", picture("nested")),
            ],
            tag=tag,
            loading=[f'evaluate.load("{repo}")'],
        )
    )


def _requirements(code: str, name: str) -> str:
    """A line for every package of others that the code imports, as this project requires it."""
    imported = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported.add(node.module.split(".")[0])
    wanted = imported - set(sys.stdlib_module_names)
    # A line with a marker, after a semicolon, is of an extra.
    lines = [line for line in requires("behemoth-bench") or [] if ";" not in line]
    known = {re.split(r"[^\w.-]", line, maxsplit=1)[0]: line for line in lines}
    lacking = sorted(wanted - set(known))
    check(not lacking, f"metric {name} must need only packages that this project requires, got {lacking}")
    return "".join(f"{known[package]}\n" for package in sorted(wanted))


# Results


def results(folders: Sequence[Path], namespace: str, *, tag: str | None = None) -> Publication:
    """NAMESPACE/behemoth-results: the rows of every folder's results.jsonl as one table, models without absolute paths.

    Raises: ValueError for a folder without results, a line that is none, or a cell that occurs twice.
    """
    from behemoth_editing.result_table import results_files  # which imports torch: not for those who need none
    from behemoth_editing.results import load_results

    repo = f"{namespace}/{RESULTS}"
    for folder in folders:
        files_in(folder)  # refuses links that lead out of it
    # Where a model lies on this machine is nobody's business.
    rows = [
        {**row, "model": Path(row["model"]).name if os.path.isabs(row["model"]) else row["model"]}
        for row in load_results(folders)
    ]
    files = results_files(rows, repo)
    return _checked(
        Publication(
            repo=repo,
            kind="dataset",
            uploads=[Upload(path, content) for path, content in files.items()],
            tag=tag,
            loading=[f'datasets.load_dataset("{repo}", split="test")'],
        )
    )
