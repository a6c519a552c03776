"""Where a training stands, and how that is kept in and taken from the checkpoints of its run folder."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import paddle

from ..checkpoints import checkpoint
from ..checkpoints.info import CheckpointInfo, Description
from ..checkpoints.storage import exists
from ..checkpoints.weights import fitting
from ..data.reader import Batch
from ..errors import NotFinite, UserError, describe
from ..formats.strict_json import shown
from ..parallel.world import World
from ..system.files import locked, writing
from ..system.runtime import evaluating
from .loop import Totals, predict
from .optimizers import EMA, initial_state

_RAW, _SCALER = "paddle_cls.weights.", "paddle_cls.scaler."    # keys beside the optimizer's own in a .pdopt


class Run:
    """A training between two steps, in `folder`.

    epoch, step: whole passes and optimizer steps done. totals: sums of the epoch under way. metrics: of the last
    evaluation; best: of the best one so far, by val/acc1, of equal ones that with the smaller val/loss.
    """

    def __init__(self, folder: Path, model: paddle.nn.Layer, optimizer: paddle.optimizer.Optimizer, *,
                 ema: EMA | None = None, scaler: "paddle.amp.GradScaler | None" = None, world: World | None = None,
                 about: Description, probe: np.ndarray | None = None):
        """about: the description of model, classes and preprocessing that every checkpoint of the run holds.

        probe: images float32 (N, 3, H, W), to which a network that is worth saving has finite answers.
        """
        self.folder, self.model, self.optimizer, self.ema, self.scaler = folder, model, optimizer, ema, scaler
        self.probe, self.again = probe, f"--resume --output-dir {folder}"          # again: what continues this training
        self.world = world or World()
        self.about = about
        self.epoch, self.step = 0, 0
        self.totals = Totals()
        self.metrics: dict = {}
        self.best: dict | None = None
        self.saved = time.monotonic()
        self.written: tuple[int, dict] = (-1, {})  # of `last`: step and checksums
        self.statistics_step = -1                  # step after which all processes got the same statistics
        self.initial_state = initial_state(optimizer, model)  # of weights that are still frozen, too
        self.loaded: dict = {}                     # state that Paddle 2.6's optimizer does not give back before a step

    def save(self, name: str) -> None:
        """Write checkpoint `name` (the first process does). With EMA its .pdparams holds the averaged weights.

        Raises UserError where nothing can be written, NotFinite for weights or answers that are not.
        """
        self._average_statistics()
        self.saved = time.monotonic()
        with self.world.first():                   # the others wait: a large checkpoint may take longer than gloo does
            if not self.world.rank:
                self._write(name)

    @property
    def resume_hint(self) -> str:
        """What to tell a user whose training ends early, after a save."""
        return f"{self.folder}/last is saved, continue with {self.again}"

    @contextlib.contextmanager
    def rescued(self, *, fetched: bool = True) -> Iterator[None]:
        """Where a reader, a log or the console ends the block by an error, write `last` first, and say so in the error.

        Whichever process it is does that without the others: all have the same weights between two steps (BN's running
        statistics are its own). fetched: False where they may be some steps further than `step` then: nothing is written.
        """
        begun = self.step
        try:
            yield
        except (UserError, OSError) as error:
            if self.step == begun or not fetched:
                raise
            try:
                with locked(self.folder / ".last.lock"):
                    self._write("last")
            except (UserError, OSError, NotFinite):            # the first error is the cause; or another process does it
                raise error from None
            raise UserError(f"{describe(error)}; {self.resume_hint}") from None

    def check_given(self, source: object) -> None:
        """Raise UserError unless the answers of weights that came from `source` are finite."""
        try:
            self.check()
        except NotFinite:
            raise UserError(f"{source}: with these weights the network's answers are not finite; use others") from None

    def check(self) -> None:
        """Raise NotFinite unless the answers to the probe are finite, of the weights that a checkpoint would hold.

        The loss of a step is that before its update: weights that are too large show in the next one's only, or here.
        """
        if self.probe is not None:
            with self.averaged(), evaluating(self.model):
                _finite(self.model(paddle.to_tensor(self.probe)).numpy(), f"the network's answers after step {self.step}")

    def _write(self, name: str) -> None:
        info = CheckpointInfo.new(self.about, epoch=self.epoch, step=self.step, totals=dataclasses.asdict(self.totals),
                                  metrics=self.metrics, best=self.best)
        step, hashes = self.written
        if name == "last" and step == self.step and checkpoint.complete(self.folder / name, hashes):
            checkpoint.restate(self.folder / name, hashes, info)       # no weight has changed since
            return
        self.check()
        state = self._state() if name == "last" else None              # nothing goes on from `best`
        with self.averaged():
            hashes = checkpoint.save(self.folder / name, self.model, state, info)
        if name == "last":
            self.written = self.step, hashes

    def _state(self) -> dict:
        """Return what the .pdopt holds."""
        own = self.optimizer.state_dict()
        self.loaded = {key: value for key, value in self.loaded.items() if key not in own}
        state = {**self.loaded, **own}
        state |= {key: np.full(shape, value, "float32") for key, (shape, value) in self.initial_state.items() if key not in state}
        if self.scaler:
            state |= {f"{_SCALER}{key}": value for key, value in self.scaler.state_dict().items()}
        if self.ema:
            state |= {f"{_RAW}{i}": p.numpy() for i, p in enumerate(self.ema.weights)}
        return state

    def resume(self, per_epoch: int | None = None) -> bool:
        """Go on from the folder's `last`; return False if there is none. per_epoch: optimizer steps of a whole pass.

        What a killed process had not renamed yet gets its name. Raises UserError if the checkpoint does not fit or is broken.
        """
        path = self.folder / "last"
        if self.world.rank == 0:
            with writing(path):
                for name in ("best", "last"):
                    checkpoint.finish(self.folder / name)
        if not exists(path):
            return False
        info = checkpoint.read_info(path)
        before = info.to_dictionary()
        for key, value in self.about.to_dictionary().items():
            if before.get(key) != value:
                raise UserError(f"--resume: {path}.json has {key} = {shown(before.get(key))}, but now it is {shown(value)}; "
                                f"choose another --output-dir, or that run's settings and data")
        self.epoch, self.step = info.epoch, info.step
        self.totals, self.metrics, self.best = Totals(**info.totals.model_dump()), dict(info.metrics), info.best
        into = self.step - self.epoch * (per_epoch or 0)       # steps of the epoch under way, whose sums are in `totals`
        if per_epoch and (not 0 <= into <= per_epoch or bool(into) != bool(self.totals.count)):
            raise UserError(f"--resume: {path}.json has epoch = {self.epoch}, step = {self.step} and sums over "
                            f"{self.totals.count:g} images, which cannot be where an epoch has {per_epoch} steps; bring the "
                            f"run's data back, or start another run with another --output-dir")
        checkpoint.load(path, self.model, info)
        self.loaded, extra = checkpoint.load_optimizer(path, self.optimizer, self.initial_state, info)
        weights = {key: value for key, value in extra.items() if key.startswith(_RAW)}
        scaler = {key.removeprefix(_SCALER): value for key, value in extra.items() if key.startswith(_SCALER)}
        if len(weights) != (len(self.ema.weights) if self.ema else 0) or bool(scaler) != bool(self.scaler):
            raise UserError(f"{path}.pdopt: saved with another --ema-decay or --amp than now, or by an earlier version")
        if self.ema:
            self.ema = EMA(self.model, self.ema.decay)
            for weight, (key, value) in zip(self.ema.weights, weights.items(), strict=True):
                weight.set_value(fitting(f"{path}.pdopt", key, value, tuple(weight.shape)))
        if self.scaler:
            self.scaler.load_state_dict(scaler)
        return True

    def unfinished(self, last: int) -> bool:
        """Return whether steps up to `last`, or the evaluation after them, are still to do: a kill may have come between."""
        return self.step < last or self.metrics.get("step") != self.step

    def save_due(self, minutes: float) -> bool:
        """Return whether the last checkpoint is over `minutes` old; False in all processes but the first."""
        return self.world.rank == 0 and time.monotonic() - self.saved > 60 * minutes

    def predict(self, batches: Iterable[Batch], tensor: Callable = paddle.to_tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return (logits, labels) as `loop.predict` does, of the weights that a checkpoint would hold.

        Raises NotFinite for logits that are not.
        """
        self._average_statistics()
        with self.averaged():
            logits, labels = predict(self.model, batches, world=self.world, tensor=tensor)
        _finite(logits, f"the logits of the evaluation after step {self.step}", "best")
        return logits, labels

    def _average_statistics(self) -> None:
        """Make BN's running statistics the same in all processes, those of the averaged weights too; once after a step."""
        if self.statistics_step == self.step:      # another mean of them may differ from what is saved, by rounding
            return
        self.statistics_step = self.step
        self.world.average_statistics(self.model)
        if self.ema:
            with self.averaged():
                self.world.average_statistics(self.model)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Have the averaged weights in the model inside the block, if there is EMA."""
        if self.ema:
            self.ema.swap()
        try:
            yield
        finally:
            if self.ema:
                self.ema.swap()

    def end_epoch(self, figures: Mapping[str, float], *, whole: bool) -> None:
        """Take over the epoch's metrics and save; whole: all its steps are done (not so under --max-steps)."""
        self.metrics = dict(figures)
        if whole:
            self.epoch += 1
            self.totals.clear()
        if self.best is None or _rank(figures) > _rank(self.best):
            self.best = dict(figures)
            self.save("best")
        self.save("last")


def _rank(figures: Mapping[str, float]) -> tuple[float, float]:
    """Return what is the larger the better an epoch is: few validation images give many epochs the same accuracy."""
    return figures["val/acc1"], -figures.get("val/loss", float("inf"))


def _finite(logits: np.ndarray, what: str, kept: str = "last") -> None:
    if not np.isfinite(logits).all():
        raise NotFinite(f"{what} are not finite", kept)
