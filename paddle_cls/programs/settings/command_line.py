"""From YAML and flags to a frozen `Config`, and back to YAML."""

import argparse
import dataclasses
import inspect
import math
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import UserError, unknown
from ...formats.decimals import NUMBER, WHOLE, shown
from .fields import GROUPS, NOT_SAVED, Config, option

Settings = typing.TypeVar("Settings")              # a dataclass of settings


def parse(cls: type[Settings], argv: Sequence[str], *, program: str, description: str,
          base: Mapping | None = None) -> tuple[Settings, set[str]]:
    """Return (an instance of dataclass `cls`, the set of names given) from flags, which override a --config file.

    Only Config and what is derived from it read --config. base: values below both, for a resumed run. Raises UserError.
    """
    given = _read_flags(cls, argv, program, description)
    path = given.pop("config", None)
    from_file = read_yaml(path, cls) if path is not None else {}
    flags = {name: coerce(cls, name, value, f"--{name.replace('_', '-')}") for name, value in given.items()}
    values = {**(base or {}), **from_file, **flags}
    return cls(**values), set(from_file) | set(flags)


def read_yaml(path: str | Path, cls: type = Config) -> dict:
    """Return {field: value} of a YAML file, checked against `cls`. Raises UserError that names file and key.

    Fields of several words are flags only.
    """
    from ...formats import plain_yaml  # which needs PyYAML
    loaded = plain_yaml.load(path)
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise UserError(f"{path}: must hold 'key: value' lines, not a {type(loaded).__name__}")
    names = {field.name for field in dataclasses.fields(cls)}
    for name in loaded:
        if name in names and typing.get_origin(_kind(cls, name)[0]) is tuple:
            raise UserError(f"{path}: {name} goes on the command line: --{name} NAME=VALUE,...")
    return {str(name): coerce(cls, str(name), value, f"{path}: {name}") for name, value in loaded.items()}


def coerce(cls: type, name: str, value: typing.Any, where: str) -> typing.Any:
    """Return `value` as the type of field `name`, within its bounds. Raises UserError that starts with `where`."""
    fields = {f.name: f for f in dataclasses.fields(cls)}
    if name not in fields:
        raise UserError(f"{where.removesuffix(f': {name}')}: {unknown('key', name, fields)}")
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
        _, of_one = typing.get_args(kind)
        return {key: _bounded(of_one, str(one).lower() if isinstance(one, bool) else one, meta, f"{where}: {key}")
                for key, one in _pairs(value, where).items()}
    if value is False and "off" in meta["choices"]:              # YAML reads off as false
        value = "off"
    return _bounded(kind, value, meta, where, saved=issubclass(cls, Config))


def _pairs(value: typing.Any, where: str) -> dict[str, typing.Any]:
    """Return what a mapping holds, or a flag such as fc1=0.003,fc2=0.1."""
    if not isinstance(value, (Mapping, str)):
        raise UserError(f"{where}: {shown(value)} is not NAME=VALUE,...")
    pairs = [(str(key), one) for key, one in value.items()] if isinstance(value, Mapping) else \
        [(*pair.split("=", 1), "")[:2] for pair in value.split(",")]
    found: dict[str, typing.Any] = {}
    for key, one in pairs:
        if key in found:
            raise UserError(f"{where}: {_text(key, where)} is there twice; leave one out")
        found[_text(key, where)] = one
    return found


def keyword_arguments(parameters: Mapping[str, inspect.Parameter], given: Mapping[str, str], where: str) -> dict:
    """Return the keyword arguments `given` for a function as the types that its parameters are annotated with.

    Raises UserError, starting with `where`, for an unknown name or a value of another type.
    """
    values = {}
    for name, text in given.items():
        if name not in parameters:
            raise UserError(f"{where}: {unknown('argument', name, parameters)}")
        kind, optional = _plain(parameters[name].annotation)
        none = optional and text.lower() == "none"
        values[name] = None if none else _bounded(kind, text, option(None, "").metadata, f"{where}: {name}")
    return values


def _bounded(kind: type, value: typing.Any, meta: Mapping, where: str, *, saved: bool = True) -> typing.Any:
    if value == "":
        raise UserError(f"{where}: needs a value ({_WORDS[kind]})")
    try:
        value = _convert(kind, value)
    except (ValueError, TypeError, OverflowError):
        raise UserError(f"{where}: {shown(value)} is not {_WORDS[kind]}") from None
    if kind in (str, Path):
        _text(str(value), where, saved=saved or kind is str)
    if meta["choices"] and value not in meta["choices"]:
        raise UserError(f"{where}: {unknown('value', value, meta['choices'])}")
    low, high, most = meta["low"], meta["high"], meta["most"]
    if kind is float and not math.isfinite(value):
        raise UserError(f"{where}: {value} is not a finite number")
    if most is not None and value > most:
        raise UserError(f"{where}: {shown(value)} must be at most {most:{'' if isinstance(most, float) else ','}}")
    if (low is not None and value < low) or (high is not None and value > high):
        allowed = f"at least {low}" if high is None else f"from {low} to {high}"
        raise UserError(f"{where}: {shown(value)} must be {allowed}")
    return value


