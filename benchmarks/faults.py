"""What survives a fault: python benchmarks/faults.py kill|interrupt|disk [--runs 20] [--folder DIR]

Each run trains a ResNet-8 on the drawn shapes in 3 processes with a checkpoint at every step. At a random moment of its
first 15 s of training one worker is killed (kill), Ctrl-C is sent (interrupt), or the disk is filled (disk: --folder must
be on a small file system of its own, such as a tmpfs of 40 MB). Then no process may be left after 10 s, the exit status
must be that of the fault, `last` must be whole where there is one, and --resume must go on from it to the end.
Linux only.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
STATUS = {"kill": 1, "interrupt": 130, "disk": 2}


def command(folder: Path, *more: str) -> list[str]:
    """Return the training that is disturbed."""
    return [sys.executable, str(ROOT / "train.py"), "--dataset", "shapes", "--model", "resnet", "--depth", "8", "--nproc", "3",
            "--save-minutes", "0", "--device", "cpu", "--output-dir", str(folder), *more]


def family(folder: Path) -> list[psutil.Process]:
    """Return the processes that work on this run folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if str(folder) in (process.info["cmdline"] or ()) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def disturb(kind: str, parent: int, folder: Path, rng: random.Random) -> None:
    """Do the harm."""
    if kind == "kill":
        workers = psutil.Process(parent).children()
        rng.choice(workers).kill()
    elif kind == "interrupt":
        os.kill(parent, signal.SIGINT)
    else:
        with open(folder.parent / "filler", "wb") as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
                    file.flush()
            except OSError:
                pass


def once(kind: str, folder: Path, rng: random.Random) -> str:
    """Disturb one run; return "" or what went wrong."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command(folder, "--epochs", "500"), stdout=subprocess.DEVNULL, stderr=errors,
                                   start_new_session=True)
        while not (folder / "config.yaml").exists() and process.poll() is None:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 15))
        disturb(kind, process.pid, folder, rng)
        try:
            status = process.wait(timeout=90)
        except subprocess.TimeoutExpired:
            process.kill()
            return "did not end within 90 s"
        errors.seek(0)
        told = errors.read()
    deadline = time.monotonic() + 10
    while family(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    (folder.parent / "filler").unlink(missing_ok=True)
    if left := family(folder):
        for orphan in left:
            orphan.kill()
        return f"{len(left)} orphans"
    if status != STATUS[kind] or "Traceback" in told:
        return f"status {status}, stderr: {told.strip()[-300:]!r}"
    steps = sum(1 for _ in (folder / "metrics.jsonl").open()) if (folder / "metrics.jsonl").exists() else 0
    had = (folder / "last.json").exists()
    done = subprocess.run(command(folder, "--resume", "--max-steps", "1"), capture_output=True, text=True)
    if done.returncode or (had and "resumed" not in done.stdout):
        return f"--resume: status {done.returncode}: {done.stderr.strip()[-300:]!r}"
    print(f"  {kind}: status {status}, {steps} rows, checkpoint {'whole' if had else 'not yet written'}: "
          f"{told.strip().splitlines()[-1] if told.strip() else ''}", flush=True)
    return ""


def main() -> None:
    """Disturb --runs runs and say how many were lost; the exit status is 1 if any was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=sorted(STATUS))
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=None, help="where the run folders are made (default: a temporary one)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    place = Path(tempfile.mkdtemp(dir=given.folder))
    rng, lost = random.Random(given.seed), 0
    for number in range(given.runs):
        folder = place / f"run{number}"
        if wrong := once(given.kind, folder, rng):
            lost += 1
            print(f"  {given.kind}, run {number}: LOST: {wrong}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(place, ignore_errors=True)
    print(f"{given.kind}: {lost} of {given.runs} lost")
    sys.exit(lost > 0)


if __name__ == "__main__":
    main()
