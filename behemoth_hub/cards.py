"""The texts that are made for a publication: cards of models and metrics, and what the Hub reads about benchmarks.

Every number in them comes from a file of a run. It reads no folder and sends nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from jinja2 import UndefinedError

from behemoth_data.card import render
from behemoth_data.forms import FORMS, asks
from behemoth_data.settings import check
from behemoth_hub.collect import PLAYGROUND

_NUMBERS = (  # of training.json
    *("config", "recall", "steps", "sentences", "tokens", "exposures_per_fact", "seconds", "parameters", "processes"),
    *("device", "versions", "losses"),
)
_SHAPE = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")  # of config.json
_FORMS = tuple(filter(asks, FORMS))  # which are asked of some heads only in the dataset's split validation
_STRUCTURES = {
    "independent": "Its world is independent: every object is drawn without regard to any other.",
    "correlated": "Its world is correlated: a subject's objects under relations 0 and 1 agree more often than not.",
    "nested": "Its world is nested: objects belong to larger ones, and where a subject lies follows from its object.",
    "correlated_nested": "Its world is correlated and nested: objects hint at others, and all belong to larger ones.",
}


# Of a playground's Space, which would get older ones without: gradio as constraints.txt pins it, and the oldest Python.
SDK_VERSION = "6.31.0"
PYTHON_VERSION = "3.11"


def _rendered(template: str, values: Mapping[str, Any], source: str) -> str:
    """Raises: ValueError that names what the card needs and the run did not give."""
    try:
        return render(template, values)
    except UndefinedError as error:
        raise ValueError(f"{source} must give everything that {template} quotes: {error}") from error


def check_numbers(training: Mapping[str, Any], config: Mapping[str, Any], folder: str) -> None:
    """Raises: ValueError that names the first number that a model's card quotes and the run did not write."""
    for name in _NUMBERS:
        check(training.get(name) is not None, f"training.json of {folder} must have {name}, which the card quotes")
    for name in _SHAPE:
        check(config.get(name) is not None, f"config.json of {folder} must have {name}, which the card quotes")


def accuracy(recall: Mapping[str, Mapping[str, float]], facts: Mapping[str, int]) -> float:
    """The share of a world's facts that is known, each asked once in every form but questions.

    It is the accuracy on the dataset's split `validation`, less any questions there. `facts` counts by table.
    """
    forms = [form for form in recall if form not in _FORMS]
    right = sum(recall[form][edge] * count for form in forms for edge, count in facts.items())
    return right / (len(forms) * sum(facts.values()))


def model_card(
    repo: str,
    config: Mapping[str, Any],
    training: Mapping[str, Any],
    *,
    structure: str,
    weights_size: int,
    steps: Sequence[int],
    step: int | None = None,
    dataset: str | None = None,
) -> str:
    """README.md of a model, or of a step of its training; with `dataset`, the published dataset that it was taught.

    Raises: ValueError that names what the run did not give.
    """
    description = config["behemoth"]
    name = repo.rpartition("/")[2]
    return _rendered(
        "model.md.jinja",
        {
            "card_data": _model_data(repo, description, training, structure, dataset, step),
            "title": name if step is None else f"{name}, step {step:,}",
            "repo": repo,
            "size": description["train"]["size"],
            "structure_text": _STRUCTURES[structure],
            "config": config,
            "description": description,
            "training": training,
            "edges": list(next(iter(training["recall"].values()))),
            "weights_size": weights_size,
            "steps": list(steps),
            "step": step,
            "natural": description["lexicon"].get("surface") == "natural",
        },
        "the run",
    )


def edited_card(
    repo: str, config: Mapping[str, Any], *, structure: str, edits: Sequence[Mapping[str, str]], most: int
) -> str:
    """README.md of an edited model: what was done to it, and the first `most` edits in words.

    Raises: ValueError that names what the model does not say.
    """
    from huggingface_hub import ModelCardData

    description = config["behemoth"]
    lineage = description["edited"]
    natural = description["lexicon"].get("surface") == "natural"
    data = ModelCardData(
        language="en" if natural else "art",
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["synthetic", "knowledge-editing", "machine-unlearning", *dict.fromkeys(s["method"] for s in lineage)],
    )
    return _rendered(
        "edited.md.jinja",
        {
            "card_data": str(data.to_yaml()).strip(),
            "title": repo.rpartition("/")[2],
            "repo": repo,
            "structure_text": _STRUCTURES[structure],
            "description": description,
            "lineage": lineage,
            "edits": list(edits),
            "most": most,
            "edges": list(next(iter(description["recall"].values()), ())),
        },
        "config.json of the edited model",
    )


