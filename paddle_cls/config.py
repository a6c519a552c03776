"""The settings of `train.py`, each with its unit, and the way from YAML and flags to a frozen `Config`."""

import argparse
import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from .errors import UserError, unknown


def option(default: typing.Any, text: str, *, choices: tuple = (), low: float | None = None,
           high: float | None = None) -> typing.Any:
    """Return a dataclass field with its help text and its allowed values (`low` and `high` are allowed)."""
    return dataclasses.field(default=default, metadata={"help": text, "choices": choices, "low": low, "high": high})


@dataclasses.dataclass(frozen=True)
class Config:
    """One training run; the defaults are the tutorial's. The last three say what to do with it and are not saved."""

    model: str = option("resnet", "network: resnet (resnet_cifar10), vgg (vgg_bn_drop), lenet, alexnet or resnet_small")
    depth: int | None = option(None, "layers of the resnet, 6n+2 (default: the model's own)", low=1)
    init: str | None = option(None, "initial weights of lenet: tutorial or zero_mean (default: the model's own)")
    dataset: str = option("cifar10", "cifar10, ichallenge_pm, or shapes (drawn by the package, no download)")
    data_dir: Path | None = option(None, "folder that holds the data (default: a cache folder, filled by download)")
    val_split: str | None = option(None, "validate on a part of the training images instead: a share such as 0.2, or one of k "
                                         "parts such as 2/5 (k-fold)")
    holdout: float = option(0.0, "share of the training images kept apart to choose the threshold of a yes", low=0, high=0.9)
    image_size: int | None = option(None, "pixels a side (default: the data set's own)", low=1, high=4096)
    output_dir: Path | None = option(None, "run folder (default: output/<dataset>_<model>)")
    epochs: int = option(10, "full passes over the training split", low=1)
    batch_size: int = option(128, "images per optimizer step, over all processes", low=1)
    eval_batch_size: int = option(250, "images per forward pass of the evaluation", low=1)
    max_steps: int | None = option(None, "stop after this many optimizer steps, for a quick try", low=1)
    optimizer: str = option("adam", "update rule", choices=("adam", "adamw", "momentum", "nesterov"))
    lr: float = option(1e-3, "peak learning rate, per optimizer step", low=0)
    lr_scale: dict[str, float] | None = option(None, "factors of lr for layers by name, such as fc1=0.003,fc2=0.1", low=0)
    momentum: float = option(0.9, "of momentum and nesterov", low=0, high=1)
    weight_decay: float = option(0.0, "L2 coefficient (adamw: decoupled)", low=0)
    decay_norm_bias: bool = option(True, "apply weight decay to batch normalization and biases too")
    schedule: str = option("constant", "of the learning rate", choices=("constant", "step", "cosine", "onecycle"))
    warmup_epochs: float = option(0.0, "epochs of linear rise from near 0 to lr (onecycle: of the rise)", low=0)
    step_epochs: int = option(100, "step schedule: epochs between two drops", low=1)
    step_gamma: float = option(0.1, "step schedule: factor of a drop", low=0, high=1)
    label_smoothing: float = option(0.0, "share of the target spread over all classes", low=0, high=0.99)
    augment: str = option("none", "training images", choices=("none", "crop_flip", "fundus"))
    clip_norm: float | None = option(None, "largest global norm of the gradient (default: not clipped)", low=1e-12)
    accumulate: int = option(1, "parts in which a batch goes through the network, to save memory", low=1)
    ema_decay: float | None = option(None, "average the weights with this decay a step, evaluate and save the average",
                                     low=0, high=1)
    amp: str | None = option(None, "mixed precision on a GPU", choices=("bfloat16", "float16"))
    device: str = option("auto", "where to compute", choices=("auto", "cpu", "gpu"))
    nproc: int | None = option(None, "processes on this machine; auto: one per physical core on a CPU, one on a GPU",
                               low=1)
    onednn: str = option("auto", "operators for CPU training, compiled on first use; off: Paddle's own",
                         choices=("auto", "off"))
    seed: int = option(0, "of weights, order, augmentation and dropout", low=0, high=2**31 - 1)
    log_every: int = option(20, "steps between two fetches of the loss", low=1)
    save_minutes: float = option(10.0, "minutes between two checkpoints inside an epoch", low=0)
    resume: bool = option(False, "continue the run in the output folder")
    eval_only: bool = option(False, "evaluate --checkpoint on the validation split, and stop")
    checkpoint: Path | None = option(None, "checkpoint for --eval-only (default: best of the output folder)")


NOT_SAVED = ("resume", "eval_only", "checkpoint")
# What a resumed run may change; anything else would make it another run.
MAY_CHANGE = {"data_dir", "output_dir", "epochs", "max_steps", "lr", "device", "nproc", "onednn", "log_every",
              "save_minutes", "eval_batch_size", *NOT_SAVED}


@dataclasses.dataclass(frozen=True)
class InferConfig:
    """One call of `infer.py`."""

    image: tuple[str, ...] = option((), "image files, folders (searched with all below) or quoted globs")
    checkpoint: Path | None = option(None, "a .pdparams, its .json, or a run folder (default: newest under output/)")
    topk: int = option(5, "classes to print per image, at most as many as there are", low=1)
    format: str = option("text", "of the answer", choices=("text", "json", "csv"))
    output: Path | None = option(None, "file to write the answer to (default: standard output)")
    batch_size: int = option(64, "images per forward pass", low=1)
    device: str = option("auto", "where to compute", choices=("auto", "cpu", "gpu"))


