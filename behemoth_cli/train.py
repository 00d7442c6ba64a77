"""Teach a Pythia its world: behemoth train [RECIPE] --config nested --output_dir runs/NAME."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from behemoth_cli.sections import sections
from behemoth_cli.settings import Options, one_line_errors, parse, place
from behemoth_data import Corpus, CorpusConfig, LexiconConfig, WorldConfig, build
from behemoth_data.published import open_published
from behemoth_data.settings import setting
from behemoth_data.world import PRESETS

if TYPE_CHECKING:
    from behemoth_models.batches import RowSentences

TRACKER_HELP = "where to log: tensorboard, trackio (to be installed); null: nowhere"
SECTIONS = sections("world", "lexicon", "corpus", "train")
WORLDS = {name: {"world": fields} for name, fields in PRESETS.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunArguments:
    """Which world is taught and where the model goes."""

    config: str = setting("independent", f"world to teach: {', '.join(PRESETS)}; other fields go on top of it")
    data: str | None = place(
        None,
        "exported folder or Hub id whose sentences are read, and whose fields of world, words and corpus hold then; "
        "null: the generator makes them",
    )
    output_dir: str = place("runs/model", "folder for the model; a run that was cut off in it goes on")
    tracker: str | None = setting(None, TRACKER_HELP)


def options(prog: str = "behemoth train") -> Options:
    """What the command line takes."""
    return Options({"": RunArguments}, SECTIONS, prog=prog, description=__doc__)


def main(argv: Sequence[str] | None = None, prog: str = "behemoth train") -> None:
    """Trains, saves, and prints one line that says what is where and what the model knows.

    Raises: SystemExit with status 2 for bad settings or an output that holds something, 1 for a disk that
    fails, after one line on standard error.
    """
    arguments, world, lexicon, corpus, config = parse(options(prog), argv, presets=WORLDS)
    from behemoth_cli.process import prepare_process  # with torch, which help does without
    from behemoth_models.training import train

    state = prepare_process()
    with one_line_errors(prog):
        taught, sentences = lesson(arguments.data, arguments.config, world, lexicon, corpus)
        report = train(taught, config, arguments.output_dir, sentences=sentences, tracker=arguments.tracker)
    if state.is_main_process:
        print(summary(arguments.output_dir, report))


def lesson(
    data: str | None, name: str, world: WorldConfig, lexicon: LexiconConfig, corpus: CorpusConfig
) -> tuple[Corpus, RowSentences | None]:
    """The corpus that is taught, and its sentences where `data` has them.

    Raises: ValueError for data that this version of the generator makes differently.
    """
    if data is None:
        return build(world, lexicon, corpus), None
    from behemoth_models.batches import RowSentences  # with torch, which help does without

    taught, rows = open_published(data, name)
    return taught, RowSentences(rows, taught)


def summary(output: str, report: Mapping[str, Any]) -> str:
    """One line that says what is in `output` and what it knows."""
    by_form = next(iter(report["recall"].values()))
    recall = ", ".join(f"{edge} {share:.2%}" for edge, share in by_form.items())
    return (
        f"{output} holds a {report['config']['size']} model that knows {recall} after "
        f"{report['exposures_per_fact']:.1f} exposures per fact ({report['seconds']:.0f} s)"
    )


if __name__ == "__main__":
    main()
