"""What a data set is, whichever files it comes from."""

import dataclasses
from dataclasses import dataclass

from .images.transforms import Normalization
from .reader import Split


@dataclass(frozen=True)
class Data:
    """A data set as its own function gives it; `classes[label]` is a label's name.

    sigmoid: two classes told apart by one sigmoid logit, that of classes[1], instead of one output a class.
    """

    train: Split
    val: Split | None                              # None: `load_data` holds one out of `train`
    classes: tuple[str, ...]
    image_size: int
    normalization: Normalization
    sigmoid: bool = False
    holdout: Split | None = None                   # training images on which nothing is trained, to choose a threshold
    drawn: bool = False                            # whether `val` was held out of what came as training images
    notes: tuple[str, ...] = ()                    # lines for the user: what was checked, what was left out

    @property
    def outputs(self) -> int:
        """The numbers that a network gives an image."""
        return 1 if self.sigmoid else len(self.classes)

    def ready(self, train: Split, val: Split, *, drawn: bool) -> "ReadyData":
        """Return the data set with these splits, ready for training. drawn: as the field."""
        same = {field.name: getattr(self, field.name) for field in dataclasses.fields(Data)}
        return ReadyData(**{**same, "train": train, "val": val, "drawn": drawn})


@dataclass(frozen=True)
class ReadyData(Data):
    """A data set ready for training, as `load_data` gives it: it has images to validate on."""

    val: Split
