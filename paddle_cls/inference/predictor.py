"""A trained network and its preprocessing, rebuilt from a checkpoint: the only way to an answer."""

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.images.transforms import Normalization, Source, as_list, decode
from ..data.images.views import TTA, eval_views, size_for
from ..errors import UserError, unknown
from ..evaluation import metrics
from ..models import MODELS, build_model, check_arguments, is_own
from ..named import is_named
from ..system import runtime
from .decoding import computed

if TYPE_CHECKING:                                  # Paddle is loaded by `from_checkpoint`, once what it reads is set
    from paddle import Tensor, nn

    from .export import Computation

# Held while a network is built, exported or computes by dygraph: Paddle's device, its programs and a network's mode are shared.
_PADDLE = threading.RLock()


class Predictor:
    """Answers for pictures of any size: paths, bytes, file objects, Pillow images, uint8 (H, W, 3) RGB arrays, or a list of them.

    Several threads may ask one Predictor at once. Paddle's device for everything else (`paddle.get_device`) is left as it is.

        predictor = Predictor.from_checkpoint("output/cifar10_resnet")
        predictor("dog.png")                       # float64 (1, 10), probabilities
        predictor(["dog.png", image])              # float64 (2, 10)
        predictor.features("dog.png")              # float32 (1, 64), the last layer before the head
    """

    def __init__(self, load_model: Callable[[], "nn.Layer"], classes: Sequence[str], image_size: int,
                 normalization: Normalization, *, threshold: float | None = None, tta: str = "none",
                 exported: Path | None = None, device: str | None = None, source: object = "checkpoint",
                 metrics: Mapping[str, float] | None = None, checksum: str | None = None):
        """load_model: returns the network; not called before it is needed, which is never where an export is found.

        threshold: of one sigmoid logit, the probability of classes[1] over which the verdict is yes; else None.
        exported: folder for the network's export, which is made at need and computes the logits; None: dygraph does.
        tta: test-time augmentation, a name of `views.TTA`: the answer to a picture is the mean of the probabilities
        of its views (`eval_views`). device: where the network lives, a name of `runtime.device_for`; None: wherever Paddle
        computes. source: what an error names. metrics: of the network's evaluation. checksum: of the weights.
        Raises UserError for an unknown name.
        """
        self.metrics, self.checksum = dict(metrics or {}), checksum
        if tta not in TTA:
            raise UserError(unknown("tta", tta, TTA))
        self._load_model, self.classes, self.image_size, self.source = load_model, list(classes), image_size, source
        self.normalization, self.threshold, self.tta, self._exported = normalization, threshold, tta, exported
        self._device = device
        self._engine: Computation | None = None
        if exported:
            from . import export
            self._engine = export.load_cached(exported)
        self._model = None if self._engine else self._built()          # what is wrong with it is told here

    @classmethod
    def from_checkpoint(cls, path_or_run: str | Path | None = None, *, device: str = "auto", tta: str = "none",
                        model: str | None = None) -> "Predictor":
        """Return the predictor of a checkpoint; on a CPU it computes by Paddle Inference. Loads Paddle where nobody has yet.

        path_or_run: a .pdparams with its .json, a run folder (its best), or None for the newest run under output/. device: auto,
        cpu or gpu. tta: see above. model: "module:Net", to allow that code: a checkpoint that names code of this machine's is
        not believed by itself. (Or put it into `models.MODELS`.) Such a network computes by dygraph: its code may change any
        time, and an export would not show that. Raises UserError for a checkpoint that is missing, broken, changed, or asks for
        code.
        """
        runtime.prepare()
        runtime.load_paddle()
        from ..checkpoints import checkpoint
        from . import export
        path = checkpoint.locate(None if path_or_run is None else Path(path_or_run))
        info, parts = checkpoint.read(path, [".pdparams"])
        weights = parts[".pdparams"]               # held open: a training may put others in their place
        _check_allowed(info.model.name, model, path)
        try:
            check_arguments(info.model.name, info.outputs, info.model.arguments)
        except UserError as error:
            raise UserError(f"{path}.json: {error}; use another checkpoint") from None
        about: dict[str, Any] = {**info.model.arguments, "name": info.model.name, "num_classes": info.outputs}

        def load_model() -> "nn.Layer":
            model = build_model(**about)
            checkpoint.load_weights(model, checkpoint.read_weights(weights.path, weights.read()), weights.path)
            return model

        device = runtime.device_for(device)
        fast = device == "cpu" and not is_own(info.model.name)
        exported = export.cached_folder(info.sha256[".pdparams"], about, info.image_size) if fast else None
        return cls(load_model, info.classes, info.image_size, Normalization(info.normalization.mean, info.normalization.std),
                   threshold=info.threshold, tta=tta, exported=exported, device=device, source=path, metrics=info.metrics,
                   checksum=info.sha256[".pdparams"])

    @property
    def model(self) -> "nn.Layer":
        """The network itself."""
        with _PADDLE:
            if self._model is None:
                self._model = self._built()
            return self._model

    def _built(self) -> "nn.Layer":
        with _PADDLE, runtime.on_device(self._device):
            return self._load_model()

    def __call__(self, images: Source | Sequence[Source], *, batch_size: int = 64) -> np.ndarray:
        """Return the probability of each class, float64 (N, C). Raises UserError for an unreadable file."""
        return metrics.probabilities(self.logits(images, batch_size=batch_size))

    def logits(self, images: Source | Sequence[Source], *, batch_size: int = 64) -> np.ndarray:
        """Return the network's output, float32 (N, C); of several views, what gives their mean probability.

        Raises UserError for an unreadable file, and for answers that are not finite.
        """
        return self._run(self._logits, images, batch_size, self.tta)

    def features(self, images: Source | Sequence[Source], *, batch_size: int = 64) -> np.ndarray:
        """Return the last layer before the head, float32 (N, F), of the plain view.

        Raises UserError for an unreadable file, and for a network that does not tell them.
        """
        if not hasattr(self.model, "forward_features"):
            raise UserError(f"{self.source}: its network, {type(self.model).__name__}, has no method forward_features(images), "
                            f"which returns the last layer before the head; add one")
        return self._run(partial(self._dygraph, self.model.forward_features), images, batch_size, "none")

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

    def _logits(self, images: np.ndarray) -> np.ndarray:
        if self._exported and not self._engine:
            with _PADDLE:                          # one thread exports, the others wait for that
                if self._exported and not self._engine:
                    self._export(self._exported, images)
        return self._engine(images) if self._engine else self._dygraph(self.model, images)

    def _export(self, folder: Path, images: np.ndarray) -> None:
        from . import export
        try:
            with runtime.on_device(self._device):
                self._engine = export.make(folder, self.model, self.image_size)
        except ArithmeticError as error:
            self._check(self._dygraph(self.model, images[:1]))         # the cause, if the weights are broken
            print(f"{error}; dygraph computes, slower", file=sys.stderr)
            self._exported = None

    def _dygraph(self, function: Callable[["Tensor"], "Tensor"], images: np.ndarray) -> np.ndarray:
        import paddle
        with _PADDLE, runtime.on_device(self._device), runtime.evaluating(self.model):
            return function(paddle.to_tensor(images)).numpy()

    def _run(self, function: Callable[[np.ndarray], np.ndarray], images: Source | Sequence[Source], batch_size: int,
             tta: str) -> np.ndarray:
        images = as_list(images)
        if not len(images):
            raise ValueError("no images")
        out = []
        for start in range(0, len(images), batch_size):
            part = [decode(image, self.image_size) for image in images[start:start + batch_size]]
            views = [function(np.ascontiguousarray(view))
                     for view in eval_views(part, self.image_size, self.normalization, tta)]
            out.append(views[0] if tta == "none" else metrics.mean_of_views(views))
        return self._check(np.concatenate(out))

    def _check(self, answers: np.ndarray) -> np.ndarray:
        if not np.isfinite(answers).all():
            raise UserError(f"{self.source}: the network's answers are not finite: its training diverged, or its weights are "
                            f"broken; use another checkpoint")
        return answers


def _check_allowed(name: str, allowed: str | None, path: Path) -> None:
    """Raise UserError if a checkpoint's network is code of the user's that the user did not name, or is another than named."""
    if allowed is not None and allowed != name:
        raise UserError(f"{path}.json: its network is {name!r}, not {allowed!r}; leave that out, or use another checkpoint")
    if is_named(name) and allowed is None and name not in MODELS:
        raise UserError(f"{path}.json: its network is {name!r}, code that is not run because a file says so; if it is yours, say "
                        f"so with --model {name} (from_checkpoint(..., model={name!r}))")
