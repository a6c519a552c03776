"""Checkpoints: NAME.pdparams (weights), NAME.pdopt (optimizer) and NAME.json (all that is needed to use them).

Written as a whole or not at all. The three files are first written under hidden names; renaming the hidden .json is the
moment from which the new checkpoint counts, and whoever opens the folder next finishes what a killed process left.
The .json holds the checksums of all three. Pickles are read without running code in them.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from . import safe_pickle
from .errors import NotFinite, UserError
from .files import hash_of, sync, write_text, writing

FORMAT = 1
PARTS = (".pdparams", ".pdopt")                    # renamed in this order, then the .json
_NAMES_KEY = "StructuredToParameterName@@"         # Paddle's own entry in a .pdparams


def save(path: Path, model: nn.Layer, optimizer_state: Mapping, info: Mapping) -> None:
    """Write `path`.pdparams, .pdopt and .json. A crash at any moment leaves the old or the new checkpoint.

    path: without suffix. info: JSON-able; "format" and "sha256" are added. Raises UserError where nothing can be written,
    NotFinite for weights that are not (the old checkpoint stays).
    """
    for name, value in model.state_dict().items():
        if not bool(paddle.isfinite(value).all()):
            raise NotFinite(f"the weights of {name} are not finite")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        finish(path)
        try:
            for suffix, state in zip(PARTS, (model.state_dict(), optimizer_state), strict=True):
                paddle.save(dict(state), str(_new(path, suffix)))
                sync(_new(path, suffix))
            info = {"format": FORMAT, **info}
            hashes = {suffix: hash_of(_new(path, suffix)) for suffix in PARTS} | {".json": _hash_of_info(info)}
            write_text(_new(path, ".json"), json.dumps({**info, "sha256": hashes}, indent=1))
        except BaseException:
            for suffix in (".json", *PARTS):
                _new(path, suffix).unlink(missing_ok=True)
            raise
        finish(path)


def finish(path: Path) -> None:
    """Complete the checkpoint that a killed process had written but not yet renamed; drop a half-written one."""
    if _new(path, ".json").exists():
        for suffix in (*PARTS, ".json"):
            if _new(path, suffix).exists():
                os.replace(_new(path, suffix), path.with_name(path.name + suffix))
    for suffix in PARTS:
        _new(path, suffix).unlink(missing_ok=True)


def _hash_of_info(info: Mapping) -> str:
    rest = {key: value for key, value in info.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest).encode()).hexdigest()


def _new(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.name}.new{suffix}")


def exists(path: Path) -> bool:
    """Return whether there is a checkpoint `path` (without suffix), finished or about to be."""
    return path.with_name(path.name + ".json").exists() or _new(path, ".json").exists()


def read_info(path: Path) -> dict:
    """Return what is in `path`.json, after checking it and the checksums. Raises UserError."""
    with writing(path):
        finish(path)
    file = path.with_name(path.name + ".json")
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file}: no such checkpoint; train.py writes one") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: truncated or not JSON ({error}); use another checkpoint") from None
    needed = {"format": int, "model": dict, "classes": list, "image_size": int, "normalization": dict, "sha256": dict}
    for key, kind in needed.items():
        if not isinstance(info, dict) or not isinstance(info.get(key), kind):
            raise UserError(f"{file}: {key!r} is missing or no {kind.__name__}; use another checkpoint")
    if info["format"] != FORMAT:
        raise UserError(f"{file}: written in format {info['format']}, this version reads {FORMAT}")
    hashed = _hash_of_info(info)
    if info["sha256"].get(".json", hashed) != hashed:
        raise UserError(f"{file}: changed since it was saved (checksum differs); use another checkpoint")
    return info


def check_file(path: Path, info: Mapping, suffix: str) -> Path:
    """Return the path of a part of the checkpoint. Raises UserError if it is missing or not what was saved."""
    file = path.with_name(path.name + suffix)
    if not file.exists():
        raise UserError(f"{file}: missing; use another checkpoint")
    if hash_of(file) != info["sha256"].get(suffix):
        raise UserError(f"{file}: truncated or changed since it was saved (checksum differs); use another checkpoint")
    return file


def read_weights(file: Path) -> dict[str, np.ndarray]:
    """Return {name: array} of a .pdparams file, without running code in it. Raises UserError."""
    state = _read_state(file)
    for name, value in state.items():
        if not isinstance(value, np.ndarray):
            raise UserError(f"{file}: {name!r} is a {type(value).__name__}, not an array")
    return state


def _read_state(file: Path) -> dict:
    state = safe_pickle.load(file)
    if not isinstance(state, dict):
        raise UserError(f"{file}: holds a {type(state).__name__}, not a dictionary of arrays")
    state.pop(_NAMES_KEY, None)
    # Paddle keeps some tensors as (name, array)
    return {name: value[1] if isinstance(value, tuple) and len(value) == 2 else value for name, value in state.items()}


def load_weights(model: nn.Layer, weights: Mapping[str, np.ndarray], source: object) -> None:
    """Set every weight and buffer of `model`. Raises UserError unless names and shapes are exactly the model's."""
    own = model.state_dict()
    missing, extra = sorted(set(own) - set(weights)), sorted(set(weights) - set(own))
    if missing or extra:
        raise UserError(f"{source}: not the weights of this model: {len(missing)} are missing {missing[:3]}, "
                        f"{len(extra)} too many {extra[:3]}")
    for name, value in own.items():
        if tuple(value.shape) != weights[name].shape:
            raise UserError(f"{source}: {name} has shape {weights[name].shape}, the model needs {tuple(value.shape)}")
    model.set_state_dict({name: np.asarray(value) for name, value in weights.items()})


