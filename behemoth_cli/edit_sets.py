"""The section `edits` of a recipe. It is a module of its own, since help does without `datasets`, which it imports."""

from __future__ import annotations

import dataclasses
from typing import Any

from behemoth_data.behemoth import BehemothConfig
from behemoth_data.settings import setting


def _published(name: str) -> Any:
    """A setting with the default and the help text of the published config's field."""
    (field,) = [field for field in dataclasses.fields(BehemothConfig) if field.name == name]
    return setting(field.default, field.metadata["help"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class EditsArguments:
    """Edit sets of the _edits configs."""

    edits_per_set: int = _published("edits_per_set")
    edit_seeds: int = _published("edit_seeds")
