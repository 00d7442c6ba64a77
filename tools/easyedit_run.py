"""EasyEdit's own rome or memit on our edits: python tools/easyedit_run.py CHECKOUT FOLDER [--option value ...].

FOLDER is what `behemoth bridge easyedit --statistics` wrote, CHECKOUT a checkout of EasyEdit. Of EasyEdit only these
two methods are imported, so that nothing else of it has to be installed. The edited model is saved as an ordinary
folder, which any tool loads and `behemoth score` scores; printed is how many of the edits hold, asked greedily.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from behemoth_cli.settings import Options, one_line_errors, parse, place
from behemoth_data.places import whole_folder
from behemoth_data.settings import check, check_known, setting

METHODS = ("ROME", "MEMIT")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunArguments:
    """Whose methods, which edits, and where the edited model goes."""

    checkout: str = place("EasyEdit", "folder of EasyEdit's sources; it may also come first")
    folder: str = place("bridge", "what `behemoth bridge easyedit` wrote; it may also come second")
    method: str = setting("ROME", "ROME, one edit after the other, or MEMIT, all at once")
    output_dir: str = place("runs/easyedit", "new folder for the edited model")


def method_of(checkout: Path, name: str) -> types.ModuleType:
    """The module of one of EasyEdit's methods, without what EasyEdit imports beside it.

    Raises: ValueError for a folder that is no checkout.
    """
    source = checkout / "easyeditor"
    check((source / "models").is_dir(), f"checkout must hold easyeditor/models, got {checkout}")
    for package, path in (("easyeditor", source), ("easyeditor.models", source / "models")):
        empty = types.ModuleType(package)
        empty.__path__ = [str(path)]  # a package whose own imports, of all methods, are not run
        sys.modules[package] = empty
    return importlib.import_module(f"easyeditor.models.{name.lower()}.{name.lower()}_main")


def edited(checkout: Path, folder: Path, name: str) -> tuple[Any, Any, list[dict[str, Any]]]:
    """The model that this method makes of the edits, its tokenizer, and the edits."""
    from transformers import AutoModelForCausalLM, AutoTokenizer  # here: help does without

    module = method_of(checkout, name)
    module.CONTEXT_TEMPLATES_CACHE = {"ROME": ["{}"], "MEMIT": [["{}"]]}[name]  # the prompt alone, no generated text
    hparams = getattr(module, f"{name}HyperParams").from_hparams(str(folder / f"{name}.yaml"))
    hparams.stats_dir = str(folder / hparams.stats_dir)
    model = AutoModelForCausalLM.from_pretrained(hparams.model_name, use_safetensors=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(hparams.model_name)
    tokenizer.padding_side = "right"  # as EasyEdit sets it for these two
    given = json.loads((folder / "arguments.json").read_text(encoding="utf-8"))
    rows = zip(given["prompts"], given["target_new"], given["subject"], strict=True)
    requests = [request(name, *row) for row in rows]
    apply = getattr(module, f"apply_{name.lower()}_to_model")
    for together in [requests] if name == "MEMIT" else [[request] for request in requests]:
        model, _ = apply(model, tokenizer, together, hparams)
    return model, tokenizer, requests


def request(name: str, prompt: str, new: str, subject: str) -> dict[str, str]:
    """One edit. MEMIT knows the prompt's last token only as a subject's, so there the last word is the subject."""
    if name == "ROME":
        return {"prompt": prompt, "target_new": new, "subject": subject}
    before, _, last = prompt.rpartition(" ")
    return {"prompt": f"{before} {{}}", "target_new": new, "subject": last}


def holds(model: Any, tokenizer: Any, prompt: str, answer: str) -> bool:
    """Whether the model greedily answers the prompt with every token of the answer."""
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    wanted = tokenizer(answer, add_special_tokens=False)["input_ids"]
    said = model.generate(ids, max_new_tokens=len(wanted), do_sample=False)[0, ids.shape[1] :]
    return bool(said.tolist() == wanted)


def main(argv: Sequence[str] | None = None) -> None:
    """Saves the edited model and prints one line. Raises: SystemExit with status 2 for bad arguments."""
    words, prog = list(sys.argv[1:] if argv is None else argv), "tools/easyedit_run.py"
    if len(words) > 1 and not any(word.startswith("-") for word in words[:2]):
        words[:2] = ["--checkout", words[0], "--folder", words[1]]
    (arguments,) = parse(Options({"": RunArguments}, prog=prog, description=__doc__), words, recipe={})
    with one_line_errors(prog):
        check_known("method", arguments.method, METHODS)
        check(not Path(arguments.output_dir).exists(), f"output_dir must be new, got {arguments.output_dir}")
        with contextlib.redirect_stdout(sys.stderr):  # EasyEdit prints every step
            model, tokenizer, requests = edited(Path(arguments.checkout), Path(arguments.folder), arguments.method)
        held = [
            holds(model, tokenizer, edit["prompt"].format(edit["subject"]), edit["target_new"]) for edit in requests
        ]
        with whole_folder(Path(arguments.output_dir)) as partial:
            model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
    print(f"wrote {arguments.output_dir}: {sum(held)} of {len(held)} edits hold")


if __name__ == "__main__":
    main()
