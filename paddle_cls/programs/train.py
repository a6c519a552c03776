"""Train a network on images: python train.py --model resnet --depth 32 --dataset cifar10

Settings -> data -> model -> optimizer -> epochs. `python train.py --help` lists the settings; --config reads a file of
them, which flags override. The run folder gets config.yaml, last.* and best.* checkpoints, metrics.jsonl and vdl/.
"""

import dataclasses
import json
import sys

from ..errors import NotFinite
from ..parallel import launch, machines
from ..parallel.world import World
from ..system import entry, lock, runtime, stopping
from . import setup
from .settings.fields import Config

PROGRAM = "train.py"


def main(argv: list[str]) -> int:
    """Run one training or evaluation; return the exit status."""
    config = setup.settings(argv, PROGRAM, __doc__)
    runtime.prepare()
    if config.eval_only:
        return evaluate(config)
    world = World()
    launch.end_with_launcher()
    with lock.training_in(config.output_dir, active=world.rank == 0):
        if world.rank == 0:
            setup.check_folder(config)
        return start(config, world)


def start(config: Config, world: World) -> int:
    """Train in as many processes as the settings ask for; return the exit status."""
    count, reason = runtime.choose_processes(config.nproc, config.device, config.batch_size)
    if world.size == 1 and count > 1:
        setup.check_model(config)                 # here, that its mistakes are told once and at once
        print(f"{count} processes: {reason}", flush=True)
        return launch.run(entry.again(), count,
                             remedy=f"Continue with --resume --output-dir {config.output_dir}")
    try:
        return train(config, world)
    except NotFinite as error:
        if world.rank == 0:
            last = config.output_dir / error.kept
            kept = f"{last} is the last good checkpoint" if last.with_suffix(".json").exists() else "no good checkpoint yet"
            print(f"{PROGRAM}: error: {error}; {kept}; try a lower --lr, --warmup-epochs 1 or --clip-norm 1",
                  file=sys.stderr, flush=True)
        return 1
    except RuntimeError as error:
        if world.size == 1 or not machines.is_lost_exchange(error):
            raise
        machines.tell_loss(PROGRAM, config.output_dir, error)
        return 1


def evaluate(config: Config) -> int:
    """Print the figures of a checkpoint on the validation split, as one JSON line."""
    runtime.load_paddle()
    from ..checkpoints import checkpoint
    from ..evaluation import metrics
    from ..inference.predictor import Predictor
    path = checkpoint.find(config.checkpoint or config.output_dir)
    predictor = Predictor.from_checkpoint(path, device=config.device, tta=config.tta)
    data = setup.load_for(predictor, path, config)
    logits = setup.predict(predictor, data.val, config.eval_batch_size)
    figures = metrics.classification(logits, data.val.labels, threshold=predictor.threshold)
    print(json.dumps({"checkpoint": str(path), "tta": config.tta, **figures}))
    return 0


