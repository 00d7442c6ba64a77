"""What memit, rome, EasyEdit and open-unlearning read, asked of our files as their own readers ask it."""

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import load_dataset

from behemoth_data.edits import EditConfig
from behemoth_data.kinds import KINDS
from behemoth_data.tokenizer import build_tokenizer
from behemoth_data.world import Edge, Fact
from behemoth_editing.bridges import BRIDGES, write_bridge
from behemoth_editing.bridges.easyedit import modules
from behemoth_editing.bridges.order import Order

DIFFERENT = EditConfig(scenario="different", num_edits=3)


def written(name: str, checkpoint, folder: Path, draw: EditConfig = DIFFERENT, **options) -> tuple[Path, Order]:
    order = Order(checkpoint=checkpoint, draw=draw, **options)
    write_bridge(name, order, folder / name)
    return folder / name, order


def read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "draw", [DIFFERENT, EditConfig(num_edits=2), EditConfig(scenario="refuse", forget_fraction=0.1)]
)
def test_every_edit_is_a_record_of_memit_and_rome(draw, checkpoint, tmp_path):
    folder, order = written("counterfact", checkpoint, tmp_path, draw)
    records = read(folder / "multi_counterfact.json")
    assert records == read(folder / "counterfact.json")
    requests = list(chain.from_iterable(edit_set.requests for edit_set in order.edit_sets()))
    originals = chain.from_iterable(edit_set.originals for edit_set in order.edit_sets())
    assert len(records) == len(requests)
    for number, (record, new, old) in enumerate(zip(records, requests, originals, strict=True)):
        rewrite = record["requested_rewrite"]
        assert record["case_id"] == number
        assert rewrite["prompt"].format(rewrite["subject"]) == new.prompt  # as their editors put it together
        assert (rewrite["target_new"]["str"], rewrite["target_true"]["str"]) == (new.answer, old.answer)
        assert rewrite["target_new"]["id"] != rewrite["target_true"]["id"]
        assert isinstance(record["generation_prompts"], list)


def test_neighbours_of_a_record_have_its_old_object_and_attributes_its_new_one(checkpoint, tmp_path):
    folder, _ = written("counterfact", checkpoint, tmp_path)
    corpus, asked = checkpoint.corpus, 0
    facts = [Fact(Edge.SUBJECT_OBJECT, *ids) for ids in np.stack(corpus.world.facts(Edge.SUBJECT_OBJECT), 1).tolist()]
    prompts = corpus.grammar.queries(facts)
    answer_of = {query.prompt: query.answer for query in prompts}
    for record in read(folder / "counterfact.json"):
        rewrite = record["requested_rewrite"]
        for field, right in (("neighborhood_prompts", "target_true"), ("attribute_prompts", "target_new")):
            assert {answer_of[prompt] for prompt in record[field]} <= {rewrite[right]["str"]}
            asked += len(record[field])
        assert len(record["paraphrase_prompts"]) == 1  # rso, the other form of the corpus
    assert asked > 0


def test_every_kind_of_probe_is_an_argument_of_edit(checkpoint, tmp_path):
    folder, order = written("easyedit", checkpoint, tmp_path)
    (edit_set,), given = order.edit_sets(), read(folder / "arguments.json")
    kinds = {probe.kind for probe in edit_set.probes} - {"edited"}  # which is the edit itself
    assert given["locality_inputs"].keys() | given["portability_inputs"].keys() == kinds
    assert all(KINDS[kind].group == "keep" for kind in given["locality_inputs"])
    for inputs in chain(given["locality_inputs"].values(), given["portability_inputs"].values()):
        assert len(inputs["prompt"]) == len(inputs["ground_truth"]) == 3  # one for each edit, or None
        for prompts, answers in zip(inputs["prompt"], inputs["ground_truth"], strict=True):
            assert prompts is None if answers is None else len(prompts) == len(answers) > 0
    total = sum(len(prompts or ()) for inputs in given["locality_inputs"].values() for prompts in inputs["prompt"])
    assert total == sum(KINDS[probe.kind].group == "keep" for probe in edit_set.probes)
    for prompt, subject in zip(given["prompts"], given["subject"], strict=True):
        assert subject in prompt


def test_data_files_have_what_easyedits_readers_take(checkpoint, tmp_path):
    folder, order = written("easyedit", checkpoint, tmp_path)
    (edit_set,) = order.edit_sets()
    new = [request.answer for request in edit_set.requests]
    assert [row["target_new"] for row in read(folder / "counterfact.json")] == new
    for row in read(folder / "counterfact.json"):
        assert row.keys() >= {"prompt", "ground_truth", "rephrase_prompt", "locality_prompt", "locality_ground_truth"}
    rows = read(folder / "zsre.json")
    assert [row["alt"] for row in rows] == new
    assert all("nq question: " in row["loc"] and row["answers"] and row["loc_ans"] for row in rows)
    for row in read(folder / "knowedit.json"):
        (first, *_) = row["locality"]["Relation_Specificity"]
        assert isinstance(first["prompt"], str)
        assert isinstance(first["ground_truth"][0], str)
        assert row["portability"]["Reasoning"]


