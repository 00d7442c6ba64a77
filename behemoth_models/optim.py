"""What changes the weights and how fast: optimizers and learning-rate schedules. No data and no loop here."""

from __future__ import annotations

import math

import torch

from behemoth_models.config import TrainConfig
from behemoth_models.muon import Muon


def optimizers(model: torch.nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Muon for every matrix but the input embedding and AdamW for the rest, or AdamW for all.

    Muon orthogonalises in the precision that the device is good at, unless float32 is asked for. AdamW has Pythia's
    betas; gains, biases and, beside Muon, the input embedding are not decayed. Parameters that require no gradients
    are in none of them.
    """
    learn = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    matrices = [p for name, p in learn if p.ndim == 2 and "embed" not in name]
    embeddings = [p for name, p in learn if p.ndim == 2 and "embed" in name]
    vectors = [p for _, p in learn if p.ndim != 2]
    rate, decay, betas = config.learning_rate, config.weight_decay, (0.9, 0.95)
    if config.optimizer == "adamw":
        groups = [
            {"params": matrices + embeddings, "weight_decay": decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        return [torch.optim.AdamW(groups, lr=rate, betas=betas)]
    found: list[torch.optim.Optimizer] = []
    if matrices:
        precision = "fp32" if config.precision == "fp32" else "auto"
        found.append(Muon(matrices, lr=rate, weight_decay=decay, precision=precision))
    if embeddings + vectors:
        found.append(torch.optim.AdamW(embeddings + vectors, lr=rate, betas=betas, weight_decay=0.0))
    return found


def learning_rate_factor(step: int, num_steps: int, config: TrainConfig) -> float:
    """What the peak learning rate is multiplied by at a step, the first of which is 0.

    All schedules warm up linearly. Then wsd (warmup, stable, decay) stays and falls linearly to
    `final_fraction` over the last `decay_fraction` of the steps; cosine falls from there on along half a wave;
    constant stays.
    """
    warmup_steps = config.warmup_fraction * num_steps
    warmup = (step + 1) / max(1.0, warmup_steps)
    left = 1.0  # of the way from the peak down to final_fraction
    if config.schedule == "wsd":
        left = min(1.0, (num_steps - step) / max(1.0, config.decay_fraction * num_steps))
    elif config.schedule == "cosine":
        done = (step - warmup_steps) / max(1.0, num_steps - warmup_steps)
        left = (1 + math.cos(math.pi * min(1.0, max(0.0, done)))) / 2
    return min(warmup, config.final_fraction + (1 - config.final_fraction) * left)