def load(path: Path, model: nn.Layer, info: Mapping) -> None:
    """Load `path`.pdparams into `model`, strictly. info: from `read_info`."""
    file = check_file(path, info, ".pdparams")
    load_weights(model, read_weights(file), file)


def read_optimizer(path: Path, info: Mapping) -> dict:
    """Return the content of `path`.pdopt. info: from `read_info`. Raises UserError."""
    return _read_state(check_file(path, info, ".pdopt"))


def load_optimizer(path: Path, optimizer: paddle.optimizer.Optimizer, model: nn.Layer,
                   info: Mapping) -> tuple[dict, dict]:
    """Load `path`.pdopt into `optimizer`; return what it was given and what else there is (keys that start with "paddle_cls.").

    Raises UserError.
    """
    state = read_optimizer(path, info)
    extra = {key: state.pop(key) for key in list(state) if key.startswith("paddle_cls.")}
    names = tuple(f"{p.name}_" for p in model.parameters())
    foreign = sorted(key for key in state if not key.startswith(names))     # Paddle would pass them over without a word
    if foreign:
        raise UserError(f"{path}.pdopt: state of other parameters than this model's: {foreign[:3]}")
    optimizer.set_state_dict(dict(state))           # Paddle 2.6 empties what it is given
    return state, extra


def find(place: Path | None, root: Path = Path("output")) -> Path:
    """Return a checkpoint's path without suffix.

    place: a .pdparams, .pdopt or .json, the path without suffix, or a run folder (its best, else its last); None: the
    newest run below `root`. Raises UserError if there is none.
    """
    if place is None:
        runs = {file.parent for name in ("last.json", ".last.new.json") for file in root.glob(f"**/{name}")}
        if not runs:
            raise UserError(f"no checkpoint under {root}/; train one first: python train.py --model resnet --depth 20, or "
                            f"name one with --checkpoint")
        place = max(runs, key=lambda folder: max(file.stat().st_mtime for file in folder.iterdir()))
    place = Path(place)
    if place.is_dir():
        for name in ("best", "last"):
            if exists(place / name):
                return place / name
        raise UserError(f"{place}: no checkpoint (best.json or last.json) in this folder")
    bare = place.with_suffix("") if place.suffix in (*PARTS, ".json") else place
    if not exists(bare):
        alone = f"{place} has no {bare.name}.json beside it, which says what model it is" if place.exists() else \
            f"{place}: no such checkpoint"
        raise UserError(f"{alone}; --checkpoint takes a .pdparams written by train.py, or a run folder")
    return bare
