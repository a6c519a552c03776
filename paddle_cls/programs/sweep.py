"""What a grid varies: settings and their values, as written on the command line."""

import itertools
import math
from collections.abc import Sequence

from ..errors import UserError, report_all, unknown
from .settings.command_line import coerce
from .settings.fields import NOT_SAVED, Config

MOST = 1000                                        # combinations; each is checked before the first starts


def axes(words: Sequence[str]) -> dict[str, list[str]]:
    """Return {setting: its values, as written} of words such as "batch_size=16,32". Raises UserError for all that is wrong."""
    found: dict[str, list[str]] = {}
    problems = []
    allowed = sorted(set(Config.__dataclass_fields__) - {"output_dir", *NOT_SAVED})
    for word in words:
        name, _, text = word.partition("=")
        name, values = name.replace("-", "_"), text.split(",")
        if name not in allowed:
            problems.append(unknown("setting", name, allowed))
        elif name in found or len(set(values)) < len(values):
            problems.append(f"{name} is there twice" if name in found else f"{word}: a value is there twice")
        else:
            found[name] = values
            wrong = _wrong(name, values)
            problems += wrong
            if not wrong and _same([coerce(Config, name, value, name) for value in values]):
                problems.append(f"{word}: a value is there twice, spelled in two ways")
    report_all([f"--grid {problem}" for problem in problems])
    if not found:
        raise UserError("--grid: which settings? For example --grid batch_size=16,32 lr=0.1,0.2")
    if (count := math.prod(map(len, found.values()))) > MOST:
        raise UserError(f"--grid: {count:,} combinations, at most {MOST:,} are allowed; leave some values out")
    return found


def _same(values: Sequence[object]) -> bool:
    return any(one == other for one, other in itertools.combinations(values, 2))


def _wrong(name: str, values: Sequence[str]) -> list[str]:
    problems = []
    for value in values:
        try:
            coerce(Config, name, value, name)
        except UserError as error:
            problems.append(str(error))
    return problems
