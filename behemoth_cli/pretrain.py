"""Teach one Pythia each structure of a recipe: behemoth pretrain [RECIPE] [--option value ...].

Without a recipe it is recipes/base.yaml, the published world, and the models are the published ones. Every option of
behemoth train but --config works here too and holds for every model. The command is safe to repeat: a model that is
finished is left alone, and one that was cut off goes on. Each becomes the folder OUTPUT_DIR/RECIPE-CONFIG, which
behemoth publish --models and behemoth edit --model read.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from behemoth_cli.settings import Options, one_line_errors, parse, place
from behemoth_cli.train import SECTIONS, TRACKER_HELP, WORLDS, lesson, summary
from behemoth_data.settings import check_known, setting
from behemoth_data.world import PRESETS

_RECIPE = "recipes/base.yaml"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainArguments:
    """Which models are trained and where they go."""

    configs: list[str] = setting(list(PRESETS), f"worlds to teach, a model each: {', '.join(PRESETS)}")
    data: str | None = place(
        None, "exported folder or Hub id whose sentences are read, as in behemoth train; null: the generator makes them"
    )
    output_dir: str = place("runs", "folder in which every model gets a folder")
    tracker: str | None = setting(None, TRACKER_HELP)

    def __post_init__(self) -> None:
        """Raises: ValueError that lists the known trackers."""
        if self.tracker is not None:
            from behemoth_models.training import TRACKERS  # with torch, which help does without

            check_known("tracker", self.tracker, TRACKERS)


def options(prog: str = "behemoth pretrain") -> Options:
    """What the command line takes."""
    return Options({"": PretrainArguments}, SECTIONS, prog=prog, description=__doc__)


def main(argv: Sequence[str] | None = None, prog: str = "behemoth pretrain") -> None:
    """Trains what is missing, after all settings were checked, and prints one line per model at the end.

    Raises: SystemExit as behemoth train does; models that were finished before stay.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0].startswith("-"):
        words.insert(0, _RECIPE)
    parsed = {name: _settings(words, name, prog) for name in _configs(words, prog)}
    from behemoth_cli.process import prepare_process  # with torch, which help does without
    from behemoth_models.run import Run
    from behemoth_models.training import train

    state = prepare_process()
    outputs: list[Path] = []
    finished: dict[Path, Mapping[str, Any]] = {}
    trained: dict[Path, Mapping[str, Any]] = {}
    with one_line_errors(prog):
        missing = []
        for name, (arguments, *data, config) in parsed.items():
            output = Path(arguments.output_dir) / f"{Path(words[0]).stem}-{name}"
            outputs.append(output)
            corpus, sentences = lesson(arguments.data, name, *data)
            config.num_steps(corpus)  # a batch or budget that does not fit is found before anything is trained
            report = Run(output, corpus, config).finished()
            if report is None:
                missing.append((output, corpus, sentences, config, arguments.tracker))
            else:
                finished[output] = report
        state.wait_for_everyone()  # no process trains before all have seen what is finished
        for number, (output, corpus, sentences, config, tracker) in enumerate(missing, 1):
            if state.is_main_process:
                print(f"{output}: model {number} of {len(missing)}", file=sys.stderr)
            trained[output] = train(corpus, config, output, sentences=sentences, tracker=tracker)
    if state.is_main_process:
        for output in outputs:
            before = output in finished
            said = summary(str(output), finished[output] if before else trained[output])
            print(f"{said}, finished before" if before else said)


def _configs(words: Sequence[str], prog: str) -> list[str]:
    """The names after --configs, once each. Raises: SystemExit with status 2 for an unknown one."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--configs", nargs="+", default=list(PRESETS))
    names = list(dict.fromkeys(parser.parse_known_args(words)[0].configs))
    with one_line_errors(prog):
        for name in names:
            check_known("configs", name, PRESETS)
    return names


def _settings(words: Sequence[str], name: str, prog: str) -> tuple[Any, ...]:
    """PretrainArguments and an instance for each of SECTIONS, for the world of this name."""
    return parse(options(prog), words, preset=WORLDS[name])


if __name__ == "__main__":
    main()
