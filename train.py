"""Train a network on images: python train.py --model resnet --depth 32 --dataset cifar10

Settings -> data -> model -> optimizer -> epochs. `python train.py --help` lists the settings; --config reads a file of
them, which flags override. The run folder gets config.yaml, last.* and best.* checkpoints, metrics.jsonl and vdl/.
"""

import dataclasses
import json
import signal
import sys
from pathlib import Path

from paddle_cls import models, processes, runtime
from paddle_cls.config import MAY_CHANGE, Config, parse, read_yaml, to_yaml
from paddle_cls.errors import UserError, reported
from paddle_cls.files import write_text, writing

PROGRAM = "train.py"


def main(argv: list[str]) -> int:
    """Run one training or evaluation; return the exit status."""
    config = settings(argv)
    runtime.prepare()
    if config.eval_only:
        return evaluate(config)
    world = runtime.World()
    if world.rank == 0:
        check_folder(config)
    count, reason = runtime.choose_processes(config.nproc, config.device, config.batch_size)
    if world.size == 1 and count > 1:
        check_model(config)                        # here, that its mistakes are told once and at once
        print(f"{count} processes: {reason}", flush=True)
        return processes.run([sys.executable, *sys.argv], count,
                             remedy=f"Continue with --resume --output-dir {config.output_dir}")
    try:
        return train(config, world)
    except ArithmeticError as error:               # a loss or a weight that is not finite
        if world.rank == 0:
            last = config.output_dir / "last"
            kept = f"{last} is the last good checkpoint" if last.with_name("last.json").exists() else "no checkpoint yet"
            print(f"{PROGRAM}: error: {error}; {kept}; try a lower --lr, --warmup-epochs 1 or --clip-norm 1",
                  file=sys.stderr, flush=True)
        return 1


def settings(argv: list[str]) -> Config:
    """Return the settings: the defaults, below the run's own when it is resumed, below --config, below the flags."""
    config, given = parse(Config, argv, program=PROGRAM, description=__doc__)
    folder = config.output_dir or Path("output") / f"{config.dataset}_{config.model}"
    saved = folder / "config.yaml"
    if (config.resume or config.eval_only) and saved.exists():
        before = read_yaml(saved)
        config, given = parse(Config, argv, program=PROGRAM, description=__doc__, base=before)
        for name in sorted(given - MAY_CHANGE) if config.resume else ():
            old, new = before.get(name), getattr(config, name)
            if old != (str(new) if isinstance(new, Path) else new):
                raise UserError(f"--resume: the run in {folder} has {name} = {old}, not {new}; leave that out, or start "
                                f"another run with another --output-dir")
    from paddle_cls import data as datasets  # after --help, which need not wait for it
    models.check_name(config.model)
    datasets.check_name(config.dataset)
    return dataclasses.replace(config, output_dir=folder)


def check_folder(config: Config) -> None:
    """Raise UserError if the run folder holds another run."""
    folder = config.output_dir
    runs = [name for name in ("config.yaml", "last.json", "metrics.jsonl") if (folder / name).exists()]
    if runs and not config.resume:
        raise UserError(f"{folder} holds a run ({runs[0]}); add --resume to continue it, or choose another --output-dir")
    if config.resume and not runs:
        print(f"{folder}: nothing to resume yet; starting from the beginning", flush=True)


def check_model(config: Config) -> None:
    """Raise UserError unless the model, the device and the precision can be had."""
    runtime.mixed_precision(config.amp, runtime.set_device(config.device))
    models.build_model(config.model, 2, **model_settings(config))


def model_settings(config: Config) -> dict:
    """Return the arguments of the model that are given in the settings."""
    given = {"depth": config.depth, "init": config.init}
    if "image_size" in models.model_arguments(config.model):
        given["image_size"] = config.image_size
    return {name: value for name, value in given.items() if value is not None}


def load(config: Config, world: runtime.World):
    """Return the Data; where it must be downloaded, the first process does so for all."""
    from paddle_cls.data import load_data
    if world.rank > 0:
        world.wait()
    data = load_data(config.dataset, config.data_dir, config.image_size, val_split=config.val_split,
                     holdout=config.holdout)
    if world.rank == 0:
        world.wait()
    return data


def build(config: Config, data):
    """Return (the network, the arguments it was built with)."""
    arguments = model_settings(config)
    if "image_size" in models.model_arguments(config.model):
        arguments.setdefault("image_size", data.image_size)
    return models.build_model(config.model, data.outputs, **arguments), arguments


def evaluate(config: Config) -> int:
    """Print the figures of a checkpoint on the validation split, as one JSON line."""
    from paddle_cls import checkpoint, metrics
    from paddle_cls.predictor import Predictor
    path = checkpoint.find(config.checkpoint or config.output_dir)
    predictor = Predictor.from_checkpoint(path, device=config.device)
    data = load(config, runtime.World())
    if list(data.classes) != predictor.classes:
        raise UserError(f"{path}: trained for the classes {predictor.classes}, but data set {config.dataset!r} has "
                        f"{list(data.classes)}")
    logits = predictor.logits(data.val.images, batch_size=config.eval_batch_size)
    figures = metrics.classification(logits, data.val.labels, threshold=predictor.threshold)
    print(json.dumps({"checkpoint": str(path), **figures}))
    return 0


