"""How a model is trained: every setting of a run, checked."""

from __future__ import annotations

import dataclasses

from behemoth_data.corpus import Corpus
from behemoth_data.settings import check, check_known, check_seed, conform, setting
from behemoth_models.batches import num_batches
from behemoth_models.precision import PRECISION_HELP, PRECISIONS
from behemoth_models.sizes import SHAPES

OPTIMIZERS = ("muon", "adamw")
SCHEDULES = ("wsd", "cosine", "constant")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a model is trained: at most one pass over the corpus, in its order."""

    size: str = setting("31m", "Pythia size: 14m, 31m or 70m; narrower ones: 3m, 7m or 10m")
    vocab_size: int | None = setting(
        None, "rows of the embeddings, such as Pythia's 50304; null: the tokenizer's, rounded up to a multiple of 64"
    )
    optimizer: str = setting("muon", "muon: Muon for all matrices but the input embedding, AdamW for the rest; adamw")
    learning_rate: float = setting(4e-3, "peak learning rate, of AdamW and Muon alike")
    weight_decay: float = setting(0.1, "weight decay of the matrices")
    batch_size: int = setting(256, "sentences per step, over all processes")
    accumulation_steps: int = setting(1, "parts that each process works through one after the other in a step")
    schedule: str = setting("wsd", "wsd: warm up, stay, decay linearly; cosine; constant")
    warmup_fraction: float = setting(0.02, "share of the steps that warm up linearly")
    decay_fraction: float = setting(0.6, "wsd: share of the steps, at the end, that decay")
    final_fraction: float = setting(0.0, "share of the peak learning rate that wsd and cosine end with")
    max_grad_norm: float = setting(1.0, "gradients are clipped to this norm")
    precision: str = setting("auto", PRECISION_HELP)
    compile: bool = setting(False, "compile the model, which pays in long runs on a GPU; needs a C++ compiler")
    measurements: int = setting(6, "times that recall is measured during training, evenly over the steps; 0: never")
    target_recall: float | None = setting(None, "training ends when every table's measured recall reaches this")
    max_steps: int | None = setting(None, "budget: optimizer steps")
    max_tokens: int | None = setting(None, "budget: tokens of whole batches, padding included")
    max_exposures: float | None = setting(None, "budget: sentences per fact of the corpus, counting its upweight as 1")
    max_minutes: float | None = setting(None, "budget: minutes; the schedule does not know of it")
    save_every: int | None = setting(None, "steps between models that are kept as step{N}; null: none is")
    save_log_spaced: bool = setting(False, "keep the models of steps 1, 2, 4, 8, ... as well")
    train_seed: int = setting(0, "seed of the initial weights")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        check_known("size", self.size, SHAPES)
        check_known("optimizer", self.optimizer, OPTIMIZERS)
        check_known("schedule", self.schedule, SCHEDULES)
        check_known("precision", self.precision, PRECISIONS)
        for field in ("learning_rate", "max_grad_norm", "max_exposures", "max_minutes"):
            value = getattr(self, field)
            check(value is None or value > 0, f"{field} must be above 0, got {value}")
        for field in ("vocab_size", "batch_size", "accumulation_steps"):
            value = getattr(self, field)
            check(value is None or value >= 1, f"{field} must be at least 1, got {value}")
        least = 0 if self.target_recall is None else 1  # what is never measured reaches no target
        check(self.measurements >= least, f"measurements must be at least {least}, got {self.measurements}")
        for field in ("max_steps", "max_tokens", "save_every"):
            value = getattr(self, field)
            check(value is None or value >= 1, f"{field} must be at least 1, got {value}")
        check_seed("train_seed", self.train_seed)
        check(self.weight_decay >= 0, f"weight_decay must be at least 0, got {self.weight_decay}")
        for field in ("warmup_fraction", "decay_fraction", "final_fraction"):
            check(0 <= getattr(self, field) <= 1, f"{field} must lie in [0, 1], got {getattr(self, field)}")
        target = self.target_recall
        check(target is None or 0 < target <= 1, f"target_recall must lie in (0, 1], got {target}")

    def num_steps(self, corpus: Corpus) -> int:
        """Optimizer steps of one pass over the corpus or of the smallest budget, whichever is fewer.

        Raises: ValueError for a batch larger than the corpus, or a budget smaller than a step.
        """
        steps = num_batches(corpus, self.batch_size)
        tokens, repeats = self.batch_size * corpus.max_length, corpus.config.repeats
        budgets = {
            "max_steps": self.max_steps,
            "max_tokens": None if self.max_tokens is None else self.max_tokens // tokens,
            "max_exposures": None
            if self.max_exposures is None
            else int(self.max_exposures * len(corpus) // (repeats * self.batch_size)),
        }
        for field, budget in budgets.items():
            if budget is not None:
                check(budget >= 1, f"{field} must allow one step of {tokens} tokens, got {getattr(self, field)}")
                steps = min(steps, budget)
        return steps

    def kept_steps(self, num_steps: int) -> set[int]:
        """The steps whose models are kept."""
        steps = set(range(self.save_every, num_steps + 1, self.save_every)) if self.save_every else set()
        if self.save_log_spaced:
            steps |= {2**power for power in range(num_steps.bit_length()) if 2**power <= num_steps}
        return steps
