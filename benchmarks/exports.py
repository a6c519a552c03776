"""Every network exported and computed by another program: python benchmarks/exports.py [NAME ...] [--results FILE]

Each network of `paddle-cls models`, or those named, at the smallest images that it takes (32 pixels at least) and at its own:
its export's answers to batches of 1, 3 and 32 images are compared with the network's own, then timed. Prints a Markdown table.
FILE keeps a line of JSON for each row: started again with it, the benchmark goes on where it was. All take about an hour.

A network that was not trained gives answers of any size, by its depth. Of millions, one probability is 1 and the others are 0
whatever is computed. So batch norm gets statistics of random images first, and the logits of both are divided by the spread of
the network's own, as if they were of a trained network: then a difference counts. These statistics are not the images' own:
each layer of a network without training would enlarge rounding by them (Yang et al. 2019, arXiv 1902.08129), until nothing else
is left of the answers of the deepest. Batch norm takes a quarter of the mean away and divides by much the same in all channels,
by so much that swish works where it is nearly linear; and the images differ little in brightness.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.rounds import machine
from paddle_cls.data.images.transforms import Normalization
from paddle_cls.errors import UserError, describe
from paddle_cls.evaluation import metrics
from paddle_cls.formats import markdown
from paddle_cls.inference.engines import ENGINES, WEIGHTS, Engine, OpenVINO, Outputs, has_openvino
from paddle_cls.models import MODELS, build_model, check_name, facts, model_arguments
from paddle_cls.paddle_internals import norms, statistics
from paddle_cls.programs.settings.command_line import Parser
from paddle_cls.system import runtime
from paddle_cls.system.entry import reported

if TYPE_CHECKING:
    from paddle import Tensor, nn

NORMALIZATION = Normalization((0.45, 0.5, 0.4), (0.25, 0.2, 0.3))          # no channel like another
BATCHES, DIFFERENT = (1, 3, 32), 4                 # images; of a batch so many differ: the network itself takes long
TOLERANCE = 1e-4                                   # of a probability
HEADER = ("network", "pixels", "agrees: largest difference of a probability", "of a feature, relative", "1 image, ms",
          "32 images, ms", "conversion, s", "MB")


class Row(NamedTuple):
    """What was measured of a network at one size of images."""

    name: str
    size: int                                      # pixels a side
    difference: float                              # largest of a probability, over BATCHES
    features: float                                # largest of the features, relative to the largest; NaN: it has none
    one: float                                     # ms for an image alone
    many: float                                    # ms for the largest batch
    seconds: float                                 # of the conversion
    megabytes: float                               # of the files that the engine reads
    error: str = ""                                # what failed, else ""


def sizes(name: str) -> list[int]:
    """Return the smallest size of images and the paper's, once where they are the same."""
    about = facts(name)
    return sorted({max(32, about.smallest), about.image_size or 32})


