"""Whether a card is right, found without the Hub: its front matter, what it names, and what was forgotten in it.

It changes nothing and knows no publisher.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

import yaml

from behemoth_data.settings import check
from behemoth_hub.collect import PLAYGROUND, Publication, Upload, check_publication

_FRONT = re.compile(r"\A---\n(.*?)^---\n", re.DOTALL | re.MULTILINE)
_PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
_LEFT = re.compile(r"\[More Information Needed\]|\{\{ |\{%|\b(?:TO" r"DO|TBD|FIXME|Undefined)\b")
_FIELDS = {  # of front matter, by what they are checked against
    "license": "license",
    "task_categories": "task",
    "pipeline_tag": "task",
    "size_categories": "size",
    "language": "language",
    "sdk": "space_sdk",
}


class _Strict(yaml.SafeLoader):
    """YAML in which no key stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for key in keys if keys.count(key) > 1]
        check(not twice, f"YAML must have every key once, got {twice[0] if twice else ''} twice{node.start_mark}")
        return super().construct_mapping(node, deep=deep)


def read_yaml(text: str, name: str) -> Any:
    """What the YAML says. Raises: ValueError that begins with the name if it is none or has a key twice."""
    try:
        return yaml.load(text, Loader=_Strict)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{name}: {' '.join(str(error).split())}") from error


def front_matter(card: str, name: str) -> dict[str, Any]:
    """The fields of a card. Raises: ValueError that begins with the name if there are none or one stands twice."""
    match = _FRONT.match(card)
    data: Any = read_yaml(match[1], name) if match else None
    check(isinstance(data, dict), f"{name}: a card must start with fields between two lines of ---")
    return dict(data)


@functools.cache
def known_values() -> Mapping[str, frozenset[str]]:
    """What the Hub accepts, by field."""
    text = resources.files("hub_cards").joinpath("known_values.yaml").read_text(encoding="utf-8")
    return {field: frozenset(entry["values"]) for field, entry in read_yaml(text, "known_values.yaml").items()}


def checked(publication: Publication) -> Publication:
    """The publication itself. Raises: ValueError if a file of it may not be published or a card is wrong."""
    check_publication(publication)
    check_cards(publication)
    return publication


def check_cards(publication: Publication) -> None:
    """Raises: ValueError that lists everything that is wrong with the cards of a publication."""
    faults: list[str] = []
    for revision, uploads in publication.revisions.items():
        place, card = f"{publication.repo}/README.md at {revision}", publication.card(revision)
        data = front_matter(card, place)
        faults += [f"{place}: {fault}" for fault in card_faults(publication.kind, data, card, uploads)]
        for upload in uploads:
            if upload.path.endswith(".yaml"):
                name = f"{publication.repo}/{upload.path}"
                found = read_yaml(upload.read().decode("utf-8"), name)
                faults += [f"{name}: {fault}" for fault in _benchmark_faults(upload.path, found, data)]
    check(not faults, "; ".join(faults))


def card_faults(kind: str, data: Mapping[str, Any], text: str, uploads: Sequence[Upload]) -> list[str]:
    """Everything that is wrong with one card beside these files."""
    return [
        *_unknown_values(data),
        *_missing_pictures(text, uploads),
        *(f"something is left to fill in: {match[0]!r}" for match in _LEFT.finditer(text)),
        *{"dataset": _dataset_faults, "model": _model_faults, "space": _space_faults}[kind](data, uploads),
    ]


def _unknown_values(data: Mapping[str, Any]) -> Iterator[str]:
    for field, kind in _FIELDS.items():
        for value in _as_list(data.get(field)):
            if value not in known_values()[kind]:
                yield f"{field} must be one that the Hub knows, got {value!r}"
    if "license" not in data:
        yield "license must be given"


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def _missing_pictures(text: str, uploads: Iterable[Upload]) -> Iterator[str]:
    there = {upload.path for upload in uploads}
    for target in _PICTURE.findall(text):
        if "://" not in target and target not in there:
            yield f"the picture {target} must be among the files"


def _dataset_faults(data: Mapping[str, Any], uploads: Sequence[Upload]) -> Iterator[str]:
    for field in ("pretty_name", "language", "task_categories", "size_categories", "configs", "dataset_info"):
        if not data.get(field):
            yield f"{field} must be given"
    configs = _as_list(data.get("configs"))
    names = [config["config_name"] for config in configs]
    yield from (f"config {name} must be listed once" for name in sorted({n for n in names if names.count(n) > 1}))
    if sum(config.get("default", False) for config in configs) != 1 and names != ["default"]:
        yield f"one config must be the default, got {[c['config_name'] for c in configs if c.get('default')]}"
    described = [info.get("config_name", "default") for info in _as_list(data.get("dataset_info"))]
    if described != names:
        yield f"dataset_info must describe the configs {names}, got {described}"
    left = {upload.path for upload in uploads if upload.path.endswith(".parquet")}
    for config in configs:
        for files in config["data_files"]:
            found = fnmatch.filter([u.path for u in uploads], files["path"])
            left -= set(found)
            if not found:
                yield f"config {config['config_name']} names {files['path']}, and there is no such file"
    yield from (f"{path} must belong to a config" for path in sorted(left))


def _model_faults(data: Mapping[str, Any], uploads: Sequence[Upload]) -> Iterator[str]:
    there = {upload.path for upload in uploads}
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        if name not in there:
            yield f"{name} must be among the files"
    if data.get("library_name") != "transformers":
        yield f"library_name must be transformers, got {data.get('library_name')!r}"
    for field in ("pipeline_tag", "language"):
        if not data.get(field):
            yield f"{field} must be given"


def _space_faults(data: Mapping[str, Any], uploads: Sequence[Upload]) -> Iterator[str]:
    there = {upload.path for upload in uploads}
    static = data.get("sdk") == "static"  # a page, and nothing that runs
    for name in (data.get("app_file"), *(() if static else ("requirements.txt",))):
        if name not in there:
            yield f"{name} must be among the files"
    for field in ("title", "sdk", "emoji"):
        if not data.get(field):
            yield f"{field} must be given"
    tags = set(data.get("tags", []))
    if not static and PLAYGROUND not in tags and not {"evaluate", "metric"} <= tags:
        yield f"tags must hold evaluate and metric, got {data.get('tags')}"


def _benchmark_faults(path: str, found: Any, card: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with eval.yaml, or with a file of results for such a benchmark."""
    if path == "eval.yaml":
        framework = found.get("evaluation_framework")
        if framework not in known_values()["evaluation_framework"]:
            yield f"evaluation_framework must be one that the Hub knows, got {framework!r}"
        splits = {
            (config["config_name"], files["split"]) for config in card["configs"] for files in config["data_files"]
        }
        tasks = found.get("tasks") or []
        for task in tasks:
            if (task["config"], task["split"]) not in splits:
                yield f"task {task['id']} names the split {task['config']}/{task['split']}, and there is none"
        if len({task["id"] for task in tasks}) != len(tasks) or not tasks:
            yield "tasks must be given, each with an id of its own"
    elif path.startswith(".eval_results/"):
        from huggingface_hub import parse_eval_result_entries

        for entry in parse_eval_result_entries(found):
            if not 0 <= entry.value <= 1:
                yield f"the value of {entry.task_id} must lie in [0, 1], got {entry.value}"
