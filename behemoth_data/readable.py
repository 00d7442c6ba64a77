"""What a written model folder needs to be read by others: by other versions of transformers, and by other people.

It changes names and modes, never a value; no model and no tokenizer is loaded here.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any


def make_readable(folder: Path) -> None:
    """The GPT-NeoX and the tokenizer that transformers 5 wrote here are read alike by version 4, from 4.45 on.

    What is there stays, so that version 5 reads it as before. Weights have the mode of any new file.
    Raises: OSError for a folder without config.json or tokenizer_config.json.
    """
    config = _read(folder / "config.json")
    # Version 4 knows rotary settings by these names, and takes its defaults where they are missing. Version 5
    # prefers its own rope_parameters.
    rotary = config.get("rope_parameters") or {}
    names = {"rotary_pct": "partial_rotary_factor", "rotary_emb_base": "rope_theta"}
    config |= {old: rotary[new] for old, new in names.items() if new in rotary}
    # The name of dtype before version 4.56, which writes it anew and leaves the other as the model was loaded.
    if "dtype" in config:
        config["dtype"] = config["torch_dtype"] = config.get("torch_dtype", config["dtype"])
    config.pop("_name_or_path", None)  # where version 4 loaded the model from, on somebody's machine
    _write(folder / "config.json", config)

    tokenizer = _read(folder / "tokenizer_config.json")
    # Version 4 stops at the name that version 5 gave to this class; version 5 still knows the old one.
    if tokenizer.get("tokenizer_class") == "TokenizersBackend":
        tokenizer["tokenizer_class"] = "PreTrainedTokenizerFast"
    _write(folder / "tokenizer_config.json", tokenizer)

    for weights in folder.glob("*.safetensors"):
        copy_mode(folder / "config.json", weights)


def copy_mode(source: Path, target: Path) -> None:
    """What safetensors wrote, for nobody but its owner to read, is as open as a file that was written plainly."""
    if source.stat().st_mode != target.stat().st_mode:  # file systems without modes may refuse to set any
        shutil.copymode(source, target)


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _write(path: Path, content: dict[str, Any]) -> None:
    """In the layout of transformers itself."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8", newline="\n")
