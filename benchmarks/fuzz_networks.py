"""Targets of fuzz.py that load a network: checkpoints, weights to start from, exports in the cache."""

import contextlib
import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.fuzz_calls import Wrong, program
from benchmarks.fuzz_targets import PADDLE, Case, flags, target

KINDS = {"f4": "F32", "f8": "F64", "f2": "F16", "i8": "I64", "i1": "I8", "b1": "BOOL", "u2": "U16"}     # of .safetensors
STATE = ("epoch", "step", "totals", "figures", "best")         # of a checkpoint's .json: where the training stood


def prepare() -> None:
    """Load all that the targets use; exports are not made (it takes seconds), and their place in the cache stays empty."""
    from paddle_cls.checkpoints import pretrained  # noqa: F401
    from paddle_cls.inference import cached

    def none(*_: object) -> None:
        raise ArithmeticError("no exports in a fuzzed process")

    cached.make = none


def seal(info: object) -> object:
    """Return the content of a checkpoint's .json with its own right checksum, if it has a place for one."""
    if isinstance(info, dict) and isinstance(info.get("sha256"), dict):
        rest = {key: value for key, value in info.items() if key != "sha256"}
        info["sha256"][".json"] = hashlib.sha256(json.dumps(rest).encode()).hexdigest()
    return info


def forge(case: Case, name: str, *, change: Callable = lambda info: info, **parts: Callable[[bytes], bytes]) -> Path:
    """Put a checkpoint of the good run into run/; change: of its .json, parts: of its files. Its checksums are right."""
    folder = case.folder / "run"
    folder.mkdir(exist_ok=True)
    for file in (case.good / "run").glob(f"{name}.*"):
        shutil.copy2(file, folder)
    for file in ("config.yaml", "metrics.jsonl"):
        shutil.copy2(case.good / "run" / file, folder)
    info = json.loads((folder / f"{name}.json").read_text())
    for suffix, broken in parts.items():
        file = folder / f"{name}.{suffix}"
        file.write_bytes(broken(file.read_bytes()))
        info["sha256"][f".{suffix}"] = hashlib.sha256(file.read_bytes()).hexdigest()
    sealed = case.mutate.dumps(seal(change(info)))
    (folder / f"{name}.json").write_bytes(sealed)
    return folder


def part(case: Case, *keys: str) -> Callable:
    """Return what changes a .json, mostly in the entries of these names only: in the others too much is noticed before."""
    def change(info: dict) -> object:
        some = {key: info[key] for key in keys if key in info}
        if len(some) < len(keys) and case.mutate.rng is None:
            raise Wrong(f"no {set(keys) - set(some)} in a checkpoint")
        if case.mutate.maybe(0.25):
            return case.mutate.json(info)
        some = case.mutate.json(some)
        return {**{key: value for key, value in info.items() if key not in keys}, **some} if isinstance(some, dict) else some
    return change


def arrays(case: Case) -> Callable[[bytes], bytes]:
    """Return what breaks a .pdparams or .pdopt: as a pickle, or with other keys, kinds, shapes and numbers of its arrays."""
    rng = case.mutate.rng
    if rng is None:
        return lambda content: content
    if rng.random() < 0.35:
        return case.mutate.pickle

    def broken(content: bytes) -> bytes:
        state = pickle.loads(content)              # a file of our own
        for _ in range(rng.choice((1, 1, 1, 3))):
            key = rng.choice(list(state))
            kind = rng.randrange(6)
            if kind == 0:
                del state[key]
            elif kind == 1:
                state[rng.choice((1, None, (key, 1), str(key).encode(), f"{key}x", "", 1.5, True, frozenset()))] = state.pop(key)
            elif kind == 2:
                value = state[key]
                state[key] = rng.choice((None, 1, "x", [1], {}, (key, value), (key, value, 1), (), b"", {"a": value}, True))
            elif isinstance(state[key], (np.ndarray, tuple)):
                value = np.asarray(state[key][1] if isinstance(state[key], tuple) else state[key])
                state[key] = _array(rng, value)
            if not state:
                break
        return pickle.dumps(state, rng.choice((2, 4, 5)))
    return broken


def _array(rng, value: np.ndarray) -> np.ndarray:
    """Return another array: of another kind, shape, or with numbers that are not finite."""
    kinds = ("float64", "float16", "int64", "int8", "bool", "complex64", "U2", "S3", "M8[s]", "uint16", ">f4", "O")
    with np.errstate(all="ignore"):
        return rng.choice((
            lambda: value.astype(rng.choice(kinds)), lambda: value.astype(rng.choice(kinds)), lambda: value * np.nan,
            lambda: value * np.inf, lambda: value * 1e38, lambda: -value - 1, lambda: value[None], lambda: value.reshape(-1)[:-1],
            lambda: np.asfortranarray(value), lambda: np.float32(1), lambda: np.zeros((0,), np.float32), lambda: value.T,
            lambda: np.ma.masked_array(value).filled(0), lambda: np.zeros((*value.shape, 1), "f4")))()


def answers(case: Case, folder: Path, *more: str) -> None:
    """Have infer.py classify a picture by a checkpoint. Raises Wrong where a probability is none."""
    from paddle_cls.programs import infer
    if not more:
        case.copy("pictures/a.png", "a.png")
        more = ("--image", "a.png")
    out = program(infer, ["--checkpoint", folder.name, "--device", "cpu", "--format", "json", *more])
    with contextlib.suppress(ValueError):
        for picture in json.loads(out):
            if not all(0 <= best["probability"] <= 1 for best in picture["top"]):
                raise Wrong(f"probabilities {picture['top']}")


