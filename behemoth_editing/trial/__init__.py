"""Metrics on trial: whether what they say of a model agrees with what it was told."""