def parse(cls: type, argv: Sequence[str], *, program: str, description: str, base: Mapping | None = None):
    """Return (an instance of dataclass `cls`, the set of names given) from flags, which override a --config file.

    Only Config reads --config. base: values below both, for a resumed run. Raises UserError.
    """
    given = _read_flags(cls, argv, program, description)
    path = given.pop("config", None)
    from_file = read_yaml(path, cls) if path is not None else {}
    flags = {name: coerce(cls, name, value, f"--{name.replace('_', '-')}") for name, value in given.items()}
    values = {**(base or {}), **from_file, **flags}
    return cls(**values), set(from_file) | set(flags)


def read_yaml(path: str | Path, cls: type = Config) -> dict:
    """Return {field: value} of a YAML file, checked against `cls`. Raises UserError that names file and key."""
    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read --config {path}: {getattr(error, 'strerror', None) or error}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-13-45
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: not YAML: {getattr(error, 'problem', error)}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise UserError(f"{path}: must hold 'key: value' lines, not a {type(loaded).__name__}")
    return {str(name): coerce(cls, str(name), value, f"{path}: {name}") for name, value in loaded.items()}


def coerce(cls: type, name: str, value: typing.Any, where: str) -> typing.Any:
    """Return `value` as the type of field `name`, within its bounds. Raises UserError that starts with `where`."""
    fields = {f.name: f for f in dataclasses.fields(cls)}
    if name not in fields:
        raise UserError(f"{where.rpartition(':')[0] or where}: {unknown('key', name, fields)}")
    kind, optional = _kind(cls, name)
    meta = fields[name].metadata
    words = ("auto",) if kind is Path else ("auto", "none")
    if value is None or (optional and isinstance(value, str) and value.lower() in words):
        if optional:
            return None
        raise UserError(f"{where}: needs a value ({kind.__name__})")
    if typing.get_origin(kind) is tuple:
        return tuple(value)
    if typing.get_origin(kind) is dict:
        if not isinstance(value, Mapping):         # a flag: fc1=0.003,fc2=0.1
            value = dict((*pair.split("=", 1), "")[:2] for pair in str(value).split(","))
        return {str(key): _bounded(float, one, meta, f"{where}: {key}") for key, one in value.items()}
    if value is False and "off" in meta["choices"]:              # YAML reads off as false
        value = "off"
    return _bounded(kind, value, meta, where)


def _bounded(kind: type, value: typing.Any, meta: Mapping, where: str) -> typing.Any:
    try:
        value = _convert(kind, value)
    except (ValueError, TypeError):
        raise UserError(f"{where}: {value!r} is not {_WORDS[kind]}") from None
    if meta["choices"] and value not in meta["choices"]:
        raise UserError(f"{where}: {unknown('value', value, meta['choices'])}")
    low, high = meta["low"], meta["high"]
    if kind is float and not math.isfinite(value):
        raise UserError(f"{where}: {value} is not a finite number")
    if (low is not None and value < low) or (high is not None and value > high):
        allowed = f"at least {low}" if high is None else f"from {low} to {high}"
        raise UserError(f"{where}: {value} must be {allowed}")
    return value


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path", str: "a word"}


def _convert(kind: type, value: typing.Any) -> typing.Any:
    if kind is bool or isinstance(value, bool):
        if kind is bool and str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        raise ValueError
    if kind is int and isinstance(value, float) and not value.is_integer():
        raise ValueError
    if kind in (str, Path) and not isinstance(value, (str, Path)):
        raise ValueError
    return kind(value)            # PyYAML reads 1e-3 as a str; float() takes both


def _kind(cls: type, name: str) -> tuple[type, bool]:
    hint = typing.get_type_hints(cls)[name]
    if isinstance(hint, types.UnionType):
        return next(a for a in typing.get_args(hint) if a is not type(None)), True
    return hint, False


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message}; {self.prog} --help lists the flags")


def _read_flags(cls: type, argv: Sequence[str], program: str, description: str) -> dict:
    parser = _Parser(prog=program, description=description, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    if cls is Config:
        parser.add_argument("--config", metavar="FILE", help="YAML file of these settings; flags override it")
    for f in dataclasses.fields(cls):
        kind, _ = _kind(cls, f.name)
        text = f.metadata["help"]
        if kind is not bool and f.default not in (None, ()):
            text += f" (default: {f.default})"
        flag = f"--{f.name.replace('_', '-')}"
        if kind is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, help=text)
        elif typing.get_origin(kind) is tuple:
            parser.add_argument(flag, nargs="+", metavar="PATH", help=text)
        else:
            choices = f.metadata["choices"]
            name = "LAYER=FACTOR,..." if typing.get_origin(kind) is dict else kind.__name__.upper()
            metavar = "{" + ",".join(choices) + "}" if choices else name
            parser.add_argument(flag, metavar=metavar, help=text)
    known = [s for action in parser._actions for s in action.option_strings]
    namespace, extra = parser.parse_known_args(argv)
    if extra:
        if extra[0].startswith("-"):
            raise UserError(unknown("flag", extra[0].split("=")[0], known))
        raise UserError(f"unexpected {extra[0]!r}; every value follows its flag, such as --epochs 10")
    return vars(namespace)


def to_yaml(config: Config) -> str:
    """Return the settings of a run as YAML text that `read_yaml` takes back."""
    values = {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(config).items()
              if k not in NOT_SAVED}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