def train(config: Config, world: runtime.World) -> int:
    """Train in this process, one of `world`; return the exit status."""
    device = runtime.set_device(config.device)
    asked = dict.fromkeys(processes.STOPPING, False)
    for number in asked:                           # after Paddle is loaded, which sets handlers of its own
        signal.signal(number, lambda got, _: asked.update({got: True}))
    cast, scaler = runtime.mixed_precision(config.amp, device)
    world.join(device)

    from paddle_cls import binary, engine, metrics, optim
    from paddle_cls.data import transforms
    from paddle_cls.data.reader import batches, num_batches, prefetch
    from paddle_cls.log import Log, Progress, epoch_line
    from paddle_cls.run import Run

    data = load(config, world)
    train_transform, eval_transform = transforms(data, config.image_size, config.augment)
    per_epoch = num_batches(len(data.train), config.batch_size)
    stop = min(config.max_steps or sys.maxsize, config.epochs * per_epoch)

    runtime.seed_step(config.seed, 0)
    model, arguments = build(config, data)
    speed = accelerate(model, device, config.onednn)
    optimizer = optim.build_optimizer(
        config.optimizer, model, momentum=config.momentum, weight_decay=config.weight_decay,
        decay_norm_bias=config.decay_norm_bias, lr_scale=config.lr_scale)
    schedule = optim.build_schedule(
        config.schedule, config.lr, total=config.epochs * per_epoch, warmup=round(config.warmup_epochs * per_epoch),
        every=config.step_epochs * per_epoch, gamma=config.step_gamma)
    ema = optim.EMA(model, config.ema_decay) if config.ema_decay else None

    run = Run(config.output_dir, model, optimizer, ema=ema, scaler=scaler, world=world, about={
        "model": {"name": config.model, "arguments": arguments}, "dataset": config.dataset,
        "classes": data.classes, **({"outputs": 1} if data.sigmoid else {}),
        "image_size": config.image_size or data.image_size, "normalization": dataclasses.asdict(data.normalization)})
    resumed = config.resume and run.resume()
    main_process = world.rank == 0
    if main_process:
        introduce(config, run, data, resumed, speed)
    log = Log(config.output_dir, run.step, run.epoch, active=main_process)
    network = world.parallel(model)

    def predict(split):
        parts = batches(split, config.eval_batch_size, eval_transform, rank=world.rank, world=world.size)
        return run.predict(prefetch(parts)())

    while run.step < stop or run.figures.get("step") != run.step:      # a run may have been killed before its evaluation
        bar = Progress(f"epoch {run.epoch + 1}/{config.epochs}", len(data.train), run.totals, active=main_process)
        first = run.epoch * per_epoch
        reader = batches(data.train, config.batch_size, train_transform, seed=config.seed, epoch=run.epoch,
                         start=run.step - first, stop=stop - first, rank=world.rank, world=world.size)
        for step in engine.train_one_epoch(
                network, prefetch(reader)(), optimizer, schedule, step=run.step, totals=run.totals, seed=config.seed,
                label_smoothing=config.label_smoothing, accumulate=config.accumulate, clip_norm=config.clip_norm,
                ema=run.ema, world=world, cast=cast, scaler=scaler, fetch_every=1 if device == "cpu" else config.log_every,
                flags=lambda: (*asked.values(), run.save_due(config.save_minutes))):
            run.step = step
            bar.show(run.totals)
            log.every(config.log_every, run.step, {"lr": schedule(run.step - 1), **run.totals.means("train/")})
            interrupted, terminated, due = run.totals.flags
            if interrupted or terminated or due:
                run.save("last")
            if interrupted or terminated:
                bar.close(f"stopped by a signal after step {run.step}; {config.output_dir}/last is saved, continue with "
                          f"--resume --output-dir {config.output_dir}")
                return 130 if interrupted else 143
        timing = bar.timing(run.totals)
        logits, labels = predict(data.val)
        threshold = binary.choose_threshold(*predict(data.holdout)) if data.holdout else None
        figures = {"step": run.step, "epoch": run.epoch + 1, "lr": schedule(run.step - 1), **run.totals.means("train/"),
                   **metrics.classification(logits, labels, "val/", threshold=threshold)}
        log.scalars(run.step, {**figures, **timing})           # before the checkpoint: a kill between repeats, not loses, it
        run.end_epoch(figures, whole=run.step == first + per_epoch)
        log.pictures(run.step, data.val.images, logits, labels, data.classes, optim.trainable(model), threshold=threshold,
                     last=run.step >= stop)
        bar.close(epoch_line(config.epochs, run.figures, run.best, timing))
    log.close()
    if main_process:
        print(json.dumps({"output_dir": str(config.output_dir), "visualdl": str(log.folder), "step": run.step,
                          "final": run.figures, "best": run.best}), flush=True)
    return 0


def accelerate(model, device: str, wanted: str) -> str:
    """Let compiled operators compute a model that trains on a CPU; return a line that says what computes, and why."""
    if device == "gpu":
        return "computing on the GPU"
    if wanted == "off":
        return "computing by Paddle's own CPU operators (--onednn off)"
    from paddle_cls import ops
    usable, reason = ops.available()
    return f"computing by {ops.accelerate(model)}" if usable else f"computing by Paddle's own CPU operators: {reason}"


def introduce(config: Config, run, data, resumed: bool, speed: str) -> None:
    """Write the settings into the run folder and show what is about to be trained."""
    text, folder = to_yaml(config), config.output_dir
    with writing(folder):
        new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            write_text(folder / "config.yaml", text)
        except OSError:
            if new:
                folder.rmdir()
            raise
    print(text, end="")
    print(f"{models.count_parameters(run.model):,} parameters; {len(data.train):,} training and {len(data.val):,} "
          f"validation images of {len(data.classes)} classes; run folder {config.output_dir}")
    print(speed)
    if resumed:
        print(f"resumed {config.output_dir}/last: {run.epoch} epochs and {run.step} steps are done")
    sys.stdout.flush()


if __name__ == "__main__":
    with reported(PROGRAM):
        sys.exit(main(sys.argv[1:]))
