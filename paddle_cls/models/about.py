"""What stands in the papers: each network's constructor says it by `@about(...)`, and the tests and tables read it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Constructor = TypeVar("Constructor", bound=Callable[..., Any])


@dataclass(frozen=True)
class About:
    """Where a network comes from, the images it is made for, and its published size."""

    paper: str                                     # authors, year, where
    published: str = ""                            # parameters in millions, with the published digits; "" where nobody says
    source: str = "the paper"                      # who published that number
    differs: str = ""                              # why ours is another number; "": ours is the same to the published digits
    classes: int = 1000                            # with which the parameters were counted
    image_size: int | None = 224                   # pixels a side, in the paper; None: nobody says
    smallest: int = 1                              # the smallest pixels a side that the network takes


NOTHING_TOLD = About("-", image_size=None)         # of a network without @about


def about(paper: str, **facts: Any) -> Callable[[Constructor], Constructor]:
    """Return a decorator that keeps About(paper, **facts) as a constructor's attribute `about`."""
    def decorate(constructor: Constructor) -> Constructor:
        described: Any = constructor               # a function, of which type checkers know no attributes
        described.about = About(paper, **facts)
        return constructor
    return decorate