def _text(text: str, where: str, *, saved: bool = True) -> str:
    """Return `text`. Raises UserError where it holds what no file name can, or, to be saved, what is no UTF-8."""
    wrong = next((char for char in text if ord(char) < 32 or char == "\x7f" or (saved and "\ud800" <= char <= "\udfff")), None)
    if wrong:
        raise UserError(f"{where}: {shown(text)} holds {wrong!r}; a setting is UTF-8 text without control characters")
    return text


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path", str: "a word"}


def _convert(kind: type, value: typing.Any) -> typing.Any:
    if kind is bool or isinstance(value, bool):
        if kind is bool and str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        raise ValueError
    if kind is int and isinstance(value, float) and not value.is_integer():
        raise ValueError
    if kind is str and isinstance(value, (int, float)):          # val_split: 0.2
        return str(value)
    if kind in (str, Path) and not isinstance(value, (str, Path)):
        raise ValueError
    if isinstance(value, str) and kind in (int, float):
        endless = kind is float and value.lower().lstrip("+-") in ("inf", "infinity", "nan")        # told by _bounded
        if not endless and not (WHOLE if kind is int else NUMBER).fullmatch(value):
            raise ValueError
    return kind(value)            # 1e-3 is a str in YAML, too


def _kind(cls: type, name: str) -> tuple[type, bool]:
    return _plain(typing.get_type_hints(cls)[name])


def _plain(hint: typing.Any) -> tuple[type, bool]:
    """Return (int, False) of int, (int, True) of int | None, and so on."""
    if isinstance(hint, types.UnionType):
        return next(a for a in typing.get_args(hint) if a is not type(None)), True
    return hint, False


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are a UserError, which is told on one line."""

    def error(self, message: str) -> typing.NoReturn:
        """Raise UserError."""
        raise UserError(f"{message}; {self.prog} --help lists the flags")


def _read_flags(cls: type, argv: Sequence[str], program: str, description: str) -> dict:
    parser = Parser(prog=program, description=description, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    groups = _groups(parser, cls)
    if issubclass(cls, Config):
        groups["run"].add_argument("--config", metavar="FILE", help="YAML file of these settings; flags override it")
    for f in dataclasses.fields(cls):
        kind, _ = _kind(cls, f.name)
        text = f.metadata["help"]
        if kind is not bool and f.default not in (None, ()):
            text += f" (default: {f.default})"
        flag = f"--{f.name.replace('_', '-')}"
        group = groups[_group_of(f)]
        if f.metadata["positional"]:
            several = {"nargs": "+"} if typing.get_origin(kind) is tuple else {}
            group.add_argument(f.name, metavar=f.name.upper(), help=text, **several)
        elif kind is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=text)
        elif typing.get_origin(kind) is tuple:
            group.add_argument(flag, nargs="+", metavar=f.name.upper(), help=text)
        else:
            choices = f.metadata["choices"]
            name = "NAME=VALUE,..." if typing.get_origin(kind) is dict else kind.__name__.upper()
            metavar = "{" + ",".join(choices) + "}" if choices else name
            group.add_argument(flag, metavar=metavar, help=text)
    known = [s for action in parser._actions for s in action.option_strings]
    namespace, extra = parser.parse_known_args(argv)
    if extra:
        if extra[0].startswith("-"):
            raise UserError(unknown("flag", extra[0].split("=")[0], known))
        raise UserError(f"unexpected {extra[0]!r}; every value follows its flag, such as --epochs 10")
    return vars(namespace)


def _group_of(field: dataclasses.Field) -> str:
    listed = next((title for title, names in GROUPS.items() if field.name in names.split()), "run")
    return field.metadata["group"] or listed


def _groups(parser: argparse.ArgumentParser, cls: type) -> dict[str, typing.Any]:
    """Return {title: group} of the groups of --help in which `cls` has settings; "run" is always there."""
    there = {"run", *(_group_of(field) for field in dataclasses.fields(cls))}
    return {title: parser.add_argument_group(title) for title in GROUPS if title in there}


def to_yaml(config: Config) -> str:
    """Return the settings of a run as YAML text that `read_yaml` takes back."""
    import yaml
    values = {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(config).items()
              if k not in NOT_SAVED}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def check_together(config: Config) -> None:
    """Raise UserError for settings that are good by themselves, but of which one makes nothing of the other."""
    if config.checkpoint and not config.eval_only:
        raise UserError(f"--checkpoint {config.checkpoint}: goes with --eval-only; a training starts from --pretrained, or goes "
                        f"on with --resume")
    if config.resume and config.eval_only:
        raise UserError("--resume trains on and --eval-only does not train; leave out one of the two")
    if config.val_table and config.val_split:
        raise UserError("--val-table names the validation images and --val-split draws others; leave out one of the two")
    if config.accumulate > config.batch_size:
        raise UserError(f"--accumulate {config.accumulate}: more parts than the {config.batch_size} images of a batch "
                        f"(--batch-size)")
    needing = [name for name in ("pretrained_partial", "freeze", "unfreeze_epochs", "freeze_bn") if getattr(config, name)]
    if needing and not config.pretrained:
        raise UserError(f"--{needing[0].replace('_', '-')} is of use with --pretrained only; name the weights, or leave it out")
