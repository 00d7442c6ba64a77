"""What a training run leaves on disk: its newest state, the models it keeps, and the finished folder.

Everything is written under a hidden name and renamed when it is whole, so that a kill or a full disk at any
moment leaves a state to go on from, or nothing that could not be made again. No pickle: tensors are
safetensors, numbers JSON.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from pyarrow import parquet
from safetensors.torch import load_file, save_file
from transformers import GPTNeoXForCausalLM, PreTrainedModel

from behemoth_data.corpus import Corpus
from behemoth_data.places import sync, whole_folder, written_folder
from behemoth_data.readable import copy_mode, make_readable
from behemoth_data.settings import check
from behemoth_data.tokenizer import build_tokenizer
from behemoth_models.config import TrainConfig
from behemoth_models.curve import draw_curve
from behemoth_models.knowledge import weights_digest
from behemoth_models.ledger import Ledger
from behemoth_models.precision import resolve_precision

_STATE = re.compile(r"state-(\d+)")
_DERIVED = ("digests", "num_tokens")  # what follows from the settings of a run


@dataclasses.dataclass
class State:
    """How far a run is, beside its weights, its optimizers and its ledger."""

    step: int = 0  # optimizer steps done
    tokens: int = 0  # predicted so far, over all processes
    seconds: float = 0.0  # of training and measuring, over all sittings
    step_seconds: float = 0.0  # of those, in steps: without measuring recall and saving
    ended: bool = False  # by a target or a budget that the number of steps does not know of
    losses: list[float] = dataclasses.field(default_factory=list)  # of every step
    curve: list[dict[str, Any]] = dataclasses.field(default_factory=list)  # one point per measurement


class Run:
    """One run's folder. Every process of a run makes one; only the main process writes."""

    def __init__(self, output: Path, corpus: Corpus, config: TrainConfig, start: PreTrainedModel | None = None) -> None:
        self.output, self.corpus = output, corpus
        self.header = json.loads(json.dumps({"train": dataclasses.asdict(config), "data": corpus.description()}))
        if start is not None:
            learns = sorted(name for name, parameter in start.named_parameters() if parameter.requires_grad)
            self.header["start"] = {"weights": weights_digest(start), "learns": learns}

    def open(
        self,
        model: GPTNeoXForCausalLM,
        optimizers: Sequence[torch.optim.Optimizer],
        ledger: Ledger,
        accelerator: Accelerator,
    ) -> State:
        """The state of the run in `output`, with weights, optimizers and ledger as they were; or a first one.

        Raises: ValueError if `output` holds a finished run, a run of other settings, or anything else.
        """
        newest = self._newest()
        # All processes look before one writes, and must see the same.
        step = -1 if newest is None else int(newest.name.removeprefix("state-"))
        seen = accelerator.gather(torch.tensor([step], device=accelerator.device)).tolist()
        check(len(set(seen)) == 1, f"output_dir must be one folder for all processes, got states {seen} (-1: none)")
        if newest is None:
            state = State()
            self.save(state, model, optimizers, ledger, accelerator)
            return state
        numbers = json.loads((newest / "run.json").read_text(encoding="utf-8"))
        _check_same(numbers.pop("header"), {**self.header, **self._hardware(accelerator)}, str(self.output))
        tensors = load_file(newest / "state.safetensors")
        model.load_state_dict(_part(tensors, "model"))
        for number, optimizer in enumerate(optimizers):
            moments: dict[int, dict[str, torch.Tensor]] = {}
            for name, tensor in _part(tensors, f"optimizer{number}").items():
                parameter, _, key = name.partition(".")
                # A copy: torch takes it as it is, and a file that is mapped into memory cannot be removed everywhere.
                moments.setdefault(int(parameter), {})[key] = tensor.clone()
            optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        ledger.restore({name: tensor.numpy() for name, tensor in _part(tensors, "ledger").items()})
        return State(**numbers)

    def finished(self) -> dict[str, Any] | None:
        """What training.json holds if this very run is finished in `output`; None if it is not.

        Raises: ValueError if `output` holds a finished run of other settings, or a model without its report.
        """
        config, report = self.output / "config.json", self.output / "training.json"
        if not config.is_file():
            return None
        check(report.is_file(), f"output_dir must hold {report.name} beside a trained model, got {str(self.output)!r}")
        stored = json.loads(config.read_text(encoding="utf-8")).get("behemoth") or {}
        data = {name: stored[name] for name in {*self.header["data"], "changes"} & set(stored)}
        own = {"train": stored.get("train"), "data": data}
        if "start" in stored:
            own["start"] = stored["start"]
        _check_same(own, self.header, str(self.output), kind="a finished run")
        found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        return found

    def save(
        self,
        state: State,
        model: GPTNeoXForCausalLM,
        optimizers: Sequence[torch.optim.Optimizer],
        ledger: Ledger,
        accelerator: Accelerator,
    ) -> None:
        """The newest state is this one; older ones are gone."""
        if accelerator.is_main_process:
            tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
            for number, optimizer in enumerate(optimizers):
                for parameter, moments in optimizer.state_dict()["state"].items():
                    tensors |= {f"optimizer{number}.{parameter}.{key}": tensor for key, tensor in moments.items()}
            tensors |= {f"ledger.{name}": torch.from_numpy(array) for name, array in ledger.arrays().items()}
            numbers = {"header": {**self.header, **self._hardware(accelerator)}, **dataclasses.asdict(state)}
            with whole_folder(self.output / f"state-{state.step}") as folder:
                save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "state.safetensors")
                (folder / "run.json").write_text(json.dumps(numbers) + "\n", encoding="utf-8", newline="\n")
                copy_mode(folder / "run.json", folder / "state.safetensors")
                sync(folder)  # before the state that it follows is gone
            self._remove_states(before=state.step)
        accelerator.wait_for_everyone()

    def keep(self, step: int, model: GPTNeoXForCausalLM, accelerator: Accelerator) -> None:
        """The folder step{N} is the model after this step, an ordinary Hugging Face one."""
        if accelerator.is_main_process:
            with whole_folder(self.output / f"step{step}") as folder:
                self._write_model(model, folder, {"step": step, "recall": {}, **self._precision(accelerator)})
        accelerator.wait_for_everyone()

    def finish(
        self, model: GPTNeoXForCausalLM, report: Mapping[str, Any], ledger: Ledger, accelerator: Accelerator
    ) -> None:
        """`output` itself is the trained model with all that is known of it, and the state is gone."""
        if accelerator.is_main_process:
            partial = self.output / ".final"
            with written_folder(partial):
                learned = {"step": report["steps"], "recall": report["recall"], **self._precision(accelerator)}
                self._write_model(model, partial, learned)
                (partial / "training.json").write_text(
                    json.dumps(report, indent=2) + "\n", encoding="utf-8", newline="\n"
                )
                parquet.write_table(ledger.table(), partial / "facts.parquet", compression="zstd")
                (partial / "training_curve.svg").write_text(draw_curve(report), encoding="utf-8", newline="\n")
            # A folder without config.json is no model, so that one goes last.
            for path in sorted(partial.iterdir(), key=lambda path: path.name == "config.json"):
                path.replace(self.output / path.name)
            partial.rmdir()
            self._remove_states()
        accelerator.wait_for_everyone()

    def _write_model(self, model: GPTNeoXForCausalLM, folder: Path, learned: Mapping[str, Any]) -> None:
        """A folder that transformers 4 and 5 load by themselves; its config.json carries the world and the recipe."""
        used_cache = model.config.use_cache
        model.config.behemoth = {
            **self.header["data"],
            "train": self.header["train"],
            **({"start": self.header["start"]} if "start" in self.header else {}),
            "weights": weights_digest(model),
            **learned,
        }
        model.config.use_cache = True
        try:
            model.save_pretrained(folder)
        finally:
            model.config.use_cache = used_cache
        build_tokenizer(self.corpus.grammar.lexicon).save_pretrained(folder)
        make_readable(folder)

    def _hardware(self, accelerator: Accelerator) -> dict[str, Any]:
        """What a run that goes on must share with its earlier sittings to end with the same bits."""
        machine = {"processes": accelerator.num_processes, "device": accelerator.device.type}
        return {**machine, **self._precision(accelerator)}

    def _precision(self, accelerator: Accelerator) -> dict[str, str]:
        """The precision that the run has on this machine, where its configuration may leave it open."""
        return {"precision": resolve_precision(self.header["train"]["precision"], accelerator.device)}

    def _newest(self) -> Path | None:
        """The newest state's folder, if there is one. Raises: ValueError if `output` holds anything else."""
        names = [path.name for path in self.output.iterdir()] if self.output.is_dir() else []
        check(
            not self.output.exists() or self.output.is_dir(),
            f"output_dir must be a folder, got {str(self.output)!r}",
        )
        states = sorted((int(match[1]) for name in names if (match := _STATE.fullmatch(name))), reverse=True)
        finished = "config.json" in names
        # A run writes its first state before anything else, and what it has not finished under a hidden name.
        foreign = [] if states else [name for name in names if not name.startswith(".")]
        check(
            not finished and not foreign,
            f"output_dir must be empty, new or an unfinished run so that no trained model is lost, got "
            f"{str(self.output)!r}, which holds {'a finished run' if finished else min(foreign, default='')}; "
            "choose another folder or remove it",
        )
        return self.output / f"state-{states[0]}" if states else None

    def _remove_states(self, before: int | None = None) -> None:
        for path in list(self.output.iterdir()):
            match = _STATE.fullmatch(path.name)
            if match and (before is None or int(match[1]) < before):
                shutil.rmtree(path)


def _part(tensors: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    start = f"{name}."
    return {key.removeprefix(start): tensor for key, tensor in tensors.items() if key.startswith(start)}


def _check_same(stored: Any, wanted: Any, output: str, path: str = "", kind: str = "an unfinished run") -> None:
    """Raises: ValueError that names the first setting in which the run in `output` differs."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        for key in sorted({*stored, *wanted}, key=lambda key: (key in _DERIVED, key)):  # settings come first
            _check_same(stored.get(key), wanted.get(key), output, f"{path}.{key}" if path else key, kind)
        return
    check(
        stored == wanted,
        f"output_dir {output!r} holds {kind} whose {path} is {stored!r}, got {wanted!r}; use its settings "
        "to go on, or another folder",
    )
