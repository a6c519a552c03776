"""Test-time augmentation: the names of its ways, and the views of a picture whose answers are averaged. Loads no OpenCV."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:                                  # with OpenCV, which takes long to load
    from .source import Images

# name: how many views, and which
TTA = {"none": "1 view", "flip": "2 views (mirrored)", "flips": "4 views (mirrored all ways)",
       "crops": "10 views (five crops, mirrored)"}


def size_for(size: int, tta: str) -> int:
    """Return the pixels a side of a picture of which `eval_views` makes views of `size`."""
    return round(size * 8 / 7) if tta == "crops" else size


def eval_views(images: "Images", size: int, tta: str) -> list[np.ndarray]:
    """Return the views of pictures whose answers are averaged in test-time augmentation, each uint8 (B, size, size, 3).

    tta: "none" is `transforms.eval_pixels` alone; "flip" adds its mirror image; "flips" adds left-right, up-down and both
    (for pictures without an up and down, such as a fundus); "crops" takes the four corners and the centre of the picture at 8/7
    of the size and their mirror images, ten views (Krizhevsky et al. 2012, section 4.1: 224 pixels of 256).
    """
    from .transforms import eval_pixels
    if tta == "crops":
        large = size_for(size, tta)
        whole = eval_pixels(images, large)
        end, middle = large - size, (large - size) // 2
        cuts = [whole[:, y:y + size, x:x + size] for y, x in ((0, 0), (0, end), (end, 0), (end, end), (middle, middle))]
        return cuts + [cut[:, :, ::-1] for cut in cuts]
    plain = eval_pixels(images, size)
    return {"none": [plain], "flip": [plain, plain[:, :, ::-1]],
            "flips": [plain, plain[:, :, ::-1], plain[:, ::-1], plain[:, ::-1, ::-1]]}[tta]
