"""Settings of the form module:name, which mean code of the user's own."""

from collections.abc import Collection, Sequence
from pathlib import Path

from ... import named
from ...errors import UserError
from .fields import Config

NAMED = ("model", "dataset", "augment")            # settings that can mean such code


def check_named(config: Config, given: Collection[str], file: Path, names: Sequence[str] = NAMED) -> None:
    """Raise UserError if a run's own settings ask for code, and the user does not: the run may be a stranger's.

    given: the settings that come from the user. file: where the others come from.
    """
    for name in names:
        value = getattr(config, name)
        if named.is_named(value) and name not in given:
            raise UserError(f"{file}: {name}: {value!r} is code that is not run because a file says so; if it is yours, say so "
                            f"with --{name} {value}")


def folder_name(config: Config) -> str:
    """Return what the run's folder is called unless it is named; a colon is no letter for a folder everywhere."""
    return f"{config.dataset}_{config.model}".replace(":", ".")
