"""From the settings to the parts of a training: run folder, data, network. Shared by the programs, which alone see a Config."""

import dataclasses
import sys
from pathlib import Path

from . import models, runtime
from .config import MAY_CHANGE, Config
from .errors import UserError
from .files import write_text, writing
from .settings import keyword_arguments, parse, read_yaml, to_yaml


def settings(argv: list[str], program: str, description: str) -> Config:
    """Return the settings: the defaults, below the run's own when it is resumed, below --config, below the flags."""
    config, given = parse(Config, argv, program=program, description=description)
    folder = config.output_dir or Path("output") / f"{config.dataset}_{config.model}"
    saved = folder / "config.yaml"
    if (config.resume or config.eval_only) and saved.exists():
        before = read_yaml(saved)
        config, given = parse(Config, argv, program=program, description=description, base=before)
        for name in sorted(given - MAY_CHANGE) if config.resume else ():
            old, new = before.get(name), getattr(config, name)
            if old != (str(new) if isinstance(new, Path) else new):
                raise UserError(f"--resume: the run in {folder} has {name} = {old}, not {new}; leave that out, or start "
                                f"another run with another --output-dir")
    from . import data as datasets  # after --help, which need not wait for it
    from .data import recipes
    models.check_name(config.model)
    datasets.check_name(config.dataset)
    recipes.parse(config.augment)
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
    if config.image_size:
        models.check_image_size(config.model, config.image_size)
    models.build_model(config.model, 2, **model_settings(config))


def model_settings(config: Config) -> dict:
    """Return the arguments of the model that are given in the settings. Raises UserError for what --model-args cannot mean."""
    given = {"depth": config.depth, "init": config.init}
    arguments = models.model_arguments(config.model)
    further = {name: kind for name, kind in arguments.items() if name not in ("image_size", *given)}       # they have flags
    if "image_size" in arguments:
        given["image_size"] = config.image_size
    return {**{name: value for name, value in given.items() if value is not None},
            **keyword_arguments(further, config.model_args or {}, f"--model-args of {config.model}")}


def load(config: Config, world: "runtime.World"):
    """Return the Data; where it must be downloaded, the first process does so for all."""
    from .data import load_data
    if world.rank > 0:
        world.wait()
    data = load_data(config.dataset, config.data_dir, config.image_size, val_split=config.val_split,
                     holdout=config.holdout)
    if world.rank == 0:
        world.wait()
    return data


def class_weights(config: Config, data):
    """Return the weight of each class in the loss, None where all weigh the same."""
    if config.class_weights is None:
        return None
    from .data import balance
    return balance.class_weights(config.class_weights, data.classes, data.train.labels, balanced=config.sampling == "balanced")


def build(config: Config, data):
    """Return (the network, the arguments it was built with)."""
    arguments = model_settings(config)
    if "image_size" in models.model_arguments(config.model):
        arguments.setdefault("image_size", data.image_size)
    models.check_image_size(config.model, config.image_size or data.image_size)
    return models.build_model(config.model, data.outputs, **arguments), arguments


def accelerate(model, device: str, wanted: str) -> str:
    """Let compiled operators compute a model that trains on a CPU; return a line that says what computes, and why."""
    if device == "gpu":
        return "computing on the GPU"
    if wanted == "off":
        return "computing by Paddle's own CPU operators (--onednn off)"
    from . import ops
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
