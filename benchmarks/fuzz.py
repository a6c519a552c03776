"""Break what is good, and see what the package makes of it: python benchmarks/fuzz.py --cases 10000 --seed 0 --jobs 2

Random command lines, YAML, tables, folders, pictures, checkpoints, weights, caches, augmentations, figures of runs. Allowed are
an answer and a refusal (UserError, an OSError that the programs report, exit status 1 where documented). Anything else is a
finding: an exception, a wrong answer (NaN, two lines of error), a hang (time in which other programs have the processors does
not count), memory over the limit, a crash. It is counted by its place and, with --keep, kept with its files; the exit status
is 1 if there is one. `--seed S --case N` runs one again and shows all of it. --results names a file to which each case's
outcome is added; what is in it is not run again. Linux only.
"""

import argparse
import collections
import contextlib
import dataclasses
import itertools
import json
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from multiprocessing import connection
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import psutil

from benchmarks import fuzz_worker
from benchmarks.fuzz_targets import LIGHT, PADDLE, PROGRAM
from benchmarks.fuzz_worker import Result
from paddle_cls.formats import markdown

GROWTH = 1500 << 20                                # bytes that one case may take
LARGE = 2500 << 20                                 # bytes of a process that is replaced by a new one between two cases
GRACE = 8                                          # seconds after which a case is ended that does not end itself


class Order(NamedTuple):
    """A case to run. mutated=False: the target reads its good files as they are."""

    case: int
    target: str
    mutated: bool = True


class Worker:
    """A process that runs cases, and the case that it runs."""

    def __init__(self, seed: int, folder: Path, good: Path, seconds: float):
        self.about = (seed, folder, good, seconds)
        self.folder, self.seconds = folder, seconds
        self.order: Order | None = None
        self.begin()

    def begin(self) -> None:
        """Start the process."""
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        seed, folder, good, seconds = self.about
        self.process = context.Process(target=fuzz_worker.serve, args=(other, seed, folder, good, seconds))
        self.process.start()
        other.close()
        self.warm = False

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.pipe.close()

    def leave(self) -> None:
        """Let the process end by itself, or else end it."""
        if self.order is None:
            self.pipe.close()
            self.process.join(2)
        self.end()

    def give(self, order: Order, heavy: bool) -> None:
        """Let it run a case. heavy: this or another needs Paddle."""
        if self.memory() > LARGE:
            self.end()
            self.begin()
        self.order, self.started, self.base = order, self.clock(), self.memory() if self.warm else None
        self.pipe.send(("run", *order, heavy))

    def memory(self) -> int:
        """Return the bytes that it holds."""
        with contextlib.suppress(psutil.Error):
            return psutil.Process(self.process.pid).memory_info().rss
        return 0

    def clock(self) -> float:
        """Return a time in seconds that stands still while the process waits for a processor."""
        return time.monotonic() - fuzz_worker.queued(self.process.pid)

    def look(self) -> Result | None:
        """Return the outcome of its case if there is one by now; a process that has ended, or takes too much, has one."""
        spent = self.clock() - self.started
        if self.pipe.poll():
            try:
                result = self.pipe.recv()
            except (EOFError, OSError):
                self.process.join(10)
                return self.lost("crash", f"signal {-(self.process.exitcode or 0)}", spent)
            if result.growth > GROWTH and not result.finding:
                result.outcome, result.place = "growth", f"growth@{result.target}"
                result.message = f"{result.growth / 1e9:.1f} GB"
            self.order, self.warm = None, True
            if result.outcome == "hang":           # it may have left a thread behind that still waits
                self.end()
                self.begin()
            return result
        if self.base and self.memory() - self.base > 2 * GROWTH:
            return self.lost("growth", f"over {2 * GROWTH / 1e9:.1f} GB", spent)
        if spent > self.seconds + GRACE + (0 if self.warm else 60):
            return self.lost("hang", "ended from outside", spent)
        return None

    def lost(self, kind: str, what: str, spent: float) -> Result:
        """End the process and say what became of its case; a new one takes its place."""
        self.end()
        trace = (self.folder / "trace").read_text() if (self.folder / "trace").exists() else ""
        own = trace.partition("Current thread" if "Current thread" in trace else "Thread")[2]
        place = next((line.strip() for line in own.split("\n\n")[0].splitlines() if "/paddle_cls/" in line), "")
        parts = place.split('"')
        line = place.partition("line ")[2].partition(" ")[0]
        where = f"{Path(parts[1]).name}:{line}" if len(parts) > 2 else self.order.target
        result = Result(self.order.case, self.order.target, kind, f"{kind}@{where}", what, spent, trace=trace[-6000:])
        self.order = None
        self.begin()
        return result