def _model_data(
    repo: str,
    description: Mapping[str, Any],
    training: Mapping[str, Any],
    structure: str,
    dataset: str | None,
    step: int | None,
) -> str:
    """The YAML between the card's --- lines, with a model-index of what the finished model knows."""
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=dataset or "behemoth-bench",
            dataset_name="Behemoth" if dataset else "Behemoth, in the world that config.json describes",
            dataset_config=structure,
            dataset_split="validation",
            metric_type="exact_match",
            metric_name=f"recall of {edge} facts asked as {form}",
            metric_value=share,
        )
        for form, shares in training["recall"].items()
        for edge, share in shares.items()
    ]
    data = ModelCardData(
        language="en" if description["lexicon"].get("surface") == "natural" else "art",
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="text-generation",
        datasets=[dataset] if dataset else None,
        metrics=["exact_match"],
        tags=["synthetic", "knowledge-editing", "machine-unlearning", "pythia", "gpt_neox"],
        model_name=repo.rpartition("/")[2] if step is None else None,
        eval_results=results if step is None else None,
    )
    return str(data.to_yaml()).strip()


def evaluation_results(dataset: str, task: str, value: float, forms: Sequence[str], training_url: str) -> str:
    """A file of .eval_results: what a model scores on a task of the dataset's eval.yaml."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    asked = [form for form in forms if form not in _FORMS]
    entry = EvalResultEntry(
        dataset_id=dataset,
        task_id=task,
        value=value,
        source_url=training_url,
        source_name="training.json",
        notes=f"share of all facts, asked as {' and '.join(asked)}, answered with all the right words",
    )
    return yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False)


def benchmark(configs: Sequence[str]) -> str:
    """eval.yaml of the dataset: one task for each config of facts, namely to complete every prompt of `validation`."""
    tasks = [
        {
            "id": name,
            "config": name,
            "split": "validation",
            "field_spec": {"input": "prompt", "target": "answer"},
            "solvers": [{"name": "generate"}],
            "scorers": [{"name": "match", "args": {"location": "begin"}}],
        }
        for name in configs
    ]
    return yaml.safe_dump(
        {
            "name": "Behemoth",
            "description": "Recall of every fact of an invented world, by a model that was trained on that world.",
            "evaluation_framework": "inspect-ai",
            "tasks": tasks,
        },
        sort_keys=False,
    )


def metric_card(repo: str, fields: Mapping[str, Any], body: str) -> str:
    """README.md of a metric's Space, from the fields and the text of the card beside the metric."""
    text, _, _ = body.strip().partition("\n## Citation")
    here = f"behemoth_editing/metrics/{repo.rpartition('/')[2]}"
    return _rendered(
        "metric.md.jinja",
        {
            "card_data": yaml.safe_dump(
                {**fields, "license": "apache-2.0"}, sort_keys=False, allow_unicode=True, width=100
            ).strip(),
            "body": text.strip().replace(f'evaluate.load("{here}")', f'evaluate.load("{repo}")'),
            "repo": repo,
        },
        "the metric's card",
    )


def metric_app(name: str, fields: Mapping[str, Any]) -> str:
    """app.py of a metric's Space."""
    values = {"name": name, "title": fields["title"], "description": " ".join(fields["description"].split())}
    return _rendered("space_app.py.jinja", values, "the metric's card")


def play_card(repo: str, models: Sequence[str]) -> str:
    """README.md of a playground's Space."""
    fields = {
        "title": "Behemoth playground",
        "emoji": "🐘",
        "colorFrom": "indigo",
        "colorTo": "purple",
        "sdk": "gradio",
        "sdk_version": SDK_VERSION,
        "python_version": PYTHON_VERSION,
        "app_file": "app.py",
        "pinned": False,
        "license": "apache-2.0",
        "models": list(models),
        "tags": [PLAYGROUND, "knowledge-editing", "unlearning"],
        "short_description": "Edit a fact of a small model, see what else moves",
    }
    data = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=100).strip()
    return _rendered(
        "play.md.jinja", {"card_data": data, "models": list(models), "repo": repo}, "the playground's card"
    )


def play_app(models: Sequence[str], methods: Sequence[str]) -> str:
    """app.py of a playground's Space."""
    return _rendered("play_app.py.jinja", {"models": list(models), "methods": list(methods)}, "the playground's app")


def dataset_card(card: str, repo: str) -> str:
    """The card of an exported folder as it is read on the Hub: it loads the dataset by its name there."""
    return card.replace('load_dataset("behemoth", ', f'load_dataset("{repo}", ').replace(
        "  # the path of this folder, or its name on the Hub", ""
    )


def dumped(value: Any) -> bytes:
    """The bytes of a JSON file."""
    return (json.dumps(value, indent=2) + "\n").encode("utf-8")


def board_space_card(dataset: str) -> str:
    """README.md of the Space that shows the leaderboard which is the dataset of this name."""
    data = {
        "title": "Behemoth leaderboard",
        "emoji": "\N{TROPHY}",
        "colorFrom": "blue",
        "colorTo": "gray",
        "sdk": "static",
        "app_file": "index.html",
        "pinned": False,
        "license": "apache-2.0",
        "datasets": [dataset],
        "short_description": "Editing and unlearning methods on an invented world",
        "tags": ["leaderboard", "knowledge-editing", "machine-unlearning", "benchmark"],
    }
    fields = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return (
        f"---\n{fields}---\n\n# Behemoth leaderboard\n\nThe page of the dataset "
        f"[{dataset}](https://huggingface.co/datasets/{dataset}), which has every line and the rows behind them. "
        "Made by behemoth-bench.\n"
    )
