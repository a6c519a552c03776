"""Train a network on images: python train.py --model resnet --depth 32 --dataset cifar10

Settings -> data -> model -> optimizer -> epochs. `python train.py --help` lists the settings; --config reads a file of
them, which flags override. The run folder gets config.yaml, last.* and best.* checkpoints, metrics.jsonl and vdl/.
"""

import dataclasses
import json
import sys
import time
from functools import partial

import numpy as np

from ..errors import NotFinite
from ..named import is_named
from ..parallel import launch, machines
from ..parallel.world import World
from ..system import entry, lock, runtime
from .settings.fields import Config
from .shared import console_lines, run_folder, setup

PROGRAM = "train.py"


def main(argv: list[str]) -> int:
    """Run one training or evaluation; return the exit status."""
    config = setup.settings(argv, PROGRAM, __doc__, Config)
    runtime.prepare()
    if config.eval_only:
        return evaluate(config)
    world = World()
    launch.end_with_launcher()
    with lock.training_in(config.folder, active=world.rank == 0):
        if world.rank == 0:
            run_folder.check(config)
        return start(config, world)


def start(config: Config, world: World) -> int:
    """Train in as many processes as the settings ask for; return the exit status."""
    count, reason = runtime.choose_processes(config.nproc, config.device, config.batch_size)
    if world.size == 1 and count > 1:
        setup.check_model(config)                 # here, that its mistakes are told once and at once
        print(f"{count} processes: {reason}", flush=True)
        return launch.run(entry.again(), count,
                             remedy=f"Continue with --resume --output-dir {config.folder}")
    try:
        return train(config, world)
    except NotFinite as error:
        if world.rank == 0:
            last = config.folder / error.checkpoint
            kept = f"{last} is the last good checkpoint" if last.with_suffix(".json").exists() else "no good checkpoint yet"
            print(f"{PROGRAM}: error: {error}; {kept}; try a lower --lr, --warmup-epochs 1 or --clip-norm 1",
                  file=sys.stderr, flush=True)
        return 1
    except RuntimeError as error:
        if world.size == 1 or not machines.is_lost_exchange(error):
            raise
        machines.tell_loss(PROGRAM, config.folder, error)
        return 1


def evaluate(config: Config) -> int:
    """Print the metrics of a checkpoint on the validation split, as one JSON line."""
    from ..evaluation import metrics
    from ..inference.predictor import Predictor
    predictor = Predictor.from_checkpoint(config.checkpoint or config.folder, device=config.device, tta=config.tta,
                                          model=config.model if is_named(config.model) else None)
    data = setup.load_for(predictor, config)
    logits = setup.predict(predictor, data.val, config.eval_batch_size)
    figures = metrics.classification(logits, data.val.labels, threshold=predictor.threshold).flat()
    print(json.dumps({"checkpoint": str(predictor.source), "tta": config.tta, **figures}, ensure_ascii=False))
    return 0


def train(config: Config, world: World) -> int:
    """Train in this process, one of `world`; return the exit status."""
    device = runtime.set_device(config.device)
    cast, scaler = runtime.mixed_precision(config.amp, device)
    world.join(device)
    if world.size > 1:
        machines.watch(PROGRAM, config.folder)

    from .. import ops
    from ..checkpoints.info import Description
    from ..data import transforms
    from ..evaluation import charts
    from ..training import epochs, graph, optimizers
    from ..training.log import read_rows
    from ..training.run import Run
    from ..training.updater import Updater

    data = setup.load(config, world)
    objective = setup.objective(config, data)
    train_transform, eval_transform = transforms(data, config.image_size, config.augment)
    plan = epochs.Plan(config.epochs, config.batch_size, config.eval_batch_size, max_steps=config.max_steps,
                       log_every=config.log_every, fetch_every=1 if device == "cpu" else config.log_every,
                       save_minutes=config.save_minutes)
    per_epoch, last = plan.steps(len(data.train))

    runtime.seed_step(config.seed, 0)
    model, arguments = setup.build(config, data)
    report, freezing = setup.adapt(config, model, arguments, data, world)
    shown = graph.describe(model, config.image_size or data.image_size) if world.rank == 0 else None
    speed = ops.speed_up(model, device, wanted=config.onednn != "off")
    optimizer = setup.optimizer(config, model)
    schedule = optimizers.build_schedule(
        config.schedule, config.lr, total=config.epochs * per_epoch, warmup=round(config.warmup_epochs * per_epoch),
        every=config.step_epochs * per_epoch, gamma=config.step_gamma)
    ema = optimizers.EMA(model, config.ema_decay) if config.ema_decay else None

    run = Run(config.folder, model, optimizer, ema=ema, scaler=scaler, world=world, about=Description.of(
        config.model, arguments, dataset=config.dataset, classes=data.classes, outputs=data.outputs,
        image_size=config.image_size or data.image_size, normalization=dataclasses.asdict(data.normalization)),
        probe=eval_transform(data.val.fetch(np.arange(min(4, len(data.val)))), np.random.default_rng(0)))
    with world.first():                            # who finishes first what a killed process had not renamed yet
        resumed = config.resume and run.resume(per_epoch)
    if resumed or config.pretrained:
        run.check_given(run.folder / "last" if resumed else config.pretrained)
    machines.check_alike(world, dataclasses.asdict(config), data.classes,
                         {"training": data.train.labels, "validation": data.val.labels}, run.step)
    if world.rank == 0:
        read_rows(config.folder / "metrics.jsonl")         # a broken one is refused before anything is written
        run_folder.introduce(config, run, data, resumed, speed, report)
    updater = Updater(world.parallel(model, changing=bool(config.unfreeze_epochs)), optimizer, schedule, seed=config.seed,
                      clip_norm=config.clip_norm, accumulate=config.accumulate, ema=run.ema, scaler=scaler, cast=cast,
                      tensor=runtime.copier(device), world=world)
    started = time.monotonic() if run.unfinished(last) else None
    # the place for what a flag asks for of `training.callbacks`, such as EarlyStop(config.monitor, config.patience)
    done = epochs.train(epochs.Training(data, run, objective, updater, plan, read=partial(
        setup.batches, config, data, train_transform, world), evaluates=eval_transform, freezing=freezing,
        draw=charts.drawer() if world.rank == 0 else None, graph=shown))
    if done.signal:
        return 128 + done.signal
    if world.rank == 0:
        seconds = None if started is None else time.monotonic() - started
        print(console_lines.finished(run.epoch, done.metrics, done.best, seconds, config.folder, PROGRAM, config.model))
        print(json.dumps({"output_dir": str(done.output_dir), "visualdl": str(done.visualdl), "step": done.step,
                          "final": done.metrics, "best": done.best}, ensure_ascii=False), flush=True)
    return 0
