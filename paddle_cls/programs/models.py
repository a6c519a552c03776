"""List the networks: their parameters, multiply-adds, image size and paper. `--model NAME` tells more about one."""

import contextlib
import dataclasses
import json
import multiprocessing
import signal
from collections.abc import Generator, Iterator
from concurrent.futures import ProcessPoolExecutor

from .. import models
from ..errors import UserError
from ..models import catalog
from ..parallel import launch
from ..system import runtime, stopping
from .settings.command_line import keyword_arguments, parse
from .settings.fields import option

PROGRAM = "python -m paddle_cls.models"


@dataclasses.dataclass(frozen=True)
class ListConfig:
    """One call of `python -m paddle_cls.models`."""

    model: str | None = option(None, "one network, in detail (default: all)")
    model_args: dict[str, str] | None = option(None, "further arguments of --model, such as scale=0.5")
    image_size: int | None = option(None, "pixels a side of the image to count with (default: the paper's)", low=1, high=1024)
    format: str = option("text", "of the answer; markdown: the README's table", choices=("text", "json", "markdown"))


def main(argv: list[str]) -> int:
    """Print the list; return the exit status."""
    config, _ = parse(ListConfig, argv, program=PROGRAM, description=__doc__)
    if not config.model and (config.model_args or config.image_size):
        raise UserError("--model-args and --image-size are for one network: name it with --model")
    runtime.prepare()
    if config.model:
        show(iter([one(config.model, config)]), config)
    else:
        with contextlib.closing(every()) as rows:  # `| head` stops the counting
            show(rows, config)
    return 0


def show(rows: Iterator[dict], config: ListConfig) -> None:
    """Print rows in the format that is asked for."""
    if config.format == "json":
        print(json.dumps(list(rows), indent=1))
    elif config.format == "markdown":
        print(catalog.markdown_header())
        for row in rows:
            print(catalog.markdown(row["name"], row["parameters"]), flush=True)
    elif config.model:
        for key, value in next(rows).items():
            print(f"{key:15} {', '.join(value) if isinstance(value, list) else '-' if value is None else value}")
    else:
        print(f"{'name':20} {'parameters':>10} {'multiply-adds':>13} {'image':>5}  paper")
        for row in rows:
            print(catalog.text(row), flush=True)


def one(name: str, config: ListConfig) -> dict:
    """Return the row of one network. Raises UserError."""
    models.check_name(name)
    if config.image_size:
        models.check_image_size(name, config.image_size)
    return catalog.row(name, config.image_size, **keyword_arguments(
        models.model_arguments(name), config.model_args or {}, f"--model-args of {name}"))


def every() -> Generator[dict, None, None]:
    """Yield the row of each network, in the order of MODELS, counted by all cores."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(runtime.cores(), spawn, initializer=launch.prepare_worker) as pool:
        with stopping.held([signal.SIGINT]):       # the terminal's Ctrl-C is for this process, which ends them
            rows = {name: pool.submit(catalog.row, name) for name in models.MODELS if not models.is_own(name)}
        try:
            for name in models.MODELS:             # what was added from outside is known to this process only
                yield rows[name].result() if name in rows else catalog.row(name)
        except BaseException:                      # nobody waits for the rest
            for worker in multiprocessing.active_children():
                worker.kill()
            raise
