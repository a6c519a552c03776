"""The kinds of faults of the campaign: what is disturbed, how, how often, and which answers are right."""

import random
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.fault_children import AtOperation, Ended, Harm, InWrite, Signals, Workers

KILLED, TOO_LONG = -signal.SIGKILL, -signal.SIGXFSZ


@dataclass(frozen=True)
class Kind:
    """One kind. harm: makes one, of a generator and the seconds that an undisturbed run takes."""

    work: str                                      # a name of fault_works.works
    count: int
    harm: Callable[[random.Random, float], Harm]
    statuses: tuple[int, ...]                      # that may follow, beside 0 where the work was done before
    room: float = 0                                # MB left free at most on a disk of its own; 0: there is plenty
    always: bool = False                           # whether the harm leaves no trace in the answer

    def judge(self, ended: Ended, before: int, after: int) -> tuple[str, str]:
        """Return ("ok", "") or (outcome, detail). before, after: the work's standing."""
        told = ended.err.strip()
        end = f"status {ended.status}; stderr: {told[-400:]!r}"
        if ended.status is None:
            return "hang", f"not ended after {ended.seconds:.0f} s; {end}"
        if ended.orphans:
            return "orphan", f"{ended.orphans} processes left; {end}"
        if "Traceback" in told or "terminate called" in told:
            return "traceback", end
        if ended.status not in (*self.statuses, 0):
            return "wrong status", end
        if ended.status in (1, 2) and len(re.findall(r"(?m)^.*(?:error: |was ended by ).*$", told)) != 1:
            return "wrong message", end
        if after < before:
            return "lost", f"the checkpoint fell from step {before} to {after}; {end}"
        if (said := re.search(r"stopped by a signal after step (\d+);", ended.out)) and int(said[1]) != after:
            return "lost", f"{said[0]} but the checkpoint is of step {after}"
        return "ok", ""

    def hit(self, ended: Ended, harm: Harm) -> bool:
        """Return whether the harm came in time, and counts."""
        if self.room:
            return ended.status != 0 or "cannot be written" in ended.err
        return type(harm) is not Harm and (self.always or ended.status != 0)


def load() -> None:
    """Load what the works need, so that the children do not; no computation."""
    import matplotlib.figure  # noqa: F401
    import sklearn.metrics  # noqa: F401
    import visualdl  # noqa: F401

    from paddle_cls.inference import cached, convert, predictor  # noqa: F401


def moment(rng: random.Random, seconds: float) -> float:
    """Return a moment in a run of so many seconds."""
    return rng.uniform(0.02, 0.95 * seconds)


def kill(rng: random.Random, seconds: float) -> Harm:
    """Kill at any moment."""
    return Signals([(moment(rng, seconds), signal.SIGKILL)])


def kill_at(rng: random.Random, seconds: float) -> Harm:
    """Kill before an operation on a file, mostly one of the first hundred."""
    return AtOperation(1 + int(rng.expovariate(1 / 60)))


def kill_in(rng: random.Random, seconds: float) -> Harm:
    """Kill in the middle of a file; the longest of a checkpoint have 310 kB."""
    return InWrite(rng.randint(4_000, 330_000))


def kill_filling(rng: random.Random, seconds: float) -> Harm:
    """Kill at any moment or operation, or in the middle of a file."""
    return rng.choice([kill, kill_in, lambda rng, _: AtOperation(1 + int(rng.expovariate(1 / 12)))])(rng, seconds)


def send(*kinds: int) -> Callable[[random.Random, float], Harm]:
    """Send signals, the second and later ones at most half a second after the one before."""
    def harm(rng: random.Random, seconds: float) -> Harm:
        return Signals([(moment(rng, seconds) if place == 0 else rng.uniform(0, 0.5), kind) for place, kind in enumerate(kinds)])
    return harm


def worker(rng: random.Random, seconds: float) -> Harm:
    """Kill one of two workers."""
    return Workers(moment(rng, seconds), rng.randrange(2))


def everyone(rng: random.Random, seconds: float) -> Harm:
    """Kill the process that started the workers, by itself or with them."""
    return kill(rng, seconds) if rng.random() < 0.5 else Workers(moment(rng, seconds), -1)


def stop(rng: random.Random, seconds: float) -> Harm:
    """Stop one of two workers for a while."""
    return Workers(moment(rng, seconds), rng.randrange(2), signal.SIGSTOP, rng.uniform(0.1, 2))


def nothing(rng: random.Random, seconds: float) -> Harm:
    """Leave it to the small disk."""
    return Harm()


TWICE = (130, -signal.SIGINT)                      # the second may come while Python ends; a shell says 130 then too
INTERRUPT, TERMINATE, HANGUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
KINDS = {
    # 1,000 kills
    "kill": Kind("training", 250, kill, (KILLED,)),
    "kill-operation": Kind("training", 350, kill_at, (KILLED,)),
    "kill-write": Kind("training", 100, kill_in, (TOO_LONG,)),
    "kill-export": Kind("export", 60, kill_filling, (KILLED, TOO_LONG)),
    "kill-photos": Kind("photos", 60, kill_filling, (KILLED, TOO_LONG)),
    "kill-operators": Kind("operators", 40, kill_filling, (KILLED, TOO_LONG, 3)),    # 3: the compiler is hit
    "kill-report": Kind("report", 40, kill_filling, (KILLED, TOO_LONG)),
    "kill-two": Kind("two", 100, everyone, (KILLED,)),
    # other faults
    "disk": Kind("training", 100, nothing, (2,), room=0.8),
    "disk-export": Kind("export", 100, nothing, (2,), room=0.8),
    "disk-photos": Kind("photos", 100, nothing, (2,), room=0.15),
    "disk-report": Kind("report", 100, nothing, (2,), room=0.8),
    "disk-two": Kind("two", 20, nothing, (2,), room=0.8),
    "interrupt": Kind("training", 60, send(INTERRUPT), (130,)),
    "interrupt-twice": Kind("training", 40, send(INTERRUPT, INTERRUPT), TWICE),
    "terminate": Kind("training", 30, send(TERMINATE), (143,)),
    "hangup": Kind("training", 30, send(HANGUP), (129,)),
    "interrupt-two": Kind("two", 20, send(INTERRUPT), (130,)),
    "interrupt-two-twice": Kind("two", 10, send(INTERRUPT, INTERRUPT), TWICE),
    "terminate-two": Kind("two", 10, send(TERMINATE), (143,)),
    "hangup-two": Kind("two", 10, send(HANGUP), (129,)),
    "stop-two": Kind("two", 50, stop, (), always=True),
    "worker-two": Kind("two", 150, worker, (1,)),
}