def train(config: Config, world: World) -> int:
    """Train in this process, one of `world`; return the exit status."""
    device = runtime.set_device(config.device)
    cast, scaler = runtime.mixed_precision(config.amp, device)
    world.join(device)
    if world.size > 1:
        machines.watch(PROGRAM, config.output_dir)
    tensor = runtime.copier(device)

    from ..data import transforms
    from ..data.reader import batches, num_batches, prefetch
    from ..evaluation import binary, charts, metrics
    from ..training import loop, optimizers
    from ..training.log import Log, Progress, epoch_line, read_rows
    from ..training.run import Run

    data = setup.load(config, world)
    weights = setup.class_weights(config, data)
    train_transform, eval_transform = transforms(data, config.image_size, config.augment)
    per_epoch = num_batches(len(data.train), config.batch_size)
    last = min(config.max_steps or sys.maxsize, config.epochs * per_epoch)

    runtime.seed_step(config.seed, 0)
    model, arguments = setup.build(config, data)
    report, freezing = setup.adapt(config, model, arguments, data, world)
    speed = setup.accelerate(model, device, config.onednn)
    optimizer = setup.optimizer(config, model)
    schedule = optimizers.build_schedule(
        config.schedule, config.lr, total=config.epochs * per_epoch, warmup=round(config.warmup_epochs * per_epoch),
        every=config.step_epochs * per_epoch, gamma=config.step_gamma)
    ema = optimizers.EMA(model, config.ema_decay) if config.ema_decay else None

    run = Run(config.output_dir, model, optimizer, ema=ema, scaler=scaler, world=world, about={
        "model": {"name": config.model, "arguments": arguments}, "dataset": config.dataset,
        "classes": data.classes, **({"outputs": 1} if data.sigmoid else {}),
        "image_size": config.image_size or data.image_size, "normalization": dataclasses.asdict(data.normalization)},
        probe=eval_transform(data.val.fetch(range(min(4, len(data.val)))), None))
    with world.first():                            # who finishes first what a killed process had not renamed yet
        resumed = config.resume and run.resume(per_epoch)
    if resumed or config.pretrained:
        run.check_given(run.folder / "last" if resumed else config.pretrained)
    machines.check_alike(world, dataclasses.asdict(config), data.classes,
                         {"training": data.train.labels, "validation": data.val.labels}, run.step)
    main_process = world.rank == 0
    if main_process:
        read_rows(config.output_dir / "metrics.jsonl")         # a broken one is refused before anything is written
        setup.introduce(config, run, data, resumed, speed, report)
    log = Log(config.output_dir, run.step, run.epoch, active=main_process, draw=charts.drawer() if main_process else None)
    network = world.parallel(model, changing=bool(config.unfreeze_epochs))

    def predict(split):
        parts = batches(split, config.eval_batch_size, eval_transform, rank=world.rank, world=world.size)
        return run.predict(prefetch(parts)(), tensor)

    bar = None
    stop = stopping.Stop(lambda: bar.close(f"stopped by a signal after step {run.step}; {run.kept}"), alone=world.size == 1)
    with stop, run.rescued(fetched=device == "cpu" or world.size == 1):
        while run.step < last or run.figures.get("step") != run.step:  # a run may have been killed before its evaluation
            state = freezing.begin(run.epoch)
            if state and main_process:
                print(state, flush=True)
            bar = Progress(f"epoch {run.epoch + 1}/{config.epochs}", len(data.train), run.totals, active=main_process)
            first = run.epoch * per_epoch
            reader = setup.batches(config, data, train_transform, world, epoch=run.epoch, start=run.step - first,
                                      stop=last - first)
            stop.defer()
            for step in loop.train_one_epoch(
                    network, reader(), optimizer, schedule, step=run.step, totals=run.totals, seed=config.seed,
                    label_smoothing=config.label_smoothing, class_weights=weights, accumulate=config.accumulate,
                    clip_norm=config.clip_norm, ema=run.ema, world=world, cast=cast, scaler=scaler, tensor=tensor,
                    fetch_every=1 if device == "cpu" else config.log_every,
                    flags=lambda: (run.save_due(config.save_minutes), *stop.flags())):
                run.step = step
                log.every(config.log_every, run.step, {"lr": schedule(run.step - 1), **run.totals.means("train/")})
                due, *came = run.totals.flags
                number = stop.asked(came)
                if number or due:
                    run.save("last")
                if number:
                    stop.tell()
                    return 128 + number
                bar.show(run.totals)               # last: a terminal that is gone keeps nothing from being saved
            timing = bar.timing(run.totals)        # of the steps, not of the saving
            run.save("last")
            stop.allow()                           # nothing of the epoch can be lost any more
            logits, labels = predict(data.val)
            threshold = binary.choose_threshold(*predict(data.holdout)) if data.holdout else None
            figures = {"step": run.step, "epoch": run.epoch + 1, "lr": schedule(run.step - 1), **run.totals.means("train/"),
                       **metrics.classification(logits, labels, "val/", threshold=threshold)}
            log.scalars(run.step, {**figures, **timing})       # before the checkpoint: a kill between repeats, not loses, it
            run.end_epoch(figures, whole=run.step == first + per_epoch)
            with world.first():                    # charts of many images take seconds, and gloo waits for 30 only
                log.pictures(run.step, data.val.images, logits, labels, data.classes, model.parameters(),
                             threshold=threshold, last=run.step >= last)
            bar.close(epoch_line(config.epochs, run.figures, run.best, timing))
    log.close()
    if main_process:
        print(json.dumps({"output_dir": str(config.output_dir), "visualdl": str(log.folder), "step": run.step,
                          "final": run.figures, "best": run.best}), flush=True)
    return 0
