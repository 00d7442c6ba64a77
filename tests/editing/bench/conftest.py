"""What tests of the benchmark share."""

import pytest

from behemoth_data import WorldConfig, build


@pytest.fixture(scope="session")
def bench_corpus():
    """A nested world as recipes/bench.yaml has it."""
    return build(WorldConfig(num_subjects=1000, num_relations=4, num_objects=100, num_nested_objects=10))
