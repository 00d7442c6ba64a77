"""Behemoth's models: Pythias from scratch, taught one invented world, and what they know of it."""

from behemoth_data.extras import need

need("behemoth_models", "models")

from behemoth_models.config import TrainConfig
from behemoth_models.knowledge import recall
from behemoth_models.sizes import pythia
from behemoth_models.training import train

__all__ = ["TrainConfig", "pythia", "recall", "train"]
