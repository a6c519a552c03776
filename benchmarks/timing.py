"""How a call is timed, the same on both sides: needs nothing but Python, as each side's environment has its own."""

import statistics
import time
from collections.abc import Callable


def median_seconds(function: Callable[[], object], seconds: float) -> float:
    """Return the median time of a call, over so many calls as fit into `seconds`, after five that are not counted."""
    for _ in range(5):
        function()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
