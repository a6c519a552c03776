"""From the settings to the parts of a training: data, network, optimizer. Shared by the programs, which alone see a Config."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ... import models
from ...errors import UserError
from ...parallel.world import World
from ...system import memory, runtime
from ...system.files import read_bytes
from ..settings.command_line import check_together, keyword_arguments, parse, read_yaml
from ..settings.fields import MAY_CHANGE, NOT_SAVED, Config
from ..settings.own_code import check_named, folder_name

if TYPE_CHECKING:
    import paddle
    from paddle import nn

    from ...checkpoints import pretrained
    from ...data.dataset import ReadyData
    from ...data.reader import Reader, Split, Transform
    from ...inference.predictor import Predictor
    from ...training import freezing
    from ...training.objective import Objective

AnyConfig = TypeVar("AnyConfig", bound=Config)


def settings(argv: list[str], program: str, description: str, cls: type[AnyConfig], root: Path = Path("output")) -> AnyConfig:
    """Return the settings: the defaults, below the run's own when it is resumed, below --config, below the flags.

    cls: Config or a class derived from it. root: folder of the output folders that are not named.
    """
    config, given = parse(cls, argv, program=program, description=description)
    folder = config.output_dir or root / folder_name(config)
    saved = folder / "config.yaml"
    if (config.resume or config.eval_only) and saved.exists():
        before = read_yaml(saved)
        config, given = parse(cls, argv, program=program, description=description, base=before)
        for name in sorted(given - MAY_CHANGE) if config.resume else ():
            old, new = before.get(name), getattr(config, name)
            if old != (str(new) if isinstance(new, Path) else new):
                raise UserError(f"--resume: the run in {folder} has {name} = {old}, not {new}; leave that out, or start "
                                f"another run with another --output-dir")
        check_named(config, given, saved)
    if config.tta != "none" and not config.eval_only:
        raise UserError(f"--tta {config.tta}: goes with --eval-only; a training evaluates the plain images")
    from ...data import check_name  # after --help, which need not wait for it
    from ...data.augment import recipes
    models.check_name(config.model)
    check_name(config.dataset)
    recipes.parse(config.augment)
    check_together(config)
    return dataclasses.replace(config, output_dir=folder)


def refuse_run_flags(config: Config, program: str) -> None:
    """Raise UserError for flags that are about one run of train.py, in another program."""
    for field in dataclasses.fields(config):
        name = field.name
        if name in NOT_SAVED and getattr(config, name) != field.default:
            raise UserError(f"--{name.replace('_', '-')} is of no use in {program}; leave it out")


def check_model(config: Config) -> None:
    """Raise UserError unless the model, the device, the precision and the pretrained weights can be had."""
    runtime.mixed_precision(config.amp, runtime.set_device(config.device))
    if config.image_size:
        models.check_image_size(config.model, config.image_size)
    model = models.build_model(config.model, 2, **model_settings(config))
    weights(config)
    if config.freeze:
        from ...training import freezing
        freezing.choose(config.freeze, model, models.head(model, config.model, 2, **model_settings(config)))


def weights(config: Config) -> Path | None:
    """Return the file of pretrained weights, downloaded at need; None without, and where a run is resumed that has its own."""
    from ...checkpoints import pretrained
    from ...checkpoints.storage import exists
    resumed = config.resume and exists(config.folder / "last")
    return pretrained.fetch(config.pretrained) if config.pretrained and not resumed else None


def model_settings(config: Config) -> dict:
    """Return the arguments of the model that are given in the settings. Raises UserError for what --model-args cannot mean."""
    given, arguments = {"depth": config.depth, "init": config.init}, models.model_arguments(config.model)
    further = {name: kind for name, kind in arguments.items() if name not in ("image_size", *given)}       # they have flags
    if "image_size" in arguments:
        given["image_size"] = config.image_size
    return {**{name: value for name, value in given.items() if value is not None},
            **keyword_arguments(further, config.model_args or {}, f"--model-args of {config.model}")}


def load(config: Config, world: World) -> "ReadyData":
    """Return the data; where it must be downloaded, the first process does so for all.

    Raises UserError if the run folder has a split.csv that lists other pictures: what was trained on could be judged by.
    """
    from ...data import load_data
    from ...data.manifest import split_csv
    with world.first():
        data = load_data(config.dataset, config.data_dir, config.image_size, val_split=config.val_split, holdout=config.holdout,
                         table=config.table, val_table=config.val_table, columns=config.columns, task=config.task)
    _check_memory(config, data, world.size)
    split = config.folder / "split.csv"
    if data.drawn and split.exists() and read_bytes(split) != (split_csv(data) or "").encode():
        raise UserError(f"{split}: lists other pictures than there are now, of which other ones would be drawn to validate on; "
                        f"bring them back, or name split.csv as data: --dataset table --table")
    return data


def _check_memory(config: Config, data: "ReadyData", processes: int) -> None:
    """Raise UserError unless the pixels of a batch fit into the memory: decoded, as numbers, and as the network's input."""
    side = config.image_size or data.image_size
    batches = [("--eval-batch-size", min(config.eval_batch_size, len(data.val)))]
    if not config.eval_only:
        batches.insert(0, ("--batch-size", min(config.batch_size, len(data.train))))
    for flag, images in batches:
        needed = images // processes * 3 * side * side * (1 + 4 + 4)
        memory.check(needed, f"{images} images of {side}x{side} pixels ({flag}) take", f"lower {flag} or --image-size")


