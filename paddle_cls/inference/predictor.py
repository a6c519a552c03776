"""A trained network and its preprocessing, rebuilt from a checkpoint: the only way to an answer."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checkpoints.locate import locate
from ..checkpoints.storage import read
from ..data.images.transforms import Normalization, Source, as_list, decode
from ..data.images.views import TTA, eval_views, size_for
from ..errors import UserError, unknown
from ..evaluation import metrics
from ..models import MODELS, build_model, check_arguments, is_own
from ..named import is_named
from ..system import runtime
from . import cached, exported
from .decoding import computed
from .dygraph import PADDLE, Dygraph
from .engines import Engine, check_precision

if TYPE_CHECKING:
    from paddle import nn

    from ..checkpoints.info import CheckpointInfo



class Predictor:
    """Answers for pictures of any size: paths, bytes, file objects, Pillow images, uint8 (H, W, 3) RGB arrays, or a list of them.

    Several threads may ask one Predictor at once. Paddle's device for everything else (`paddle.get_device`) is left as it is.

        predictor = Predictor.from_checkpoint("output/cifar10_resnet")
        predictor("dog.png")                       # float64 (1, 10), probabilities
        predictor(["dog.png", image])              # float64 (2, 10)
        predictor.features("dog.png")              # float32 (1, 64), the last layer before the head
    """

    def __init__(self, load_model: "Callable[[], nn.Layer] | None", classes: Sequence[str], image_size: int,
                 normalization: Normalization, *, threshold: float | None = None, tta: str = "none",
                 engine: Engine | None = None, device: str | None = None, precision: str = "float32",
                 source: object = "checkpoint", metrics: Mapping[str, float] | None = None,
                 checksum: str | None = None):
        """load_model: returns the network; not called before it is needed. None: there is none, `engine` alone answers.

        threshold: of one sigmoid logit, the probability of classes[1] over which the verdict is yes; else None.
        engine: what computes an export of the network; None: dygraph does, on `device` (see `Dygraph`) in `precision`.
        tta: test-time augmentation, a name of `views.TTA`: the answer to a picture is the mean of the probabilities of its
        views (`eval_views`). source: what an error names. metrics: of the network's evaluation. checksum: of its weights, or
        of the model.json that holds theirs.
        Raises UserError for an unknown name.
        """
        if tta not in TTA:
            raise UserError(unknown("tta", tta, TTA))
        self._load_model, self.classes, self.image_size, self.source = load_model, list(classes), image_size, source
        self.normalization, self.threshold, self.tta, self.metrics = normalization, threshold, tta, dict(metrics or {})
        self._device, self.checksum = device, checksum
        self._model: nn.Layer | None = None
        self.engine: Engine = engine or Dygraph(lambda: self.model, normalization, device=device, precision=precision,
                                                source=source)

    @classmethod
    def from_checkpoint(cls, place: str | Path | None = None, *, device: str = "auto", tta: str = "none",
                        model: str | None = None, precision: str = "float32") -> "Predictor":
        """Return the predictor of a checkpoint or of an exported folder. Paddle is loaded only where it is needed.

        place: a .pdparams with its .json, a run folder (its best), a folder of `paddle-cls export`, or None for the newest run
        under output/. device: auto, cpu or gpu. On a CPU an engine computes an export, which is made once and kept in the cache
        folder. tta: see above. precision: of the computation, float32, or bfloat16 where the processor has it. model:
        "module:Net", to allow that code: a checkpoint that names code of this machine's is not believed by itself. (Or put it
        into `models.MODELS`.) Such a network computes by dygraph: its code may change any time, and an export would not show
        that. Raises UserError for a checkpoint that is missing, broken, changed, or asks for code.
        """
        runtime.prepare()
        check_precision(precision)
        if place is not None and exported.is_export(Path(place)):
            return cls._from_export(Path(place), device, tta, model, precision)
        path = locate(None if place is None else Path(place))
        info, load_model = trained(path, model)
        device = runtime.device_for(device)
        normalization = Normalization(info.normalization.mean, info.normalization.std)
        fast = device == "cpu" and not is_own(info.model.name)
        about = {"name": info.model.name, "arguments": info.model.arguments, "outputs": info.outputs}
        folder = cached.folder_for(info.sha256[".pdparams"], about, info.image_size, normalization) if fast else None
        predictor = cls(load_model, info.classes, info.image_size, normalization, threshold=info.threshold, tta=tta,
                        engine=cached.load(folder, precision) if folder else None, device=device,
                        precision="float32" if fast else precision, source=path, metrics=info.metrics,
                        checksum=info.sha256[".pdparams"])
        if isinstance(predictor.engine, Dygraph):
            predictor._export(folder, precision) if folder else predictor.model        # what is wrong with it is told here
        return predictor

    @classmethod
    def _from_export(cls, folder: Path, device: str, tta: str, model: str | None, precision: str) -> "Predictor":
        info = exported.read(folder)
        if device == "gpu":
            raise UserError(f"--device gpu: {folder} is an export, which the CPU computes; leave that out, or use its checkpoint")
        if model is not None:
            raise UserError(f"--model {model}: {folder} is an export, which needs no code; leave that out")
        return cls(None, info.classes, info.image_size, Normalization(info.normalization.mean, info.normalization.std),
                   threshold=info.threshold, tta=tta, engine=exported.engine(folder, info, precision), source=folder,
                   metrics=info.metrics, checksum=info.sha256[exported.MODEL_JSON])

    @property
    def model(self) -> "nn.Layer":
        """The network itself. Raises UserError where an exported folder answers, which holds none of Paddle's."""
        with PADDLE:
            if self._model is None:
                if self._load_model is None:
                    raise UserError(f"{self.source}: is an export, and this needs the network itself; use its checkpoint")
                with runtime.on_device(self._device):
                    self._model = self._load_model()
            return self._model

    def _export(self, folder: Path, precision: str) -> None:
        with PADDLE:
            network = self.model
            try:
                with runtime.on_device(self._device):
                    self.engine = cached.make(folder, network, self.normalization, self.image_size, precision)
            except ArithmeticError as error:
                print(f"{error}; dygraph computes, slower", file=sys.stderr)
                self.engine = Dygraph(lambda: self.model, self.normalization, device=self._device, precision=precision,
                                      source=self.source)

    def __call__(self, images: Source | Sequence[Source], *, batch_size: int = 64) -> np.ndarray:
        """Return the probability of each class, float64 (N, C). Raises UserError for an unreadable file."""
        return metrics.probabilities(self.logits(images, batch_size=batch_size))

    def logits(self, images: Source | Sequence[Source], *, batch_size: int = 64) -> np.ndarray:
        """Return the network's output, float32 (N, C); of several views, what gives their mean probability.

        Raises UserError for an unreadable file, and for answers that are not finite.
        """
        return self._run(lambda pixels: self.engine(pixels).logits, images, batch_size, self.tta)

    def features(self, images: Source | Sequence[Source], *, batch_size: int = 64) -> np.ndarray:
        """Return the last layer before the head, float32 (N, F), of the plain view.

        Raises UserError for an unreadable file, and for a network that does not tell them.
        """
        return self._run(self._features, images, batch_size, "none")

    def verdict(self, probabilities: np.ndarray) -> dict | None:
        """Return the answer of a yes-or-no network to one picture; None for other networks.

        probabilities: float (2,), a row of what calling gives. Keys: "verdict" (a class), "positive" (the class that is the
        yes), "probability" (of the yes), "threshold" (over which it is said).
        """
        if self.threshold is None:
            return None
        share = float(probabilities[1])
        return {"verdict": self.classes[int(share > self.threshold)], "positive": self.classes[1], "probability": share,
                "threshold": self.threshold}

    def files(self, paths: Iterable[Path], *, batch_size: int = 64) -> Iterator[tuple[Path, np.ndarray | UserError]]:
        """Return for each file, in order, (its path, probabilities float64 (C,) or what is wrong with it).

        Files are decoded by several threads while the network computes.
        """
        compute = partial(self, batch_size=batch_size)
        return computed(paths, compute, size=size_for(self.image_size, self.tta), batch_size=batch_size)

    def _features(self, pixels: np.ndarray) -> np.ndarray:
        if isinstance(self.engine, Dygraph):
            return self.engine.features(pixels)
        found = self.engine(pixels).features
        if found is None:
            raise UserError(f"{self.source}: its network tells no features, as it has no method forward_features")
        return found

    def _run(self, function: Callable[[np.ndarray], np.ndarray], images: Source | Sequence[Source], batch_size: int,
             tta: str) -> np.ndarray:
        images = as_list(images)
        if not len(images):
            raise ValueError("no images")
        out = []
        for start in range(0, len(images), batch_size):
            part = [decode(image, self.image_size) for image in images[start:start + batch_size]]
            views = [function(np.ascontiguousarray(view)) for view in eval_views(part, self.image_size, tta)]
            out.append(views[0] if tta == "none" else metrics.mean_of_views(views))
        return self._check(np.concatenate(out))

    def _check(self, answers: np.ndarray) -> np.ndarray:
        if not np.isfinite(answers).all():
            raise UserError(f"{self.source}: the network's answers are not finite: its training diverged, or its weights are "
                            f"broken; use another checkpoint")
        return answers