@target("checkpoint json, infer", 8, PADDLE)
def _info(case: Case) -> object:
    answers(case, forge(case, "best", change=part(case, "model", "classes", "image_size", "normalization")))


@target("checkpoint json, others", 2, PADDLE)
def _others(case: Case) -> object:
    from paddle_cls.programs import grid, report
    from paddle_cls.programs.settings import fields
    folder = forge(case, "last", change=part(case, *STATE))
    grid.finished(folder, 2, None)
    report.run_settings(fields.ReportConfig(folder), folder)
    _resume(case, folder)


@target("pdparams, infer", 5, PADDLE)
def _weights(case: Case) -> object:
    answers(case, forge(case, "best", pdparams=arrays(case)))


@target("pdparams", 5, PADDLE)
def _pretrained(case: Case) -> object:
    source = sorted((case.good / "run").glob("best.pdparams"))[0]
    _start(case, case.write("x.pdparams", arrays(case)(source.read_bytes())))


@target("safetensors", 2, PADDLE)
def _safetensors(case: Case) -> object:
    state = pickle.loads((case.good / "run" / "best.pdparams").read_bytes())
    weights = {name: np.ascontiguousarray(value) for name, value in state.items() if isinstance(value, np.ndarray)}
    header, data = {"__metadata__": {"format": case.mutate.choose(("np", "pt", "tf", "x"))}}, b""
    kind = case.mutate.choose((1, 1, 2, 3), 0)
    for name in case.mutate.rng.sample(list(weights), case.mutate.rng.choice((1, 1, 3))) if kind == 1 else ():
        value = _array(case.mutate.rng, weights.pop(name))
        weights[case.mutate.choose((name, name, name, f"{name}x", f"module.{name}", ""))] = value
    for name, value in weights.items():
        tag = KINDS.get(value.dtype.str[1:]) or case.mutate.choose(("F8_E4M3", "C64", "X", "f32"))
        tag = case.mutate.choose(("BF16", "F16", "I16", "U16")) if tag.endswith("16") else tag
        header[name] = {"dtype": tag, "shape": value.shape, "data_offsets": (len(data), len(data) + value.nbytes)}
        data += value.tobytes()
    text = case.mutate.dumps(case.mutate.json(header)) if kind == 2 else json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + data
    _start(case, case.write("x.safetensors", case.mutate.bytes(content) if kind == 3 else content))


def _start(case: Case, file: Path) -> None:
    """Have a network begin with the weights of a file."""
    import paddle

    from paddle_cls import models
    from paddle_cls.checkpoints import pretrained
    with paddle.utils.unique_name.guard():
        model = models.build_model("resnet", 3 if case.mutate.maybe(0.3) else 2, depth=8)
        head = models.head(model, "resnet", 2, depth=8)
        pretrained.load(model, pretrained.read(file), head, classes=("cat", "dog"), partial=case.mutate.maybe(0.4))
    if not all(bool(paddle.isfinite(value).all()) for value in model.state_dict().values()):
        raise Wrong("weights that are not finite were taken")


@target("pdopt", 4, PADDLE)
def _optimizer(case: Case) -> object:
    _resume(case, forge(case, "last", pdopt=arrays(case)))


def _resume(case: Case, folder: Path) -> None:
    import paddle

    from paddle_cls.checkpoints import checkpoint
    from paddle_cls.models import build_model
    from paddle_cls.training import optimizers
    from paddle_cls.training.run import Run
    about = checkpoint.read_info(case.good / "run" / "last").about
    with paddle.utils.unique_name.guard():
        model = build_model("resnet", 2, depth=8)
        optimizer = optimizers.build_optimizer("adam", model)
        if not Run(folder, model, optimizer, about=about).resume() and case.mutate.rng is None:
            raise Wrong("not resumed")
        loss = model(paddle.zeros([2, 3, 16, 16])).sum()
        loss.backward()
        optimizer.step()


@target("infer flags", 3, PADDLE)
def _flags(case: Case) -> object:
    from paddle_cls.programs.settings.fields import InferConfig
    for name in ("pets", "run"):
        case.copy(name)
    case.copy("pictures/a.png", "a.png")
    answers(case, case.folder / "run", "--image", "a.png", "pets", *flags(case, InferConfig, most=3))


def _json(content: bytes) -> object:
    try:
        return json.loads(content)
    except ValueError:                             # it may lie under a seal
        return {"content": content.decode("latin-1")}


@target("export", 2, PADDLE)
def _export(case: Case) -> object:
    from paddle_cls.inference import cached
    cache = case.copy("cache")                     # the whole of it: a key may lie there
    place = next(path for path in sorted((cache / "exports").iterdir()) if path.is_dir() and not path.name.startswith("."))
    files = sorted(path for path in place.iterdir() if path.is_file())
    for file in (case.mutate.rng.sample(files, case.mutate.rng.choice((1, 1, 2))) if case.mutate.rng else ()):
        content = file.read_bytes()
        if file.suffix == ".json" and len(content) < 10_000 and case.mutate.maybe(0.8):
            file.write_bytes(case.mutate.dumps(case.mutate.json(_json(content))))
        else:
            file.write_bytes(case.mutate.bytes(content))
    before, os.environ["PADDLE_CLS_CACHE"] = os.environ["PADDLE_CLS_CACHE"], str(cache)
    try:
        found = cached.load(place)
    finally:
        os.environ["PADDLE_CLS_CACHE"] = before
    if found is None and case.mutate.rng is None:
        raise Wrong("no export found")
    if found and not np.isfinite(found(np.zeros((1, 16, 16, 3), np.uint8)).logits).all():
        raise Wrong("logits that are not finite")
