"""The door for programs of your own: train a network on images by one call, from plain arguments."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import paddle
from paddle import nn

from . import models, ops
from .checkpoints.info import Description
from .data.augment.mixing import train_batches
from .data.dataset import Data, ReadyData
from .data.images.transforms import HALF, Normalization
from .data.loading import SHARE, transforms
from .data.reader import Split, Transform
from .data.splits import hold_out
from .errors import UserError
from .evaluation import charts
from .parallel.world import World
from .system import lock, runtime
from .training import epochs as loops
from .training import graph
from .training.epochs import Metric, Plan, Result, Training
from .training.freezing import Freezer
from .training.objective import Objective
from .training.optimizers import EMA, Schedule, build_optimizer, build_schedule
from .training.run import Run
from .training.updater import Updater

Function = TypeVar("Function", bound=Callable)
# Numbers that `fit` takes: the least and the largest that are allowed.
WHOLE = ("epochs", "batch_size", "eval_batch_size", "log_every", "max_steps", "image_size", "seed")
BOUNDS = {**dict.fromkeys(("epochs", "batch_size", "eval_batch_size", "log_every", "max_steps"), (1, math.inf)),
          **dict.fromkeys(("lr", "warmup_epochs", "weight_decay", "mixup", "cutmix", "seed", "save_minutes"), (0, math.inf)),
          "clip_norm": (1e-12, math.inf), "image_size": (1, 4096), "momentum": (0, 1), "label_smoothing": (0, 0.999),
          "ema_decay": (0, 1)}
Part: TypeAlias = Split | tuple[np.ndarray, np.ndarray]        # or (images uint8 (N, H, W, 3) RGB, labels int (N,))


def _named_anew(function: Function) -> Function:
    """Have parameters and moments get the names of a new process, which resume asks for. (Paddle's decorator hides types.)"""
    return paddle.utils.unique_name.guard()(function)


@_named_anew
def fit(model: str | nn.Layer, train: Data | Part, val: Part | None = None, *, epochs: int, batch_size: int = 128,
        optimizer: str | paddle.optimizer.Optimizer = "adam", lr: float = 1e-3, schedule: str | Schedule = "constant",
        warmup_epochs: float = 0.0, momentum: float = 0.9, weight_decay: float = 0.0, clip_norm: float | None = None,
        augment: str | Transform = "none", mixup: float = 0.0, cutmix: float = 0.0, label_smoothing: float = 0.0,
        class_weights: np.ndarray | None = None, ema_decay: float | None = None, classes: Sequence[str] | None = None,
        image_size: int | None = None, normalization: Normalization | None = None, model_name: str | None = None,
        model_arguments: Mapping[str, object] | None = None, metrics: Mapping[str, Metric] | None = None,
        callbacks: Sequence[object] = (), output_dir: str | Path = "output/fit", resume: bool = False,
        max_steps: int | None = None, eval_batch_size: int = 250, log_every: int = 20, save_minutes: float = 10.0,
        device: str = "auto", seed: int = 0, quiet: bool = False) -> Result:
    """Train a network on images; return the metrics of the last and of the best epoch, and the run folder.

        images = np.random.randint(0, 256, (100, 32, 32, 3), np.uint8)
        done = paddle_cls.fit("resnet", (images, np.arange(100) % 10), epochs=2, batch_size=20, output_dir="output/mine")
        print(done.best["val/acc1"], Predictor.from_checkpoint(done.output_dir)(images[0]))

    model: a name of the zoo or "module:Net", built with `model_arguments`; or a layer of your own, which is trained in place:
        float32 (N, 3, image_size, image_size) in, logits float32 (N, classes) out.
    train, val: a `Data` of `paddle_cls.data.load_data`, which has both; or a Split each, or (images, labels): images uint8
        (N, H, W, 3) RGB and labels int (N,) from 0 on. val=None: a tenth of `train` is held out.
    classes: their names, so that label i is classes[i]; None: "0", "1", ... image_size: pixels a side to which images are
        resized; None: as they are. normalization: None: to [-1, 1], of a Data its own.
    optimizer: adam, adamw, momentum, nesterov (with lr, momentum, weight_decay), or one of Paddle's own that you built over
        the parameters of `model`. schedule: constant, cosine, onecycle, or a function (optimizer step, from 0) -> rate.
    augment: recipe as of `train.py --augment`; or a function (images uint8 (B, H, W, 3), numpy Generator) -> uint8
        (B, image_size, image_size, 3). class_weights: float32 (classes,). The others are as train.py's flags of that name.
    metrics: {"name": function(logits float32 (N, classes), labels int64 (N,)) -> float}, computed in each evaluation and kept
        as "val/name" in the metrics, metrics.jsonl, VisualDL and the checkpoints.
    callbacks: objects with on_epoch_end(state) or on_step_end(state), see `training.callbacks`; EarlyStop is one.
    output_dir: the run folder: checkpoints last and best, metrics.jsonl, vdl/. resume: go on with the run in it; a layer of
        your own must then have parameters of the same names (build it inside paddle.utils.unique_name.guard()).

    Predictor.from_checkpoint(output_dir) answers where it can build the network again: by a name of the zoo at once, by
    "module:Net" if you allow it that module. For a layer of your own give model_name="module:Net" (and the
    `model_arguments` that Net takes beside num_classes) as well, or build a Predictor from the layer itself.
    Raises UserError for a mistake in the arguments, NotFinite (an ArithmeticError) where the training diverges. Ctrl-C is a
    KeyboardInterrupt as always; the checkpoint `last` is then that of the last epoch.
    """
    for name, value in locals().items():           # the arguments
        _check_number(name, value)
    _check_callbacks(callbacks)
    data = _data(train, val, classes, image_size, normalization)
    if class_weights is not None:
        class_weights = _weights(class_weights, len(data.classes))
    size, folder, world = image_size or data.image_size, Path(output_dir), World()
    if not resume and (run_in := lock.run_in(folder)):
        raise UserError(f"{folder} holds a run ({run_in}); continue it with resume=True, or choose another output_dir")
    device = runtime.set_device(device)
    world.join(device)
    runtime.seed_step(seed, 0)
    network, name, arguments = _network(model, data, size, model_name, dict(model_arguments or {}))
    trains, evaluates = transforms(data, size, augment if isinstance(augment, str) else "none")
    if not isinstance(augment, str):
        trains = partial(_augmented, augment, data.normalization, size)
    plan = Plan(epochs, batch_size, eval_batch_size, max_steps=max_steps, log_every=log_every,
                fetch_every=1 if device == "cpu" else log_every, save_minutes=save_minutes)
    per_epoch, _ = plan.steps(len(data.train))
    changes = optimizer if isinstance(optimizer, paddle.optimizer.Optimizer) else \
        build_optimizer(optimizer, network, momentum=momentum, weight_decay=weight_decay)
    rate = schedule if callable(schedule) else build_schedule(schedule, lr, total=epochs * per_epoch,
                                                              warmup=round(warmup_epochs * per_epoch))
    was_plain = type(network), [type(layer) for layer in network.sublayers()]
    shown = graph.describe(network, size) if world.rank == 0 else None
    speed = ops.speed_up(network, device)
    try:
        with lock.training_in(folder, active=world.rank == 0):
            probe = evaluates(data.val.fetch(np.arange(min(4, len(data.val)))), np.random.default_rng(0))
            run = Run(folder, network, changes, ema=EMA(network, ema_decay) if ema_decay else None, world=world, probe=probe,
                      about=Description.of(name, arguments, classes=data.classes, image_size=size,
                                           normalization=dataclasses.asdict(data.normalization), dataset="own",
                                           outputs=1 if data.sigmoid else None))
            run.again = "resume=True"
            with world.first():
                resumed = resume and run.resume(per_epoch)
            if not quiet and world.rank == 0:
                print(f"{models.count_parameters(network):,} parameters train; {len(data.train):,} training and "
                      f"{len(data.val):,} validation images of {len(data.classes)} classes; run folder {folder}; {speed}"
                      f"{f'; resumed after {run.step} steps' if resumed else ''}", flush=True)
            updater = Updater(world.parallel(network), changes, rate, seed=seed, clip_norm=clip_norm, ema=run.ema,
                              tensor=runtime.copier(device), world=world)
            read = partial(train_batches, data.train, batch_size, trains, seed=seed, rank=world.rank, world=world.size,
                           mixup=mixup, cutmix=cutmix)
            return loops.train(Training(data, run, Objective(label_smoothing, class_weights), updater, plan, read, evaluates,
                                        Freezer(network), metrics or {}, callbacks, charts.drawer(), graph=shown, signals=False,
                                        quiet=quiet))
    finally:
        if was_plain != (type(network), [type(layer) for layer in network.sublayers()]):       # a layer of the caller's
            ops.restore(network)


def _augmented(change: Callable[[np.ndarray, np.random.Generator], np.ndarray], normalization: Normalization, size: int,
               images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return what training sees of B images, float32 (B, 3, size, size). Raises UserError for what `change` must not give."""
    changed = np.asarray(change(images, rng))
    if changed.dtype != np.uint8 or changed.shape != (len(images), size, size, 3):
        raise UserError(f"fit: augment gave {changed.dtype} {changed.shape}; it must return uint8 {(len(images), size, size, 3)}")
    return normalization(changed)


def _network(model: str | nn.Layer, data: Data, size: int, name: str | None,
             arguments: dict[str, object]) -> tuple[nn.Layer, str, dict[str, object]]:
    """Return (the network, the name and the arguments that build it again). Raises UserError unless it gives the right shape."""
    if isinstance(model, str):
        if name is not None:
            raise UserError(f"fit: model_name={name!r} goes with a layer; model={model!r} is a name already")
        if "image_size" in models.model_arguments(model):
            arguments.setdefault("image_size", size)
        models.check_image_size(model, size)
        network = models.build_model(model, data.outputs, **arguments)
        models.check_logits(model, network, data.outputs, size)
        return network, model, arguments
    if not isinstance(model, nn.Layer):
        raise UserError(f"fit: model is {type(model).__name__}; give a name of the zoo, \"module:Net\" or a paddle.nn.Layer")
    with runtime.evaluating(model):
        logits = model(paddle.zeros([1, 3, size, size]))
    if not isinstance(logits, paddle.Tensor) or list(logits.shape) != [1, data.outputs]:
        found = list(logits.shape) if isinstance(logits, paddle.Tensor) else type(logits).__name__
        raise UserError(f"fit: the network gives {found} for one image; it must give logits of shape [1, {data.outputs}]")
    return model, name or f"{models.UNNAMED}{type(model).__name__}", arguments


def _data(train: Data | Part, val: Part | None, classes: Sequence[str] | None, image_size: int | None,
          normalization: Normalization | None) -> ReadyData:
    """Return the data as one object. Raises UserError for shapes, kinds and labels that cannot be."""
    if isinstance(train, Data):
        if val is not None or classes is not None:
            raise UserError("fit: a Data has its validation split and its classes; leave out val and classes")
        if train.val is None:
            raise UserError("fit: this Data has no validation split; give one of load_data, or its `train`, of which a part is "
                            "held out")
        ready = train.ready(train.train, train.val, drawn=train.drawn)
        return ready if normalization is None else dataclasses.replace(ready, normalization=normalization)
    first = _split(train, "train")
    names = tuple(classes) if classes is not None else tuple(str(label) for label in range(int(first.labels.max()) + 1))
    _check_labels(first, names, "train")
    if val is None:
        first, second = hold_out(first, SHARE, "fit: without val, a part of train is held out:", names)
    else:
        second = _split(val, "val")
        _check_labels(second, names, "val")
    height, width = first.fetch(np.arange(1))[0].shape[:2]
    if image_size is None and height != width:
        raise UserError(f"fit: the images have {height}x{width} pixels; say with image_size to how many a side they are resized")
    return ReadyData(first, second, names, image_size or height, normalization or HALF)


def _check_number(name: str, value: Any) -> None:
    if name not in BOUNDS or value is None:
        return
    low, high = BOUNDS[name]
    if isinstance(value, bool) or (name in WHOLE and not isinstance(value, (int, np.integer))):
        raise UserError(f"fit: {name}={value!r:.100} is not a {'whole ' * (name in WHOLE)}number")
    number = isinstance(value, (int, float, np.integer, np.floating))
    if not number or not low <= float(value) <= high or math.isinf(value):
        allowed = f"at least {low}" if high == math.inf else f"from {low} to {high}"
        raise UserError(f"fit: {name}={value!r:.100} must be {allowed}")


def _check_callbacks(callbacks: Sequence[object]) -> None:
    for callback in callbacks:
        if isinstance(callback, type):
            raise UserError(f"fit: callbacks: {callback.__name__} is a class; give an object of it, {callback.__name__}(...)")
        if not hasattr(callback, "on_epoch_end") and not hasattr(callback, "on_step_end"):
            raise UserError(f"fit: callbacks: {callback!r:.100} has neither on_epoch_end nor on_step_end; add one of them")


def _weights(given: object, classes: int) -> np.ndarray:
    try:
        weights = np.asarray(given, np.float32)
    except (TypeError, ValueError):
        weights = np.zeros(0, np.float32)
    if weights.shape != (classes,) or not np.isfinite(weights).all() or (weights < 0).any():
        raise UserError(f"fit: class_weights={given!r:.100} must be {classes} numbers of at least 0, one for each class")
    return weights


def _split(part: Part, where: str) -> Split:
    if isinstance(part, Split):
        if not len(part):
            raise UserError(f"fit: {where}: there are no images; give at least one")
        return part
    try:
        images, labels = (np.asarray(array) for array in part)
    except (TypeError, ValueError):
        raise UserError(f"fit: {where} must be a Data, a Split, or (images, labels)") from None
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise UserError(f"fit: {where}: images {images.dtype} {images.shape}; they must be uint8 (N, height, width, 3), RGB")
    if not len(images):
        raise UserError(f"fit: {where}: there are no images; give at least one")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise UserError(f"fit: {where}: labels {labels.dtype} {labels.shape}; they must be {len(images)} whole numbers")
    return Split(images, labels)


def _check_labels(part: Split, names: Sequence[str], where: str) -> None:
    low, high = part.labels.min(), part.labels.max()
    if low < 0 or high >= len(names):
        raise UserError(f"fit: {where}: labels from {low} to {high}; with {len(names)} classes they must be from 0 to "
                        f"{len(names) - 1}")
