"""What is published on the Hugging Face Hub: which files, with which cards, and how they get there.

It makes no data, trains nothing and scores nothing: every number comes from a file that a run wrote.
"""

from __future__ import annotations

from behemoth_data.extras import need

need("behemoth_hub", "hub")

from behemoth_hub.collect import Publication, Upload
from behemoth_hub.data_publication import dataset, leaderboard, results
from behemoth_hub.edited_publication import edited
from behemoth_hub.metric_publication import metrics
from behemoth_hub.model_publication import models
from behemoth_hub.play_publication import playground
from behemoth_hub.push import Outcome, Publisher, PublishError

__all__ = [
    "Outcome",
    "Publication",
    "PublishError",
    "Publisher",
    "Upload",
    "dataset",
    "edited",
    "leaderboard",
    "metrics",
    "models",
    "playground",
    "results",
]