def run(seed: int, orders: Iterable[Order], *, jobs: int = 1, seconds: float = 20, keep: Path | None = None) -> Iterator[Result]:
    """Yield the outcome of cases as they end. keep: folder for the files of findings."""
    todo, targets = collections.deque(orders), fuzz_worker.targets()
    heavy = any(targets[order.target].cost != LIGHT for order in todo)
    with tempfile.TemporaryDirectory(prefix="fuzz", ignore_cleanup_errors=True) as root:
        place = Path(root).resolve()
        count = max(1, min(jobs, len(todo)))
        workers = [Worker(seed, place / f"worker{number}", place / "good", seconds) for number in range(count)]
        try:
            workers[0].pipe.send(("make", heavy))
            if not workers[0].pipe.poll(300) or workers[0].pipe.recv() != "made":
                raise RuntimeError("the good files could not be made")
            while todo or any(worker.order for worker in workers):
                for worker in workers:
                    if worker.order is None and todo:
                        worker.give(todo.popleft(), heavy)
                    elif worker.order and (result := worker.look()):
                        if keep and result.finding:
                            _keep(keep / f"{seed}-{result.case}", worker.folder / "case", result)
                        yield result
                connection.wait([worker.pipe for worker in workers if worker.order], 0.1)
        finally:
            for worker in workers:
                worker.leave()


def _keep(folder: Path, case: Path, result: Result) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(dataclasses.asdict(result), indent=1))
    for path in sorted(case.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 4 << 20:
            with contextlib.suppress(OSError):
                (folder / path.relative_to(case)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, folder / path.relative_to(case))


def cases(seed: int, costs: Iterable[str] = (LIGHT, PADDLE, PROGRAM), names: Iterable[str] = ()) -> Iterator[Order]:
    """Yield all cases of these costs, and of these targets if there are names, in an order without an end.

    A number means the same case whatever is asked for.
    """
    number, known, names, costs = 0, fuzz_worker.targets(), set(names), set(costs)
    while True:
        name, _ = fuzz_worker.chosen(seed, number)
        if known[name].cost in costs and (not names or name in names):
            yield Order(number, name)
        number += 1


def summary(results: list[Result], seed: int) -> str:
    """Return the counts, the findings by place, the slowest case and the one that took most memory."""
    kinds = collections.Counter(result.outcome for result in results)
    lines = [f"{len(results):,} cases: " + ", ".join(f"{kinds[kind]:,} x {kind}" for kind in sorted(kinds))]
    places: dict[tuple[str, str], list[Result]] = {}
    for result in filter(lambda one: one.finding, results):
        places.setdefault((result.target, result.place), []).append(result)
    if places:
        lines.append(markdown.head(["mutated", "times", "where", "message", "again with"]))
        for (name, where), found in sorted(places.items(), key=lambda item: -len(item[1])):
            again = f"--seed {seed} --case {found[0].case}"
            lines.append(markdown.line([name, len(found), f"`{where}`", found[0].message[:90], f"`{again}`"]))
    for what, weigh in (("slowest", lambda one: one.seconds), ("largest", lambda one: one.growth)):
        best = max(results, key=weigh)
        lines.append(f"{what}: case {best.case} ({best.target}), {best.seconds:.1f} s, {best.growth / 1e6:.0f} MB")
    return "\n".join(lines)


def main() -> int:
    """Run cases and print the summary; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="run this one alone, and show it")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="limit of a case (default: %(default)s)")
    parser.add_argument("--target", action="append", default=[], help="only cases of this target")
    parser.add_argument("--keep", type=Path, help="folder for the files of the findings")
    parser.add_argument("--results", type=Path, help="file of outcomes, a line each, that is continued")
    given = parser.parse_args()
    keep = given.keep.resolve() if given.keep else None
    if given.case is not None:
        order = Order(given.case, fuzz_worker.chosen(given.seed, given.case)[0])
        [result] = run(given.seed, [order], seconds=given.seconds, keep=keep)
        print(result.trace, f"case {result.case} ({result.target}): {result.outcome} {result.place}: {result.message}", sep="\n")
        return int(result.finding)
    rows = given.results.read_text().splitlines() if given.results and given.results.exists() else []
    results = [Result(**{key: value for key, value in row.items() if key != "seed"}) for row in map(json.loads, rows)
               if row["seed"] == given.seed]
    started, source, done = time.monotonic(), cases(given.seed, names=given.target), {result.case for result in results}
    orders = [order for order in itertools.islice(source, given.cases) if order.case not in done]
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(given.results, "a", encoding="utf-8")) if given.results else None
        for result in run(given.seed, orders, jobs=given.jobs, seconds=given.seconds, keep=keep):
            results.append(result)
            if file:
                file.write(json.dumps({"seed": given.seed, **dataclasses.asdict(result)}) + "\n")
                file.flush()
            if len(results) % 500 == 0:
                print(f"{len(results):,} cases, {sum(one.finding for one in results)} findings, "
                      f"{time.monotonic() - started:.0f} s", flush=True)
    print(summary(results, given.seed), f"{time.monotonic() - started:.0f} s", sep="\n")
    return int(any(result.finding for result in results))


if __name__ == "__main__":
    sys.exit(main())
