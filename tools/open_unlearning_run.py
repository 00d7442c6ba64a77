"""open-unlearning on our data: python tools/open_unlearning_run.py CHECKOUT FOLDER [--option value ...].

FOLDER is what `behemoth bridge open_unlearning` wrote, CHECKOUT a checkout of open-unlearning, which stays as it is:
its src and configs are copied, with our configs over them. Needed is what it requires (hydra, omegaconf, deepspeed and
so on). What follows `--overrides` goes to its command line. The unlearned model is an ordinary folder, which `behemoth
score` scores.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from behemoth_cli.settings import Options, one_line_errors, parse, place
from behemoth_data.settings import check, setting

# Without a CUDA card bfloat16, its paged optimizer and warming up, which it counts by cards, fail.
ON_CPU = (
    *("trainer.args.bf16=false", "trainer.args.bf16_full_eval=false", "trainer.args.optim=adamw_torch"),
    *("trainer.args.warmup_epochs=0", "+trainer.args.use_cpu=true"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunArguments:
    """What is unlearned by which of its trainers, and where the model goes."""

    checkout: str = place("open-unlearning", "folder of open-unlearning's sources; it may also come first")
    folder: str = place("bridge", "what `behemoth bridge open_unlearning` wrote; it may also come second")
    trainer: str = setting("GradDiff", "one of its configs/trainer")
    share: int = setting(10, "percent of the relation that is forgotten: 1, 5 or 10")
    output_dir: str = place("runs/open-unlearning", "new folder for the model and its evaluation")
    cpu: bool = setting(False, "run on the CPU")
    overrides: list[str] = setting([], "more of its command line, such as trainer.args.num_train_epochs=2")


def command(arguments: RunArguments, model: str) -> list[str]:
    """Its command line."""
    share = f"{arguments.share:02}"
    return [
        sys.executable,
        "src/train.py",
        "--config-name=unlearn.yaml",
        "experiment=unlearn/tofu/default",
        "model=behemoth",
        f"trainer={arguments.trainer}",
        f"model.model_args.pretrained_model_name_or_path={model}",
        f"forget_split=forget{share}",
        f"retain_split=retain{100 - arguments.share}",
        f"holdout_split=holdout{share}",
        "task_name=behemoth",
        f"paths.output_dir={Path(arguments.output_dir).absolute()}",
        "trainer.args.report_to=none",
        "hydra/hydra_logging=default",
        "hydra/job_logging=default",
        *(ON_CPU if arguments.cpu else ()),
        *arguments.overrides,
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Runs it and prints where its model is. Raises: SystemExit with its status, or 2 for bad arguments."""
    words, prog = list(sys.argv[1:] if argv is None else argv), "tools/open_unlearning_run.py"
    if len(words) > 1 and not any(word.startswith("-") for word in words[:2]):
        words[:2] = ["--checkout", words[0], "--folder", words[1]]
    (arguments,) = parse(Options({"": RunArguments}, prog=prog, description=__doc__), words, recipe={})
    checkout, folder = Path(arguments.checkout), Path(arguments.folder)
    with one_line_errors(prog), tempfile.TemporaryDirectory() as scratch:
        check((checkout / "src" / "train.py").is_file(), f"checkout must hold src/train.py, got {checkout}")
        check(not Path(arguments.output_dir).exists(), f"output_dir must be new, got {arguments.output_dir}")
        config = yaml.safe_load((folder / "configs" / "model" / "behemoth.yaml").read_text(encoding="utf-8"))
        for part in ("src", "configs"):
            shutil.copytree(checkout / part, Path(scratch, part))
        shutil.copytree(folder / "configs", Path(scratch, "configs"), dirs_exist_ok=True)
        model = str(Path(config["model_args"]["pretrained_model_name_or_path"]).absolute())
        done = subprocess.run(command(arguments, model), cwd=scratch, env={**os.environ, "PYTHONPATH": "src"})
    if done.returncode:
        raise SystemExit(done.returncode)
    print(f"wrote {arguments.output_dir}")


if __name__ == "__main__":
    main()
