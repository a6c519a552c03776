"""Checkpoints: NAME.pdparams (weights), NAME.json (all that is needed to use them), and of `last` NAME.pdopt (optimizer).

Written as a whole or not at all, see `storage`. The .json holds the checksums of all, see `info`. Pickles are read without
running code in them.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from ..errors import NotFinite, UserError
from ..system.files import hash_of, sync, write_text, writing
from .info import CheckpointInfo
from .storage import SUFFIXES, check_file, final, finish, hidden, read
from .weights import fitting, read_state, read_weights


def save(path: Path, model: nn.Layer, optimizer_state: Mapping | None, info: CheckpointInfo) -> dict[str, str]:
    """Write `path`.pdparams, .pdopt and .json; return the checksums of the first two by their suffix, for `restate`.

    A crash at any moment leaves the old or the new checkpoint. path: without suffix. optimizer_state: None writes no .pdopt,
    and an older one goes. info: its checksums are added. Raises UserError where nothing can be written, NotFinite for weights
    that are not finite (the old checkpoint stays).
    """
    states = {".pdparams": model.state_dict(), **({} if optimizer_state is None else {".pdopt": optimizer_state})}
    for name, value in states[".pdparams"].items():
        if not bool(paddle.isfinite(value).all()):
            raise NotFinite(f"the weights of {name} are not finite")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        finish(path)
        try:
            for suffix, state in states.items():
                paddle.save(dict(state), str(hidden(path, suffix)))
                sync(hidden(path, suffix))
            hashes = {suffix: hash_of(hidden(path, suffix)) for suffix in states}
            _describe(path, hashes, info)
        except BaseException:
            for suffix in (".json", *SUFFIXES):
                hidden(path, suffix).unlink(missing_ok=True)
            raise
        finish(path)
    return hashes


def restate(path: Path, hashes: Mapping[str, str], info: CheckpointInfo) -> None:
    """Write another `path`.json to the weights and the optimizer's state that `save` wrote, whose answer `hashes` is.

    Raises as `save` does.
    """
    with writing(path):
        _describe(path, hashes, info)
        finish(path)


def complete(path: Path, hashes: Mapping[str, str]) -> bool:
    """Return whether all files of a checkpoint are there. hashes: from the `save` that wrote them."""
    return all(final(path, suffix).is_file() for suffix in (*hashes, ".json"))


def _describe(path: Path, hashes: Mapping[str, str], info: CheckpointInfo) -> None:
    write_text(hidden(path, ".json"), info.sealed(hashes).to_json())


def read_info(path: Path) -> CheckpointInfo:
    """Return what is in `path`.json, after checking it and its checksum. Raises UserError."""
    return read(path)[0]


def load_weights(model: nn.Layer, weights: Mapping[str, np.ndarray], source: object) -> None:
    """Set every weight and buffer of `model`. Raises UserError unless names, shapes and numbers are what the model needs."""
    own = model.state_dict()
    missing, extra = sorted(set(own) - set(weights)), sorted(set(weights) - set(own))
    if missing or extra:
        raise UserError(f"{source}: not the weights of this model: {len(missing)} are missing {missing[:3]}, "
                        f"{len(extra)} too many {extra[:3]}")
    model.set_state_dict({name: fitting(source, name, weights[name], tuple(value.shape), value.dtype)
                          for name, value in own.items()})


def load(path: Path, model: nn.Layer, info: CheckpointInfo) -> None:
    """Load `path`.pdparams into `model`, strictly. info: from `read_info`."""
    part = check_file(path, info, ".pdparams")
    load_weights(model, read_weights(part.path, part.read()), part.path)


def read_optimizer(path: Path, info: CheckpointInfo) -> dict:
    """Return the content of `path`.pdopt. info: from `read_info`. Raises UserError."""
    part = check_file(path, info, ".pdopt")
    return read_state(part.path, part.read())


def load_optimizer(path: Path, optimizer: paddle.optimizer.Optimizer, needed: Mapping[str, tuple[tuple[int, ...], float]],
                   info: CheckpointInfo) -> tuple[dict, dict]:
    """Load `path`.pdopt into `optimizer`; return what it was given and what else there is (keys that start with "paddle_cls.").

    needed: {name: (shape, ...)} of its whole state, as `training.optimizers.initial_state` gives it. Raises UserError unless
    that is what the file holds.
    """
    state = read_optimizer(path, info)
    extra = {key: state.pop(key) for key in list(state) if key.startswith("paddle_cls.")}
    foreign, missing = sorted(set(state) - set(needed)), sorted(set(needed) - set(state))
    if foreign:                                    # Paddle would pass them over without a word
        raise UserError(f"{path}.pdopt: state of another optimizer, or state of other parameters than this model's: "
                        f"{foreign[:3]}")
    for key, value in state.items():
        state[key] = fitting(f"{path}.pdopt", key, value, needed[key][0])
    if missing:                                    # the next step would end at them
        raise UserError(f"{path}.pdopt: it lacks {len(missing)} of the {len(needed)} arrays that the optimizer goes on from, "
                        f"such as {missing[0]}; use another checkpoint, or start another run with another --output-dir")
    for key, value in extra.items():
        if not isinstance(value, (bool, int, float, np.ndarray)):
            raise UserError(f"{path}.pdopt: {key} is a {type(value).__name__}, neither an array nor a number")
    optimizer.set_state_dict(dict(state))           # Paddle 2.6 empties what it is given
    return state, extra