def load_for(predictor: "Predictor", config: Config) -> "ReadyData":
    """Return the data that `config` names. Raises UserError unless it has the classes of the predictor."""
    data = load(config, World())
    if list(data.classes) != predictor.classes:
        raise UserError(f"{predictor.source}: trained for the classes {predictor.classes}, but data set {config.dataset!r} has "
                        f"{list(data.classes)}")
    return data


def predict(predictor: "Predictor", split: "Split", batch_size: int) -> np.ndarray:
    """Return the predictor's logits float32 (N, C) of a split, whose next images are fetched while it computes."""
    from tqdm import tqdm

    from ...data.reader import prefetch
    parts = [np.arange(start, min(start + batch_size, len(split))) for start in range(0, len(split), batch_size)]
    reader = prefetch(lambda: (split.fetch(part) for part in parts), 1)
    logits = [predictor.logits(images, batch_size=batch_size)
              for images in tqdm(reader(), total=len(parts), unit="batch", leave=False, disable=None)]
    return np.concatenate(logits)


def objective(config: Config, data: "ReadyData") -> "Objective":
    """Return what the settings want to be small: the loss of a sample."""
    from ...data import sampling
    from ...training.objective import Objective
    weights = None if config.class_weights is None else sampling.class_weights(
        config.class_weights, data.classes, data.train.labels, balanced=config.sampling == "balanced")
    return Objective(config.label_smoothing, weights)


def batches(config: Config, data: "ReadyData", transform: "Transform", world: World, *, epoch: int, start: int = 0,
            stop: int | None = None) -> "Reader":
    """Return a reader of this process's parts of the training batches of `epoch`, from batch `start` to the one before `stop`."""
    from ...data.augment.mixing import train_batches
    return train_batches(data.train, config.batch_size, transform, seed=config.seed, epoch=epoch, start=start, stop=stop,
                         rank=world.rank, world=world.size, balanced=config.sampling == "balanced", mixup=config.mixup,
                         cutmix=config.cutmix)


def build(config: Config, data: "ReadyData") -> "tuple[nn.Layer, dict]":
    """Return (the network, the arguments it was built with)."""
    arguments = model_settings(config)
    size = config.image_size or data.image_size
    if "image_size" in models.model_arguments(config.model):
        arguments.setdefault("image_size", size)
    models.check_image_size(config.model, size)
    model = models.build_model(config.model, data.outputs, **arguments)
    models.check_logits(config.model, model, data.outputs, size)
    return model, arguments


def adapt(config: Config, model: "nn.Layer", arguments: dict, data: "ReadyData",
          world: World) -> "tuple[pretrained.LoadReport | None, freezing.Freezer]":
    """Set the pretrained weights and freeze layers; return (the LoadReport, None without `weights` to set; the Freezer)."""
    from ...checkpoints import pretrained
    from ...training import freezing
    if not config.pretrained:
        return None, freezing.Freezer(model)
    head = models.head(model, config.model, data.outputs, **arguments)
    report = None
    with world.first():
        file = weights(config)
    if file:
        report = pretrained.load(model, pretrained.read(file), head, classes=data.classes, partial=config.pretrained_partial,
                                 normalization=dataclasses.asdict(data.normalization))
    layers = freezing.choose(config.freeze, model, head) if config.freeze else []
    return report, freezing.Freezer(model, layers, unfreeze_epochs=config.unfreeze_epochs, freeze_bn=config.freeze_bn)


def optimizer(config: Config, model: "nn.Layer") -> "paddle.optimizer.Optimizer":
    """Return the optimizer of the trainable weights."""
    from ...training.optimizers import build_optimizer
    return build_optimizer(config.optimizer, model, momentum=config.momentum, weight_decay=config.weight_decay,
                           decay_norm_bias=config.decay_norm_bias, lr_scale=config.lr_scale)
