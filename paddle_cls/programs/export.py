"""Export a trained network, to answer without Paddle: paddle-cls export output/cifar10_resnet --to onnx

Writes a folder with the network, its normalization inside, and model.json, which says what goes in and what comes out. It is
loaded again and compared with the network on validation images; where they differ nothing is left. paddle-cls infer --checkpoint
takes the folder.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from ..inference.engines import TARGETS
from ..system import console, runtime
from ..system.files import replacing, scratch, writing
from .settings.command_line import parse
from .settings.fields import ExportConfig
from .shared import output_folder, setup
from .shared.run_folder import run_settings

if TYPE_CHECKING:
    from ..checkpoints.info import CheckpointInfo
    from ..data.dataset import ReadyData
    from ..inference.predictor import Predictor

PROGRAM = "paddle-cls export"


def main(argv: list[str]) -> int:
    """Write one export; return the exit status."""
    options, given = parse(ExportConfig, argv, program=PROGRAM, description=__doc__)
    check_settings(options, given)
    runtime.prepare()
    runtime.set_device("cpu")                      # where exports are computed
    from ..checkpoints.locate import locate
    from ..data.images.transforms import Normalization
    from ..inference import exported, quantize
    from ..inference.predictor import Predictor, trained
    if options.precision == "int8":
        quantize.check_installed(onnx=options.to != "openvino")
    if exported.is_export(options.run):
        raise UserError(f"{options.run}: is an export; name the run or the checkpoint that it was made of")
    path = locate(options.run)
    info, load_model = trained(path, options.model)
    name = f"export-{options.to}{'' if options.precision == 'float32' else f'-{options.precision}'}"
    folder = (options.output or path.parent / name).resolve()
    if exported.is_export(folder) and not exported.files_of(folder):
        raise UserError(f"--output {folder}: holds an export whose model.json is broken; remove the folder, or choose another")
    output_folder.check(folder, exported.files_of(folder), "an export")
    with replacing(folder) as place:               # from the beginning: an unwritable place shows before the work
        predictor = Predictor(load_model, info.classes, info.image_size,
                              Normalization(info.normalization.mean, info.normalization.std), threshold=info.threshold,
                              device="cpu", source=path)
        data = None if options.compare == "random" else load(options, predictor, path)
        pixels = chosen(data, predictor.image_size)
        try:
            with writing(place), console.libraries_on_stderr():
                lines = write(place, options, predictor, info, data, pixels)
        except UserError as error:                 # of a file that cannot be written: by the name that the user knows
            raise UserError(str(error).replace(str(place), str(folder))) from None
        except (ArithmeticError, RuntimeError) as error:
            raise UserError(f"{path}: cannot be exported to {options.to}: {str(error).strip().splitlines()[0]}; try another "
                            f"--to, or answer by the checkpoint") from None
        size = size_of(place)
    print(*lines, sep="\n")
    print(f"{folder}: {options.to}, {options.precision}, {size / 1e6:.1f} MB; answer by paddle-cls infer --checkpoint {folder} "
          f"--image PICTURE")
    return 0


def check_settings(options: ExportConfig, given: set[str]) -> None:
    """Raise UserError for settings of which one makes nothing of the other."""
    if options.precision not in TARGETS[options.to]:
        able = " or ".join(f"--to {target}" for target, known in TARGETS.items() if options.precision in known)
        raise UserError(f"--precision {options.precision}: --to {options.to} holds {' or '.join(TARGETS[options.to])}; use "
                        f"{able}, or leave out --precision")
    if options.precision == "float32" and "max_loss" in given:
        raise UserError(f"--max-loss {options.max_loss:g}: goes with --precision int8 or bfloat16; leave it out")
    if options.precision != "float32" and options.compare == "random":
        raise UserError(f"--compare random: --precision {options.precision} is judged by validation images; leave out --compare")


def load(options: ExportConfig, predictor: "Predictor", path: Path) -> "ReadyData":
    """Return the data of the run. Raises UserError where it is not there any more: random images are the user's choice."""
    try:
        return setup.load_for(predictor, run_settings(options, path.parent))
    except UserError as error:
        other = "" if options.precision != "float32" else ", or compare on random images by --compare random"
        raise UserError(f"{error}; the export is judged by this data: name it with --dataset and --data-dir{other}") from None


def chosen(data: "ReadyData | None", size: int) -> np.ndarray:
    """Return images to compare on, uint8 (N, size, size, 3): evenly from all of the validation split, or random ones."""
    from ..data.images.transforms import resize
    from ..inference.exporting import BATCHES
    count = sum(BATCHES)
    if data is None:
        return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
    places = np.linspace(0, len(data.val) - 1, count).round().astype(int)        # a small split gives some of its images twice
    return np.stack([resize(image, size) for image in data.val.fetch(places)])


def write(place: Path, options: ExportConfig, predictor: "Predictor", info: "CheckpointInfo", data: "ReadyData | None",
          pixels: np.ndarray) -> list[str]:
    """Write the export into `place`, and compare it; return lines that say how it compares.

    Raises UserError where it costs too much accuracy, ArithmeticError where it differs from the network.
    """
    from ..inference import exported, exporting, quantize
    name = exporting.model_name(predictor.source.parent.name if isinstance(predictor.source, Path) else "network")
    if options.precision == "float32":
        exporting.write(place, predictor.model, info, target=options.to, name=name)
        return [compared(place, predictor, pixels, "random" if data is None else "validation")]
    assert data is not None, "check_settings asks for it"
    with scratch(place.parent) as plain:
        written = exporting.write(plain, predictor.model, info, target=options.to, name=name)
        line = compared(plain, predictor, pixels, "validation")
        images = quantize.calibration(data.train, predictor.image_size) if options.precision == "int8" else pixels
        exporting.lower(plain, written, place, precision=options.precision, images=images)
        rows = quantize.compare({described: (exported.engine(folder, exported.read(folder)), size_of(folder))
                                 for described, folder in (("float32", plain), (options.precision, place))},
                                data.val, predictor.image_size, predictor.threshold)
    quantize.check_loss(rows, options.max_loss)
    exporting.restate(place, {"val/acc1": rows[-1].accuracy, "val/error_rate": 1 - rows[-1].accuracy,
                              **({} if rows[-1].auc is None else {"val/auc": rows[-1].auc})})
    return [f"float32: {line}", quantize.table(rows)]


def compared(folder: Path, predictor: "Predictor", pixels: np.ndarray, kind: str) -> str:
    """Load what was written, compare it with the network, and return a line that says how far they differ."""
    from ..inference import exported, exporting
    engine = exported.engine(folder, exported.read(folder))
    difference = exporting.compare(engine, predictor.model, predictor.normalization, pixels)
    return (f"{engine.name} gives the network's probabilities to {difference:.1e}, on {len(pixels)} {kind} images in batches of "
            f"{', '.join(map(str, exporting.BATCHES))}")


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
