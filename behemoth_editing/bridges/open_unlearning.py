"""What open-unlearning reads: a data set in TOFU's configs, and the YAML files that point to it.

Source: locuslab/open-unlearning at d3d7cf9: src/data/qa.py and src/data/utils.py (a row is a question, an answer and,
in the perturbed configs, a list of wrong ones; without a chat template it is one text, with the end-of-text token),
configs/data/datasets/TOFU_*.yaml, configs/eval/tofu.yaml and the metrics that it lists, configs/model/phi-1_5.yaml.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from behemoth_data.corpus import Corpus
from behemoth_data.edits import EditConfig, draw_edits
from behemoth_data.forms import ends_in_object
from behemoth_data.rng import Stream
from behemoth_data.scenarios import draw
from behemoth_data.tables import fact_table
from behemoth_data.world import Fact
from behemoth_editing.bridges.order import Order, put_text, write_lines, write_yaml, yaml_text

SHARES = ("01", "05", "10")  # percent of the relation that is forgotten
NUM_WRONG = 5  # answers of a perturbed row at most; all rows have as many, since its collator takes them in columns
DATA = "tofu"  # folder of the data set
# Without those of other data sets, which stand for what a model of natural text knows beside what it was taught.
METRICS = (
    *("forget_Q_A_Prob", "forget_Q_A_ROUGE", "forget_Truth_Ratio", "forget_quality", "extraction_strength", "privleak"),
    *("retain_Q_A_Prob", "retain_Q_A_ROUGE", "retain_Truth_Ratio"),
)
_DATASETS = {  # of configs/data/datasets: the config of the data set, and which column is the answer
    "TOFU_QA_full": ("full", "answer"),
    "TOFU_QA_forget": ("forget10", "answer"),
    "TOFU_QA_forget_para": ("forget10_perturbed", "paraphrased_answer"),
    "TOFU_QA_forget_pert": ("forget10_perturbed", "perturbed_answer"),
    "TOFU_QA_retain": ("retain90", "answer"),
    "TOFU_QA_retain_eval": ("retain_perturbed", "answer"),
    "TOFU_QA_retain_para": ("retain_perturbed", "paraphrased_answer"),
    "TOFU_QA_retain_pert": ("retain_perturbed", "perturbed_answer"),
}

Row = dict[str, Any]


class Questions:
    """Every fact of the world as a question and its answer, the two together being a training sentence."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        own, *others = corpus.forms
        self.asked = [self._rows(own), self._rows(next(filter(ends_in_object, others), own))]
        tails = [corpus.world.num_tails(fact.edge, fact.relation) for fact in self.asked[0]]
        self.num_wrong = min(NUM_WRONG, min(tails) - 1)

    def _rows(self, form: str) -> dict[Fact, tuple[str, str]]:
        found = {}
        for edge in self.corpus.world.edges:
            for row in fact_table(self.corpus, edge, form).to_pylist():
                fact = Fact(edge, row["subject"], row["relation"], row["object"])
                found[fact] = row["prompt"], row["text"].removeprefix(row["prompt"]).strip()
        return found

    def row(self, fact: Fact, perturbed: bool = False) -> Row:
        """A fact's row; perturbed, with its question in another form and answers that are other objects."""
        (question, answer), (other, _) = (asked[fact] for asked in self.asked)
        row: Row = {"question": question, "answer": answer}
        if perturbed:
            row |= {"paraphrased_question": other, "paraphrased_answer": answer, "perturbed_answer": self.wrong(fact)}
        return row

    def wrong(self, fact: Fact) -> list[str]:
        """Answers that are not true: other objects of the relation, seeded."""
        bound = self.corpus.world.num_tails(fact.edge, fact.relation)
        stream = Stream(self.corpus.world.config.seed, f"bridges/open_unlearning/{fact.edge.label}/{fact.relation}")
        start = int(stream.integers(np.array([fact.head]), bound - 1)[0])
        places = [(start + step) % (bound - 1) for step in range(self.num_wrong)]
        objects = [place + (place >= fact.tail) for place in places]  # no place is the true one
        words = self.corpus.grammar.text(self.corpus.grammar.answers(fact.edge, fact.relation, objects)).to_pylist()
        true = self.corpus.grammar.query(fact, self.corpus.forms[0]).answer
        _, answer = self.asked[0][fact]
        return [word + answer.removeprefix(true) for word in words]


