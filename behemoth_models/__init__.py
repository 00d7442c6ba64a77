"""Behemoth."""
