"""What survives a fault: python benchmarks/faults.py --results FILE --folder DIR [--kinds kill,disk] [--each N] [--summary]

1,000 kill -9 and 700 other faults (full disks, Ctrl-C, signals, stopped and killed workers) in trainings of one and two
processes, and while caches and reports are written. What was disturbed is done again on what it has left until it reaches
its end, mostly through several faults; then figures, rows and weights must be those of an undisturbed run to the last bit.
Each fault adds a line to FILE; the same command goes on where an earlier one was stopped. The exit status is 1 if anything
was lost. Leave the sources alone meanwhile: runs of two processes read them anew. Linux; full disks need root, for their
tmpfs. On one core of a slow machine all of it takes some 2 hours, most of them the 370 faults of two processes.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from paddle_cls.errors import UserError
from paddle_cls.programs.settings.command_line import Parser
from paddle_cls.system import runtime
from paddle_cls.system.entry import reported

runtime.prepare()                                  # before Paddle is loaded

from benchmarks import fault_children as children  # noqa: E402
from benchmarks import fault_kinds, fault_works  # noqa: E402
from benchmarks.fault_kinds import KINDS, Kind  # noqa: E402

LINKS = 40                                         # faults that one run is put through at most, then it may end


class Campaign:
    """The results so far, and the works with their right results."""

    def __init__(self, results: Path, folder: Path, seed: int):
        self.results, self.folder, self.seed = results, folder.resolve(), seed
        self.rows = read(results) if results.exists() else []
        self.works = fault_works.works(self.folder)
        self.seconds: dict[str, float] = {}        # of an undisturbed run

    def settle(self, names: set[str]) -> None:
        """Have the right results of these works, and of those that they use."""
        fault_kinds.load()
        if names & {"export", "report"}:
            names = names | {"operators"}          # compiled once
        for name in sorted(names | {"training"}, key=["training", "operators", *sorted(names)].index):
            fault_works.settle(self.folder, name, self.works[name], lambda work, place, name=name: self._undisturbed(name, place))

    def _undisturbed(self, name: str, place: Path) -> children.Ended:
        ended = self._once(name, place, children.Harm())
        self.seconds[name] = ended.seconds
        return ended

    def _once(self, name: str, place: Path, harm: children.Harm) -> children.Ended:
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        work = self.works[name]
        if work.command:
            return children.started(work.command(place), str(place / "run"), harm, scratch, limit=180)
        return children.attempt(lambda: work.call(place), harm, scratch, limit=90)

    def run(self, name: str, kind: Kind, wanted: int) -> None:
        """Do what is missing of a kind until there are `wanted` faults of it."""
        place = self.folder / name
        place.mkdir(exist_ok=True)
        disk = _Disk(place) if kind.room else contextlib.nullcontext()
        with disk:
            own = [row for row in self.rows if row["kind"] == name]
            hits, number, link = sum(row["hit"] for row in own), len(own), 0
            while hits < wanted and number < 6 * wanted + 20:
                rng = random.Random(f"{self.seed} {name} {number}")
                if kind.room:
                    disk.resize(rng, kind.room)
                harm = kind.harm(rng, self.seconds[kind.work]) if link < LINKS else children.Harm()
                row = self._fault(name, kind, place, harm, rng)
                hits, number = hits + row["hit"], number + 1
                link = 0 if row["status"] == 0 or row["outcome"] != "ok" else link + 1
            if kind.room:
                disk.enlarge()
            if any(place.iterdir()):               # what was disturbed last comes to its end
                self._fault(name, kind, place, children.Harm(), random.Random(0))

    def _fault(self, name: str, kind: Kind, place: Path, harm: children.Harm, rng: random.Random) -> dict:
        work = self.works[kind.work]
        before = work.standing(place)
        ended = self._once(kind.work, place, harm)
        if ended.status == 0 and before <= 0:      # the machine may have been busier before
            self.seconds[kind.work] = min(self.seconds[kind.work], ended.seconds)
        outcome, detail = kind.judge(ended, before, work.standing(place))
        if outcome == "ok" and ended.status == 0 and (detail := work.wrong(place)):
            outcome = "lost"
        row = {"kind": name, "number": sum(other["kind"] == name for other in self.rows), "outcome": outcome, "detail": detail,
               "hit": kind.hit(ended, harm), "status": ended.status, "harm": f"{harm}", "where": ended.where[-200:],
               "seconds": round(ended.seconds, 2), "standing": [before, work.standing(place)], "time": time.strftime("%F %T")}
        self.rows.append(row)
        with open(self.results, "a") as file:
            file.write(json.dumps(row) + "\n")
        if outcome != "ok":
            print(f"{name} {row['number']}: {outcome.upper()}: {detail} ({harm}; {ended.where[-100:]})", flush=True)
            kept = self.folder / "kept" / f"{name}-{row['number']}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(place, kept, ignore_dangling_symlinks=True)
            for file in ("out", "err"):
                shutil.copy(self.folder / "scratch" / file, kept)
        if outcome != "ok" or (ended.status == 0 and not (work.reruns and rng.random() < 0.5)):
            for child in place.iterdir():
                shutil.rmtree(child) if child.is_dir() else child.unlink()
        return row


def read(results: Path) -> list[dict]:
    """Return the results so far; a line that was being written when a campaign was killed is taken out of the file."""
    lines = results.read_text().splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        results.write_text("".join(lines[:-1]))
        lines.pop()
    return [json.loads(line) for line in lines]


class _Disk:
    """A small file system on a folder."""

    def __init__(self, place: Path):
        self.place = place

    def __enter__(self) -> "_Disk":
        while os.path.ismount(self.place):         # of a campaign that was killed
            subprocess.run(["umount", str(self.place)], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(self.place)], check=True)
        return self

    def __exit__(self, *_) -> None:
        subprocess.run(["umount", "-l", str(self.place)], check=False)

    def resize(self, rng: random.Random, most: float) -> None:
        """Leave up to `most` MB free."""
        about = os.statvfs(self.place)
        used = (about.f_blocks - about.f_bfree) * about.f_frsize
        self._size(used + 4096 * max(1, round(rng.uniform(0, most) * 256)))

    def enlarge(self) -> None:
        """Leave plenty."""
        self._size(64 << 20)

    def _size(self, size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.place)], check=True)


def summary(rows: list[dict]) -> str:
    """Return a table of the outcomes by kind, and what went wrong."""
    outcomes = sorted({row["outcome"] for row in rows} - {"ok"})
    lines = [" | ".join(("kind", "attempts", "faults", "ok", *outcomes))]
    for name in [*KINDS, "all"]:
        own = [row for row in rows if name in ("all", row["kind"])]
        count = Counter(row["outcome"] for row in own)
        if own:
            hits = sum(row["hit"] for row in own)
            lines.append(" | ".join(map(str, (name, len(own), hits, count["ok"], *(count[outcome] for outcome in outcomes)))))
    bad = [f"{row['kind']} {row['number']}: {row['outcome']}: {row['detail']} ({row['harm']} {row['where']})"
           for row in rows if row["outcome"] != "ok"]
    return "\n".join(lines + bad)


def main() -> int:
    """Do the faults that are missing; return the exit status."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="file of the results, one JSON object a line; is continued")
    parser.add_argument("--folder", type=Path, required=True, help="where the runs are made; what went wrong is kept below kept/")
    parser.add_argument("--kinds", default=",".join(KINDS), help="of faults, such as kill,disk-export (default: all)")
    parser.add_argument("--each", type=int, default=None, help="faults of each kind (default: as many as the kind has)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--summary", action="store_true", help="only show the results so far")
    given = parser.parse_args()
    names = given.kinds.split(",")
    if unknown := sorted(set(names) - set(KINDS)):
        raise UserError(f"--kinds: unknown {', '.join(unknown)}; known: {', '.join(KINDS)}")
    campaign = Campaign(given.results, given.folder, given.seed) if not given.summary else None
    if campaign:
        given.folder.mkdir(parents=True, exist_ok=True)
        campaign.settle({KINDS[name].work for name in names})
        for name in names:
            if KINDS[name].room and os.geteuid():
                print(f"{name}: left out, a tmpfs needs root", flush=True)
                continue
            campaign.run(name, KINDS[name], KINDS[name].count if given.each is None else given.each)
    rows = campaign.rows if campaign else read(given.results)
    print(summary(rows))
    return int(any(row["outcome"] != "ok" for row in rows))


if __name__ == "__main__":
    with reported("faults.py"):
        sys.exit(main())
