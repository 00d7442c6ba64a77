"""Pythia models from their shapes, randomly initialised. No weights are fetched and none are trained here."""

from __future__ import annotations

from typing import NamedTuple

from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from behemoth_data.settings import check, check_known


class Shape(NamedTuple):
    """Layers, hidden width, attention heads and MLP width of a Pythia model."""

    num_layers: int
    hidden_size: int
    num_heads: int
    intermediate_size: int


# Source: Biderman et al., "Pythia", 2023, table 1, and the published configs of the 14m and 31m models. The first three
# are ours: the 14m's layers at smaller widths, named as Pythia's are, by their parameters with Pythia's own vocabulary.
SHAPES: dict[str, Shape] = {
    "3m": Shape(6, 32, 4, 128),
    "7m": Shape(6, 64, 4, 256),
    "10m": Shape(6, 96, 6, 384),
    "14m": Shape(6, 128, 4, 512),
    "31m": Shape(6, 256, 8, 1024),
    "70m": Shape(6, 512, 8, 2048),
}


def pythia(size: str, vocab_size: int, attention: str | None = None) -> GPTNeoXForCausalLM:
    """A Pythia model of the named size with fresh weights drawn from torch's global generator.

    The 31m has 4,739,072 parameters beside its two embeddings, which take 512 per vocabulary entry:
    30,494,720 in all at Pythia's own vocab_size of 50,304. `attention` is one of transformers' names; none:
    what transformers takes.
    Raises: ValueError that lists the known sizes.
    """
    check_known("size", size, SHAPES)
    check(vocab_size >= 1, f"vocab_size must be at least 1, got {vocab_size}")
    shape = SHAPES[size]
    config = GPTNeoXConfig(
        vocab_size=vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        intermediate_size=shape.intermediate_size,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25},
        max_position_embeddings=2048,
        use_parallel_residual=True,
        tie_word_embeddings=False,
        attn_implementation=attention,  # type: ignore[call-arg]  # of the base class, which takes it by keyword
    )
    return GPTNeoXForCausalLM(config)
