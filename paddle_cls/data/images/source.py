"""What holds the images of a split, in memory or on disk: the type that both have in common."""

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeAlias, overload

import numpy as np


class ImageSource(Protocol):
    """Images uint8 (H, W, 3) RGB by number: an array (N, H, W, 3) in memory, or `files.ImageFiles` of any sizes on disk."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def __iter__(self) -> Iterator[np.ndarray]:
        """Give one after the other."""
        ...

    @overload
    def __getitem__(self, place: int, /) -> np.ndarray: ...
    @overload
    def __getitem__(self, place: slice | np.ndarray, /) -> "ImageSource": ...


Images: TypeAlias = ImageSource | Sequence[np.ndarray]       # or pictures that are already decoded