def test_settings_name_parts_of_the_model_and_statistics_are_second_moments_with_the_ridge(checkpoint, tmp_path):
    folder, _ = written("easyedit", checkpoint, tmp_path, statistics=True)
    rome, memit = (yaml.safe_load((folder / f"{name}.yaml").read_text("utf-8")) for name in ("ROME", "MEMIT"))
    assert (rome["fact_token"], rome["context_template_length_params"], rome["kl_factor"]) == ("last", [], 0)
    assert memit["fact_token"] == "subject_last"  # its MEMIT raises for last
    names = dict(checkpoint.model.named_modules())
    for field in ("rewrite_module_tmp", "layer_module_tmp", "mlp_module_tmp", "attn_module_tmp"):
        assert rome[field].format(3) in names
    assert {rome["ln_f_module"], rome["lm_head_module"]} <= names.keys()
    keys, layer = rome["mom2_n_samples"], modules(checkpoint.model)["rewrite_module_tmp"].format(rome["layers"][0])
    place = folder / rome["stats_dir"] / Path(checkpoint.name).name / "wikipedia_stats"
    with np.load(place / f"{layer}_float64_mom2_{keys}.npz") as stored:
        assert (int(stored["mom2.count"]), int(stored["sample_size"])) == (keys, keys)
        np.linalg.cholesky(stored["mom2.mom2"])  # without the ridge it has no inverse: raises
    assert len(list(place.glob("*.npz"))) == 3  # layers 1, 2 and 3


def test_statistics_of_several_sets_are_refused(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="scenario must give one set of edits for statistics, got 2"):
        written("easyedit", checkpoint, tmp_path, EditConfig(num_edits=2), statistics=True)
    assert not (tmp_path / "easyedit").exists()


@pytest.fixture(scope="module")
def tofu(checkpoint, tmp_path_factory):
    """What is written for open-unlearning; tests leave it as it is."""
    return written("open_unlearning", checkpoint, tmp_path_factory.mktemp("bridge"))[0]


def test_tofu_configs_are_a_data_set_whose_forget_and_retain_make_it_full(tofu, tmp_path):
    def rows(config: str) -> list[dict]:
        return load_dataset(str(tofu / "tofu"), config, split="train", cache_dir=str(tmp_path / "cache")).to_list()

    full = rows("full")
    assert len(full) == 80 * 3 + 80 * 3 + 20 * 3
    for share, retained in (("01", "99"), ("10", "90")):
        parts = rows(f"forget{share}") + rows(f"retain{retained}")
        assert sorted(map(str, parts)) == sorted(map(str, full))
        assert len(rows(f"holdout{share}")) == len(rows(f"forget{share}"))
    taught = {(row["question"], row["answer"]) for row in full}
    assert not taught & {(row["question"], row["answer"]) for row in rows("holdout10")}
    lengths = set()
    for row in rows("forget10_perturbed") + rows("retain_perturbed"):
        assert row["paraphrased_answer"] == row["answer"] not in row["perturbed_answer"]
        assert (row["question"], row["answer"]) in taught
        lengths.add((len(row["perturbed_answer"]), len(set(row["perturbed_answer"]))))
    assert lengths == {(4, 4)}  # nested tables have five tails, and all rows as many answers


def test_a_row_of_tofu_is_a_training_sentence_in_tokens(checkpoint, tofu):
    tags = yaml.safe_load((tofu / "configs" / "model" / "behemoth.yaml").read_text("utf-8"))["template_args"]
    row = json.loads((tofu / "tofu" / "full.json").read_text("utf-8").splitlines()[0])
    said = tags["user_start_tag"] + row["question"] + tags["user_end_tag"] + tags["asst_start_tag"] + row["answer"]
    corpus = checkpoint.corpus
    tokenizer = build_tokenizer(corpus.grammar.lexicon)
    (sentence,) = corpus.grammar.tokens(corpus.world.edges[0], "statement", 0, 0, corpus.world.objects(0, 0)).tolist()
    assert [*tokenizer(said)["input_ids"], tokenizer.eos_token_id] == sentence


def test_configs_point_to_the_data_set_and_name_its_configs(tofu):
    for path in (tofu / "configs" / "data" / "datasets").glob("*.yaml"):
        for entry in yaml.safe_load(path.read_text("utf-8")).values():
            source = entry["args"]["hf_args"]
            assert (Path(source["path"]) / f"{source['name']}.json").is_file()
    assert (tofu / "configs" / "eval" / "tofu.yaml").read_text("utf-8").startswith("# @package eval.tofu\n")


def test_docs_have_a_command_and_a_row_for_every_bridge():
    page = (Path(__file__).resolve().parents[3] / "docs" / "bridges.md").read_text(encoding="utf-8")
    for name, bridge in BRIDGES.items():
        assert f"behemoth bridge {name} --model" in page
        assert f"| `{name}` | {bridge.tool} |" in page