def trained(path: Path, model: str | None) -> "tuple[CheckpointInfo, Callable[[], nn.Layer]]":
    """Return (what the .json of a checkpoint says, what returns its network, on the device that Paddle computes on).

    path: from `locate`. model: "module:Net", to allow that code. Raises UserError for a checkpoint that is missing, broken or
    changed, or asks for code that is not allowed.
    """
    info, parts = read(path, [".pdparams"])
    weights = parts[".pdparams"]                   # held open: a training may put others in their place
    _check_allowed(info.model.name, model, path)

    def load_model() -> "nn.Layer":
        runtime.load_paddle()
        from ..checkpoints import checkpoint
        try:
            check_arguments(info.model.name, info.outputs, info.model.arguments)
        except UserError as error:
            raise UserError(f"{path}.json: {error}; use another checkpoint") from None
        about: dict[str, Any] = {**info.model.arguments, "name": info.model.name, "num_classes": info.outputs}
        network = build_model(**about)
        checkpoint.load_weights(network, checkpoint.read_weights(weights.path, weights.read()), weights.path)
        return network
    return info, load_model


def _check_allowed(name: str, allowed: str | None, path: Path) -> None:
    """Raise UserError if a checkpoint's network is code of the user's that the user did not name, or is another than named."""
    if allowed is not None and allowed != name:
        raise UserError(f"{path}.json: its network is {name!r}, not {allowed!r}; leave that out, or use another checkpoint")
    if is_named(name) and allowed is None and name not in MODELS:
        raise UserError(f"{path}.json: its network is {name!r}, code that is not run because a file says so; if it is yours, say "
                        f"so with --model {name} (from_checkpoint(..., model={name!r}))")
