"""Behemoth's models: Pythias from scratch, taught one invented world, and what they know of it."""

from behemoth_data.extras import need

need("behemoth_models", "models")

from behemoth_models.pythia import pythia
from behemoth_models.recall import recall
from behemoth_models.train import TrainConfig, train

__all__ = ["TrainConfig", "pythia", "recall", "train"]
