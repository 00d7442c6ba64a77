"""From models that are on the Hub to a Space in which they are edited by whoever opens it. Nothing is sent here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version

from behemoth_data.card import CARD, picture
from behemoth_data.extras import DISTRIBUTION
from behemoth_data.settings import check
from behemoth_hub.cards import play_app, play_card
from behemoth_hub.checks import checked
from behemoth_hub.collect import PLAYGROUND, Publication, Upload

# Not on a page that many share: it takes minutes, and edits are made one after the other.
LEFT_OUT = ("retrain", "omit")
_ID = re.compile(r"[\w.-]+/[\w.-]+")


def playground(namespace: str, models: Sequence[str], methods: Sequence[str], *, tag: str | None = None) -> Publication:
    """NAMESPACE/behemoth-playground, a Space that offers these methods on these models of the Hub.

    Raises: ValueError for no model, or what is no id of the Hub.
    """
    check(len(models) > 0, "models of a playground must be at least 1 id of the Hub, got none")
    for name in models:
        check(_ID.fullmatch(name) is not None, f"models of a playground must be ids as NAME/MODEL, got {name!r}")
    offered = [name for name in methods if name not in LEFT_OUT]
    repo = f"{namespace}/{PLAYGROUND}"
    texts = {
        CARD: play_card(repo, models),
        "app.py": play_app(models, offered),
        "requirements.txt": f"{DISTRIBUTION}[play]=={version(DISTRIBUTION)}\n",
    }
    return checked(
        Publication(
            repo=repo,
            kind="space",
            uploads=[
                *(Upload(path, made.encode("utf-8")) for path, made in texts.items()),
                Upload("world.svg", picture("nested")),
            ],
            tag=tag,
            loading=[f"behemoth play {' '.join(models)}"],
        )
    )
