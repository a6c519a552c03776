"""What programs say to people: the settings that differ, recipes that are cut, the end of a training, who answers."""

import dataclasses
import shlex
import textwrap
from collections.abc import Mapping
from pathlib import Path

from ...errors import printable
from ...named import is_named
from ..settings.fields import MAY_CHANGE, NOT_SAVED, Config

WIDTH = 100                                        # columns of wrapped text
FEW = 50                                           # validation images, from 2 points of accuracy each on
SHAPED = ("cosine", "onecycle")                    # schedules that are made for the whole run


def changed(config: Config) -> str:
    """Return the settings that differ from the defaults, wrapped; one line where none differ."""
    words = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != field.default and field.name not in (*NOT_SAVED, "output_dir"):
            words.append(f"{field.name} {_short(value)}")
    where = config.output_dir / "config.yaml" if config.output_dir else "config.yaml"
    if not words:
        return printable(f"settings: the defaults (all: {where})")
    text = printable(f"settings: {', '.join(words)} (others: the defaults; all: {where})")
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def changes(before: Mapping[str, object], config: Config) -> list[str]:
    """Return a line for each setting that a resumed run changes. before: those in the run's config.yaml, by name."""
    lines = []
    for field in dataclasses.fields(config):
        old, new = before.get(field.name, field.default), getattr(config, field.name)
        if field.name in MAY_CHANGE - {*NOT_SAVED, "output_dir"} and _plain(old) != _plain(new):
            lines.append(printable(f"{field.name}: {_short(old)} before, {_short(new)} now"))
    return lines


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _short(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_short(one)}" for key, one in value.items())
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def cuts(config: Config, images: int) -> list[str]:
    """Return a line for each part of the recipe that this run ends too early for. images: of the training split."""
    per_epoch = -(-images // config.batch_size)
    total = config.epochs * per_epoch
    last = min(config.max_steps or total, total)
    short = last < total
    end = f"--max-steps {last} ({last / per_epoch:.2g} epochs)" if short else f"--epochs {config.epochs}"
    lines = []
    if round(config.warmup_epochs * per_epoch) > last:
        lines.append(f"warning: --warmup-epochs {config.warmup_epochs:g} is longer than the run, {end}: the learning rate never "
                     f"reaches --lr {config.lr:g}")
    if config.schedule == "step" and config.step_epochs * per_epoch >= last:
        lines.append(f"warning: --step-epochs {config.step_epochs} is never reached in the run, {end}: the learning rate never "
                     f"drops")
    if config.schedule in SHAPED and short:
        lines.append(f"warning: --max-steps {last} cuts the {config.schedule} schedule, which is made for the {total} steps of "
                     f"--epochs {config.epochs}")
    if config.unfreeze_epochs and config.unfreeze_epochs * per_epoch >= last:
        lines.append(f"warning: --unfreeze-epochs {config.unfreeze_epochs} is never reached in the run, {end}: nothing thaws")
    return lines


def few(images: int) -> list[str]:
    """Return a line where so many validation images say little about a network, else none."""
    if images >= FEW:
        return []
    return [f"only {counted(images, 'validation image')}: one more right or wrong moves the accuracy by {100 / images:.1f} "
            f"points"]


def finished(epochs: int, metrics: Mapping, best: Mapping, seconds: float | None, folder: Path, program: str,
             model: str = "") -> str:
    """Return the sentence that ends a training.

    epochs: whole ones that are done. metrics, best: of the last and the best evaluation. seconds: that this start trained;
    None where nothing was left to do. program: how the training was called, such as "train.py" or "paddle-cls train".
    model: its name; infer builds one of the user's own, module:Net, only where it is told to.
    """
    whole = metrics["epoch"] == epochs             # not so where --max-steps ended it inside an epoch
    part = counted(epochs, "epoch") if whole else counted(metrics["step"], "step")
    begin = f"This run had finished before: {part}" if seconds is None else f"Trained {part} in {duration(seconds)}"
    return printable(f"{begin}: validation accuracy {metrics['val/acc1']:.3f} (best {best['val/acc1']:.3f}, epoch "
                     f"{best['epoch']:g}). Classify a picture: {infer(program)} --image PICTURE --checkpoint "
                     f"{shlex.quote(str(folder))}{f' --model {shlex.quote(model)}' if is_named(model) else ''}")


def counted(number: float, what: str) -> str:
    """Return "1 epoch" or "1,200 epochs"."""
    return f"{number:,.0f} {what}{'s' * (number != 1)}"


def duration(seconds: float) -> str:
    """Return 20.4 as "20 s", 80 as "1 min 20 s" and 3700 as "1 h 2 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def infer(program: str) -> str:
    """Return the command that classifies, for one who called the training `program`."""
    return "paddle-cls infer" if program.startswith("paddle-cls") else "python infer.py"


def judged(summary: Mapping[str, float], threshold: float | None) -> str:
    """Return the metrics of a report in a line. threshold: of a yes-or-no network, told where it is not 0.5 as elsewhere."""
    shown = ", ".join(f"{name} {value:.4f}" for name, value in summary.items())
    return shown if threshold in (None, 0.5) else f"{shown} (at threshold {threshold:.3f})"


def answering(place: object, metrics: Mapping) -> str:
    """Return the line that names the checkpoint that answers. metrics: of its evaluation, empty where there was none."""
    if "val/acc1" not in metrics:
        return printable(f"answers by {place} (not evaluated)")
    return printable(f"answers by {place}: validation accuracy {metrics['val/acc1']:.3f}, epoch {metrics['epoch']:g}")