def configs(corpus: Corpus, chosen: EditConfig) -> dict[str, list[Row]]:
    """The rows of every config: full, what is forgotten and retained by share, what nobody was taught, perturbed ones.

    What is forgotten is that share of the draw's relation, as scenario `forget` draws it. All facts of a world are
    taught, so that holdout has statements that are false. `retain_perturbed` are the facts that our probes ask and
    that must stay.
    """
    questions = Questions(corpus)
    facts = list(questions.asked[0])
    found = {"full": [questions.row(fact) for fact in facts]}
    for share in SHARES:
        config = dataclasses.replace(chosen, scenario="forget", forget_fraction=int(share) / 100, least_rows=0)
        (edits,) = draw(corpus.world, config)
        forgotten = [edit.fact for edit in edits]
        gone = set(forgotten)
        retained = [fact for fact in facts if fact not in gone]
        others = [fact for fact in retained if (fact.edge, fact.relation) == (forgotten[0].edge, forgotten[0].relation)]
        found[f"forget{share}"] = [questions.row(fact) for fact in forgotten]
        found[f"forget{share}_perturbed"] = [questions.row(fact, perturbed=True) for fact in forgotten]
        found[f"retain{100 - int(share)}"] = [questions.row(fact) for fact in retained]
        found[f"holdout{share}"] = [
            {**questions.row(fact), "answer": questions.wrong(fact)[0]} for fact in others[: len(forgotten)]
        ]
    (edit_set,) = draw_edits(corpus, config)  # of the last share
    kept = dict.fromkeys(
        probe.fact for probe in edit_set.probes if probe.fact not in gone and probe.before.answer == probe.after.answer
    )
    found["retain_perturbed"] = [questions.row(fact, perturbed=True) for fact in kept]
    return found


def model_config(name: str) -> dict[str, Any]:
    """configs/model/behemoth.yaml: the prompt, a space and the answer, with nothing around them."""
    return {
        "model_args": {
            "pretrained_model_name_or_path": name,
            "attn_implementation": "eager",
            "torch_dtype": "float32",
        },
        "tokenizer_args": {"pretrained_model_name_or_path": name},
        "template_args": {
            "apply_chat_template": False,
            "user_start_tag": "",
            "user_end_tag": "",
            "asst_start_tag": " ",
            "asst_end_tag": " ",
        },
    }


def dataset_config(name: str, config: str, answer: str, path: str, **more: str) -> dict[str, Any]:
    """One file of configs/data/datasets."""
    return {
        name: {
            **more,
            "handler": "QADataset",
            "args": {
                "hf_args": {"name": config, "split": "train", "path": path},
                "question_key": "question",
                "answer_key": answer,
                "max_length": 512,
            },
        }
    }


def eval_config() -> dict[str, Any]:
    """configs/eval/tofu.yaml, with the metrics that need no other data set."""
    return {
        "defaults": [{"tofu_metrics": list(METRICS)}],
        "handler": "TOFUEvaluator",
        "output_dir": "${paths.output_dir}",
        "metrics": {},
        "overwrite": False,
        "forget_split": "forget10",
        "holdout_split": "holdout10",
        "retain_logs_path": None,
        "question_key": "question",
        "batch_size": 32,
    }


def _card(names: Iterable[str]) -> str:
    """README.md of the data set, by which datasets.load_dataset knows its configs."""
    lines = "".join(
        f"- config_name: {name}\n  data_files:\n  - split: train\n    path: {name}.json\n" for name in names
    )
    return f"---\nconfigs:\n{lines}---\n"


def write(order: Order, folder: Path, place: Path) -> str:
    """The data set, and YAML files that stand in for those of the same name in open-unlearning's configs."""
    rows, path = configs(order.corpus, order.draw), str(place.absolute() / DATA)
    for name, of_config in rows.items():
        write_lines(folder / DATA / f"{name}.json", of_config)
    put_text(folder / DATA / "README.md", _card(rows))
    data = folder / "configs" / "data" / "datasets"
    for name, (config, answer) in _DATASETS.items():
        write_yaml(data / f"{name}.yaml", dataset_config(name, config, answer, path))
    members = dataset_config("TOFU_QA_forget", "forget10", "answer", path, access_key="forget")
    write_yaml(
        data / "TOFU_MIA.yaml",
        members | dataset_config("TOFU_QA_holdout", "holdout10", "answer", path, access_key="holdout"),
    )
    # The first line is no comment to Hydra: it says where the values belong.
    put_text(folder / "configs" / "eval" / "tofu.yaml", f"# @package eval.tofu\n{yaml_text(eval_config())}")
    write_yaml(folder / "configs" / "model" / "behemoth.yaml", model_config(order.checkpoint.name))
    return f"{len(rows)} configs; python tools/open_unlearning_run.py CHECKOUT {place} unlearns with them"
