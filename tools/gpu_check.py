"""Proves the project on one CUDA card, in minutes: python tools/gpu_check.py --output FOLDER.

Parts, the most valuable first. machine: what there is. training: the same bits twice, and after a kill; what is
learned; bfloat16 beside float32. methods: every editing method, beside the CPU on the same model and draw. rate:
tokens a second of the recipe large, plain and compiled, by the size of a batch, and the share of the card's peak.
cells: edits a minute of one process and of four that share the card. recall: what a model by the recipe large knows by
the second, for the time that is left.

FOLDER/gpu_check.json has all that is known from the first second on. The same command goes on after a kill: parts that
passed are not done again. Needs Python 3.11 or newer, torch 2.9 or newer for the card, this project installed, and
transformers, accelerate, peft, datasets, pyarrow, faker, evaluate, dill, multiprocess, xxhash, scipy, safetensors,
tokenizers, tqdm, jinja2, matplotlib, pyyaml; a C compiler for what is compiled. No network and no test runner.
--device cpu --small runs the same code on a CPU, within a minute where two cores are free.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TOOLS = Path(__file__).resolve().parent
ROOT = TOOLS.parent
sys.path[:0] = [str(ROOT), str(TOOLS)]

from gpu_parts import PARTS  # noqa: E402
from gpu_record import Part, Record  # noqa: E402
from gpu_worker import JobError, OutOfTimeError, last_lines  # noqa: E402

from behemoth_data.settings import check  # noqa: E402

# Parts in their order, and their shares of the time; what one leaves over, those after it have. The first waits for all
# that is imported.
SHARES = {"machine": 30, "training": 14, "methods": 24, "rate": 24, "cells": 10, "recall": 18}


def run_part(name: str, record: Record, settings: argparse.Namespace, work: Path, seconds: float, start: str) -> str:
    """The record says how the part ended and why; returns how processes are to be started from here on."""
    begun = time.monotonic()
    part = Part(name, record, settings, work, begun + seconds)
    part.start = start
    status, error = "passed", list[str]()
    try:
        PARTS[name](part)
    except OutOfTimeError as stopped:
        status, error = "cut", [str(stopped)]
    except JobError as failed:
        status, error = "failed", failed.lines
    except Exception as failed:  # whatever it is, the parts after it are to run
        status, error = "failed", last_lines(failed)
    finally:
        part.close()
    untrue = [f"does not hold: {what}" for what, holds in part.row["checks"].items() if not holds]
    status = "failed" if untrue else status
    part.row.update(status=status, error=[*error, *untrue], seconds=time.monotonic() - begun, limit_seconds=seconds)
    record.write()
    return part.start


def table(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each part, and what it says of itself below."""
    lines = []
    for name, row in parts.items():
        lines.append(f"{name:10} {row['status']:8} {row.get('seconds', 0.0):6.1f} s")
        lines += [f"    {line}" for line in row["summary"]]
        lines += [f"    ! {line}" for line in row["error"][-3:]]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 if a part failed. Raises: SystemExit with status 2 for bad settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, help="folder for gpu_check.json; the same one goes on")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--small", action="store_true", help="a few steps of everything, as a CPU can do them")
    parser.add_argument("--minutes", type=float, default=8.0, help="that this call takes at most")
    parser.add_argument("--parts", nargs="+", default=list(SHARES), choices=list(SHARES), metavar="PART")
    parser.add_argument("--recipe", default=_recipe(), help="the recipe large, as a YAML file")
    settings = parser.parse_args(argv)
    until = time.monotonic() + 60 * settings.minutes
    output = Path(settings.output).resolve()
    same = {name: getattr(settings, name) for name in ("device", "small")}
    try:
        check(settings.minutes > 0, f"minutes must be above 0, got {settings.minutes}")
        record = Record(output / "gpu_check.json", same)
    except ValueError as error:
        parser.error(str(error))
    # What processes import, they find; torch asks the driver for cards without touching one.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), str(TOOLS), os.environ.get("PYTHONPATH")]))
    os.environ |= {"PYTORCH_NVML_BASED_CUDA_CHECK": "1", "HF_HUB_OFFLINE": "1"}
    os.environ |= {"PYTHONWARNINGS": "ignore", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    todo = [name for name in SHARES if name in settings.parts and record.parts.get(name, {}).get("status") != "passed"]
    start = record.parts.get("machine", {}).get("found", {}).get("start", "forkserver")
    for place, name in enumerate(todo):
        share = SHARES[name] / sum(SHARES[later] for later in todo[place:])
        print(f"{name} ...", file=sys.stderr)
        start = run_part(name, record, settings, output / "work", share * (until - time.monotonic()), start)
    shutil.rmtree(output / "work", ignore_errors=True)
    print(table({name: record.parts[name] for name in SHARES if name in record.parts}))
    counts = [sum(row["status"] == status for row in record.parts.values()) for status in ("passed", "failed", "cut")]
    print("{} parts passed, {} failed, {} cut".format(*counts))
    return int(counts[1] > 0)


def _recipe() -> str:
    """The recipe large, wherever this version of the project has it."""
    places = [ROOT / folder / "recipes" / "large.yaml" for folder in ("behemoth_cli", "scripts")]
    return str(next((place for place in places if place.exists()), places[0]))


if __name__ == "__main__":
    raise SystemExit(main())
