"""Reads model folders with whatever transformers is installed and nothing of ours: is it what we wrote?

Each FOLDER has FOLDER.safetensors beside it, as write_folders.py leaves it. Ends with 1 if any fact differs.
"""

import json
import sys
from pathlib import Path

import tokenizers
import torch
import transformers
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

BATCH, TOLERANCE = 50, 1e-5


def main(folders):
    for folder in folders:
        for fact, right in facts(folder):
            print(f"{'ok' if right else 'WRONG'}: {folder.name}: {fact}", flush=True)
            yield right


def facts(folder):
    """(what is claimed of the folder, whether it is so)."""
    with safe_open(folder.with_suffix(".safetensors"), "pt") as file:
        prompts = json.loads(file.metadata()["prompts"])
        lengths, ids, logits, answers = (file.get_tensor(name) for name in ("lengths", "ids", "logits", "answers"))
    ids, logits = ids.split(lengths.tolist()), logits.split(lengths.tolist())
    rows = [row.tolist() for row in ids]
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    model.eval()
    yield from of_tokenizer(tokenizer, model, prompts, rows)

    singles = [tokenizer(prompt, return_tensors="pt") for prompt in prompts]
    starts = range(0, len(prompts), BATCH)
    batches = [tokenizer(prompts[start : start + BATCH], return_tensors="pt", padding=True) for start in starts]
    with torch.inference_mode():
        found = [model(**single).logits[0] for single in singles]
        off = float((torch.cat(found) - torch.cat(logits)).abs().max())
        yield f"logits of {len(prompts)} prompts differ by {off:.1e}, at most {TOLERANCE}", off <= TOLERANCE
        last = torch.cat([model(**batch).logits[:, -1] for batch in batches])
        off = float((last - torch.stack([expected[-1] for expected in logits])).abs().max())
        yield f"the next token's in padded batches differ by {off:.1e}, at most {TOLERANCE}", off <= TOLERANCE

    def answer(batch):
        said = model.generate(**batch, do_sample=False, max_new_tokens=answers.shape[1])[
            :, batch["input_ids"].shape[1] :
        ]
        return torch.nn.functional.pad(said, (0, answers.shape[1] - said.shape[1]), value=tokenizer.pad_token_id)

    for how, inputs in ("one at a time", singles), ("in padded batches", batches):
        yield f"answers {how} are those expected", torch.equal(torch.cat([*map(answer, inputs)]), answers)

    generate = pipeline("text-generation", model=model, tokenizer=tokenizer)
    # Version 4's pipeline takes the space before a full stop away unless it is told not to.
    options = {"max_new_tokens": answers.shape[1], "return_full_text": False, "clean_up_tokenization_spaces": False}
    said = [found[0]["generated_text"] for found in generate(prompts, batch_size=BATCH, do_sample=False, **options)]
    expected = tokenizer.batch_decode(answers, skip_special_tokens=True)
    yield "a pipeline in batches says what is expected", [text.strip() for text in said] == expected


def of_tokenizer(tokenizer, model, prompts, rows):
    encoded = tokenizer(prompts)
    yield "prompts become the tokens expected", encoded["input_ids"] == rows
    yield "nothing but ids and mask is returned", sorted(encoded) == ["attention_mask", "input_ids"]
    yield "tokens become the prompts again", tokenizer.batch_decode(rows) == prompts
    yield "no token is added to a text", tokenizer("")["input_ids"] == []
    lengths = sorted({len(row) for row in rows})
    yield f"prompts have several lengths: {lengths}", len(lengths) > 1
    yield "padding is on the left", tokenizer.padding_side == "left"
    special = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    for name, config in ("config", model.config), ("generation_config", model.generation_config):
        found = (config.bos_token_id, config.eos_token_id, config.pad_token_id)
        yield f"special ids of {name} are the tokenizer's: {found}", found == special == (0, 0, 1)
    for part, table in ("input", model.get_input_embeddings()), ("output", model.get_output_embeddings()):
        yield f"{part} embeddings have every token", len(table.weight) >= len(tokenizer)
    auto = AutoModelForCausalLM.from_pretrained(model.name_or_path, torch_dtype="auto").dtype
    yield f"its own dtype is {auto}", auto == torch.float32


if __name__ == "__main__":
    print(f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}")
    sys.exit(not all([*main([Path(argument) for argument in sys.argv[1:]])]))
