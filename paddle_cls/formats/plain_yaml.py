"""YAML as settings need it: plain decimal numbers, no aliases, no tags of one's own, each key once, a few levels deep."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import yaml

from ..errors import UserError
from ..system.files import read_bytes
from .decimals import WHOLE, shown

LARGEST = 100_000                                  # bytes of a file; PyYAML reads some 50 kB a second
DEEPEST = 4                                        # levels of lists and mappings in each other; settings have two
_WITH_POINT = re.compile(r"[-+]?((0|[1-9][0-9]{0,999})\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
                         re.ASCII)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without what a settings file has no need of."""

    yaml_implicit_resolvers: ClassVar[dict] = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in ("null", "bool", "timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()}
    yaml_constructors: ClassVar[dict] = {
        tag: make for tag, make in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in ("null", "bool", "timestamp", "str", "seq", "map")}

    def __init__(self, text: str):
        super().__init__(text)
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node:
        """Return the next node. Raises _Refused for an alias or an anchor, and where it goes too deep."""
        event = self.peek_event()
        if getattr(event, "anchor", None):
            raise _error(event, "aliases and anchors (* and &) are not allowed; write the value itself")
        if self.depth > DEEPEST:
            raise _error(event, f"nested over {DEEPEST} levels deep; no setting is")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Raise _Refused for a key that is there twice. (In PyYAML this merges the mappings of keys <<.)"""
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in lines:
                    raise _error(key, f"{key.value!r} is there twice, first in line {lines[key.value]}; leave one out")
                lines[key.value] = key.start_mark.line + 1


class _Refused(yaml.MarkedYAMLError):
    """YAML, but of a kind that no settings file needs."""


def _error(place: yaml.Event | yaml.Node, problem: str) -> _Refused:
    return _Refused(problem=problem, problem_mark=place.start_mark)


def _add_number(name: str, pattern: re.Pattern, kind: Callable[[str], object], first: str) -> None:
    def construct(loader: _Loader, node: yaml.ScalarNode) -> object:
        text = loader.construct_scalar(node)
        if not pattern.fullmatch(text):
            raise _error(node, f"{shown(text)} is not a decimal number")
        return kind(text)

    tag = f"tag:yaml.org,2002:{name}"
    _Loader.add_implicit_resolver(tag, re.compile(f"(?:{pattern.pattern})$", re.ASCII), list(first))
    _Loader.add_constructor(tag, construct)


_add_number("int", WHOLE, int, "-+0123456789")
_add_number("float", _WITH_POINT, lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")), "-+.0123456789")


def load(path: str | Path) -> object:
    """Return what a YAML file holds: text, numbers, true, false, None, dates, and lists and mappings of them.

    Raises UserError, with file and line, for what is not YAML or not the plain kind; and for what is no small UTF-8 file.
    """
    try:
        text = read_bytes(path, LARGEST).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read --config {path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        return _Loader(text).get_single_data()
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-13-45
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        words = ", ".join(str(word) for word in (getattr(error, "context", None), getattr(error, "problem", error)) if word)
        raise UserError(f"{path}{line}: {'' if isinstance(error, _Refused) else 'not YAML: '}{words}") from None