def pixels(count: int, size: int) -> np.ndarray:
    """Return random images, uint8 (count, size, size, 3), of somewhat different brightness."""
    rng = np.random.default_rng(size)
    light = rng.integers(200, 256, (count, 1, 1, 3))
    return (rng.integers(0, 256, (count, size, size, 3), np.uint8) * light // 256).astype(np.uint8)


def build(name: str, size: int, classes: int = 10) -> "nn.Layer":
    """Return a network that was not trained, with statistics for its batch norm, ready to answer."""
    import paddle
    paddle.seed(0)
    given = {"image_size": size} if "image_size" in model_arguments(name) else {}
    model = build_model(name, classes, **given)
    model.eval()
    hooks = [norm.register_forward_pre_hook(settle) for _, norm in norms(model)]
    with paddle.no_grad():
        model(paddle.to_tensor(NORMALIZATION(pixels(4, size))))
    for hook in hooks:
        hook.remove()
    return model


def settle(norm: "nn.Layer", inputs: "tuple[Tensor, ...]") -> None:
    """Give a batch norm a quarter of its channels' means, and variances of about 100 times the mean square: see above."""
    values = inputs[0].numpy()
    mean, variance = statistics(norm)
    mean.set_value(values.mean(tuple(axis for axis in range(values.ndim) if axis != 1)) / 4)
    variance.set_value((np.square(values).mean() * np.random.default_rng(0).uniform(50, 150, variance.shape)).astype("float32"))


def answers(model: "nn.Layer", images: np.ndarray) -> Outputs:
    """Return what the network itself makes of uint8 images."""
    import paddle
    given = paddle.to_tensor(NORMALIZATION(images))
    with paddle.no_grad():
        features = model.forward_features(given).numpy() if hasattr(model, "forward_features") else None
        return Outputs(model(given).numpy(), features)


def batch(model: "nn.Layer", size: int) -> tuple[np.ndarray, Outputs]:
    """Return images for the largest of BATCHES, and what the network itself makes of them."""
    images, turn = pixels(DIFFERENT, size), np.arange(max(BATCHES)) % DIFFERENT
    logits, features = answers(model, images)
    return images[turn], Outputs(logits[turn], None if features is None else features[turn])


def differences(engine: Engine, images: np.ndarray, expected: Outputs) -> tuple[float, float]:
    """Return (the largest difference of a probability, of a feature relative to the largest) over BATCHES of the images.

    The logits of both are divided by the spread of the expected ones: see above. No feature where one is expected, or the other
    way round: infinity.
    """
    spread = float(expected.logits.std())
    right = metrics.probabilities(expected.logits / spread)
    of_answers, of_features = [], []
    for count in BATCHES:
        logits, features = engine(images[:count])
        of_answers.append(np.abs(metrics.probabilities(logits / spread) - right[:count]).max())
        if features is None or expected.features is None:
            of_features.append(np.nan if features is expected.features else np.inf)
        else:
            of_features.append(np.abs(features - expected.features[:count]).max() / np.abs(expected.features).max())
    return float(max(of_answers)), float(max(of_features))


def export(model: "nn.Layer", size: int, folder: Path) -> Path:
    """Write a network into `folder` as the engine takes it, and return the file: ONNX, of Paddle 2 its own program."""
    from paddle_cls.inference import convert
    program = convert.to_paddle(convert.Whole(model, NORMALIZATION), size, folder)
    if program.suffix != ".json" or not has_openvino():
        return program
    convert.to_onnx(program, folder / "network.onnx")
    return folder / "network.onnx"


def engine_of(file: Path) -> Engine:
    """Return what computes an exported network: OpenVINO, which reads Paddle 2's programs too; else Paddle Inference."""
    return OpenVINO(file) if has_openvino() else ENGINES[file.suffix](file)


def megabytes(file: Path) -> float:
    """Return the size of an exported network, with its weights where these are in a file of their own."""
    return sum(each.stat().st_size for each in {file, file.with_suffix(WEIGHTS)} if each.exists()
               and (each == file or file.suffix != ".onnx")) / 1e6


def median_ms(engine: Engine, images: np.ndarray, times: int) -> float:
    """Return the median time of a call; of one call, where that takes over a second."""
    seconds: list[float] = []
    while len(seconds) < (times if max(seconds, default=0) < 1 else 1):
        start = time.perf_counter()
        engine(images)
        seconds.append(time.perf_counter() - start)
    return 1e3 * float(np.median(seconds))


def measure(name: str, size: int) -> Row:
    """Return what is measured of a network at one size of images."""
    model = build(name, size)
    images, expected = batch(model, size)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        file = export(model, size, Path(folder))
        seconds, engine = time.perf_counter() - start, engine_of(file)
        of_answers, of_features = differences(engine, images, expected)
        return Row(name, size, of_answers, of_features, median_ms(engine, images[:1], 15), median_ms(engine, images, 5), seconds,
                   megabytes(file))


def table(rows: Iterable[Row]) -> str:
    """Return the Markdown table of some rows."""
    def cells(row: Row) -> list[str]:
        if row.error:
            return [f"`{row.name}`", str(row.size), f"no: {row.error}", *[""] * 5]
        agrees = "yes" if row.difference <= TOLERANCE else "no"
        features = "-" if np.isnan(row.features) else f"{row.features:.0e}"
        return [f"`{row.name}`", str(row.size), f"{agrees}: {row.difference:.0e}", features, f"{row.one:.2f}", f"{row.many:.1f}",
                f"{row.seconds:.1f}", f"{row.megabytes:.1f}"]

    return markdown.table([HEADER, *map(cells, rows)])


def kept(file: Path | None) -> dict[tuple[str, int], Row]:
    """Return the rows that a file of results has."""
    lines = file.read_text(encoding="utf-8").splitlines() if file and file.exists() else []
    rows = [Row(**json.loads(line)) for line in lines]
    return {(row.name, row.size): row for row in rows}


def main() -> None:
    """Measure what is not measured yet, print the table."""
    parser = Parser(prog="exports.py", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks; all where none is named")
    parser.add_argument("--results", type=Path, metavar="FILE",
                        help="lines of JSON, a row each; those that it has are not measured again")
    chosen = parser.parse_args()
    names = chosen.names or list(MODELS)
    for name in names:
        check_name(name)
    runtime.prepare()
    runtime.load_paddle()
    rows = kept(chosen.results)
    wanted = [(name, size) for name in names for size in sizes(name)]
    for place in sorted(wanted, key=lambda place: place[1]):   # the quick ones first
        if place in rows:
            continue
        try:
            rows[place] = measure(*place)
        except (UserError, RuntimeError) as error:
            rows[place] = Row(*place, *[float("nan")] * 6, error=describe(error).strip().splitlines()[0])
        print(json.dumps(rows[place]._asdict()), file=sys.stderr, flush=True)
        if chosen.results:
            with chosen.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[place]._asdict()) + "\n")
    computed_by = f"OpenVINO {version('openvino')}" if has_openvino() else "Paddle Inference"
    print(f"{machine()}; Paddle {version('paddlepaddle')}; {computed_by}\n")
    print(table([rows[place] for place in wanted]))


if __name__ == "__main__":
    with reported("exports.py"):
        main()
