"""Find a learning rate: python -m paddle_cls.lr_find --config configs/x.yaml

Trains with train.py's settings for some steps in one process, while the learning rate rises exponentially, until the loss
diverges; writes lr_find.png and lr_find.csv into --output-dir (default: output/lr_find/<dataset>_<model>) and suggests a
rate. Of train.py's settings lr, schedule, epochs, max_steps, ema_decay and nproc play no part. The weights are thrown away.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import UserError
from ..formats import markdown
from ..parallel.world import World
from ..system import runtime
from ..system.files import write_bytes, write_text, writing
from .settings.fields import LrFindConfig
from .shared import run_folder, setup

if TYPE_CHECKING:
    from ..data.reader import Batch
    from ..training.objective import Objective
    from ..training.updater import Updater

PROGRAM = "lr_find"
DIVERGED = 4.0                                     # times the lowest loss so far


class Suggestion(NamedTuple):
    """What a search found, as learning rates. `suggested` is a tenth of `lowest`."""

    suggested: float
    lowest: float                                  # where the smoothed loss is lowest
    note: str                                      # why not to trust it, or ""


def rising(low: float, high: float, steps: int) -> np.ndarray:
    """Return `steps` learning rates from `low` to `high`, each a constant factor above the one before."""
    return np.geomspace(low, high, steps)


def until_divergence(losses: Iterable[float]) -> np.ndarray:
    """Return the losses, float64, up to the first that is not finite or over DIVERGED times the lowest mean of five."""
    kept: list[float] = []
    lowest = np.inf
    try:
        for loss in losses:
            if not np.isfinite(loss) or (len(kept) >= 5 and loss > DIVERGED * lowest):
                break
            kept.append(float(loss))
            if len(kept) >= 5:
                lowest = min(lowest, float(np.mean(kept[-5:])))
    except ArithmeticError:                        # NotFinite
        pass
    return np.array(kept)


def smooth(losses: np.ndarray, width: int) -> np.ndarray:
    """Return the mean over `width` neighbours of each loss (odd; fewer at the ends), which shifts nothing to the right."""
    kernel = np.ones(width)
    middle = slice(width // 2, width // 2 + len(losses))       # "same" would return `width` numbers for fewer losses
    return np.convolve(losses, kernel)[middle] / np.convolve(np.ones(len(losses)), kernel)[middle]


def suggest(rates: np.ndarray, smoothed: np.ndarray, *, diverged: bool) -> Suggestion:
    """Return the suggestion that follows from smoothed losses (N,) at rising rates (N,).

    The rule: a tenth of the rate where the loss is lowest, which is about to diverge. After Smith 2015, arXiv 1506.01186
    (section 3.3), who reads the range by eye. Raises UserError where the loss did not fall by 2%, and for too few losses.
    """
    if len(smoothed) < 5:
        raise UserError(f"the loss diverged after {len(smoothed)} steps, at {rates[0]:.3g}; lower --lr-from")
    lowest = int(smoothed.argmin())
    if not lowest or smoothed[lowest] > 0.98 * smoothed[:lowest].max():
        raise UserError(f"the loss did not fall between {rates[0]:.3g} and {rates[-1]:.3g}: {smoothed[0]:.4g} at first, "
                        f"{smoothed[lowest]:.4g} at its lowest; try more --steps, or another range by --lr-from and --lr-to")
    note = "" if diverged or lowest < len(rates) - 1 else f"the loss was still falling at {rates[-1]:.3g}: raise --lr-to"
    return Suggestion(float(rates[lowest] / 10), float(rates[lowest]), note)


def losses(updater: "Updater", objective: "Objective", batches: Callable[[int], Iterable["Batch"]],
           steps: int) -> Iterator[float]:
    """Train for some steps and yield the mean loss of each batch; afterwards the weights are what they were.

    updater: its schedule gives the rate of each step. batches: epoch (from 0) -> the Batches of a pass.
    """
    from ..training.loop import Totals, train_one_epoch
    model = updater.network
    before = {name: value.numpy() for name, value in model.state_dict().items()}
    totals, done, epoch = Totals(), 0, 0
    try:
        while done < steps:
            for reached in train_one_epoch(batches(epoch), objective, updater, totals, step=done):
                yield totals.loss / totals.count
                totals.clear()
                done = reached.step
                if done == steps:
                    return
            epoch += 1
    finally:
        model.set_state_dict(before)


def main(argv: list[str]) -> int:
    """Search, write and print what was found; return the exit status."""
    config = setup.settings(argv, PROGRAM, __doc__, LrFindConfig, Path("output/lr_find"))
    setup.refuse_run_flags(config, PROGRAM)
    if config.lr_to <= config.lr_from:
        raise UserError(f"--lr-to {config.lr_to} must be over --lr-from {config.lr_from}")
    run_folder.check(config)
    runtime.prepare()
    rates = rising(config.lr_from, config.lr_to, config.steps)
    found = until_divergence(search(config, rates))
    diverged, rates = len(found) < len(rates), rates[:max(1, len(found))]
    smoothed = smooth(found, config.steps // 20 * 2 + 1) if len(found) else found
    marks = {}
    try:
        answer = suggest(rates, smoothed, diverged=diverged)
        marks = {"lowest": answer.lowest, "suggested": answer.suggested}
    finally:                                       # the picture helps where there is nothing to suggest
        write(config.folder, rates[:len(found)], found, smoothed, marks)
    every = max(1, len(rates) // 10)
    rows = [(f"{rate:.2e}", f"{loss:.4f}", f"{mean:.4f}") for rate, loss, mean in zip(rates, found, smoothed, strict=True)]
    print(markdown.table([("learning rate", "loss", "smoothed"), *rows[::every]]))
    print(f"{'the loss diverged' if diverged else 'not diverged'} after {len(rates)} steps, at {rates[-1]:.3g}; lowest at "
          f"{answer.lowest:.3g}; {config.folder}/lr_find.png")
    if answer.note:
        print(answer.note)
    print(f"suggestion, a tenth of the rate of the lowest loss: --lr {answer.suggested:.2g}")
    print(json.dumps({"output_dir": str(config.folder), **answer._asdict()}))
    return 0


def search(config: LrFindConfig, rates: np.ndarray) -> Iterator[float]:
    """Yield the training loss at each rate, from the data and the network that the settings ask for."""
    from tqdm import tqdm

    from .. import ops
    from ..data import transforms
    from ..training.updater import Updater
    world = World()
    device = runtime.set_device(config.device)
    cast, scaler = runtime.mixed_precision(config.amp, device)
    data = setup.load(config, world)
    transform, _ = transforms(data, config.image_size, config.augment)
    runtime.seed_step(config.seed, 0)
    model, arguments = setup.build(config, data)
    report, freezing = setup.adapt(config, model, arguments, data, world)
    if report:
        print(f"pretrained: {report.short()}")
    print(ops.speed_up(model, device, wanted=config.onednn != "off"), flush=True)
    optimizer = setup.optimizer(config, model)
    print(freezing.start_epoch(0), end="\n" if config.freeze or config.freeze_bn else "", flush=True)

    updater = Updater(model, optimizer, lambda step: float(rates[step]), seed=config.seed, accumulate=config.accumulate,
                      clip_norm=config.clip_norm, cast=cast, scaler=scaler, tensor=runtime.copier(device))
    found = losses(updater, setup.objective(config, data),
                   lambda epoch: setup.batches(config, data, transform, world, epoch=epoch)(), len(rates))
    yield from tqdm(found, total=len(rates), desc="steps", disable=None, leave=False)


def write(folder: Path, rates: np.ndarray, found: np.ndarray, smoothed: np.ndarray, marks: Mapping[str, float]) -> None:
    """Write lr_find.csv (lr, loss, smoothed) and lr_find.png with some rates marked. Raises UserError where it cannot."""
    from ..evaluation import plots
    picture = plots.png(plots.pixels(plots.rates_chart(rates, found, smoothed, marks)))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "lr_find.csv", "lr,loss,smoothed\n" + "".join(
            f"{rate:.6g},{loss:.6g},{mean:.6g}\n" for rate, loss, mean in zip(rates, found, smoothed, strict=True)))
        write_bytes(folder / "lr_find.png", picture)
