"""Spatial pyramid pooling of He et al. 2014: a network that takes images of every size and shape."""

import re
from collections.abc import Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn

from ..errors import UserError
from .about import about
from .vision import check_size


class ResponseNorm(nn.Layer):
    """Local response normalization of Krizhevsky et al. 2012: x / (1 + 1e-4 * mean of the squares of 5 channels) ** 0.75.

    nn.LocalResponseNorm computes the same, but cannot be exported for images of any size.
    """

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        squares = F.avg_pool3d((x * x).unsqueeze(1), [5, 1, 1], 1, [2, 0, 0], exclusive=False).squeeze(1)
        return x / (1 + 1e-4 * squares) ** 0.75


class SpatialPyramidPooling(nn.Layer):
    """The largest value of each channel in each bin of several grids, side by side.

    (N, C, H, W) of any H, W -> (N, C * sum of n * n over the levels), level after level, in each channel after channel.
    levels: bins in a row of each grid, the paper's 6, 3, 2, 1 make 50 bins. Bin i of n in a row of W pixels is from
    floor(i * W / n) to ceil((i + 1) * W / n), as in the paper's appendix A; bins overlap where n does not divide W.
    """

    def __init__(self, levels: Sequence[int] = (6, 3, 2, 1)):
        super().__init__()
        self.pools = nn.LayerList([nn.AdaptiveMaxPool2D(n) for n in levels])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return paddle.concat([paddle.flatten(pool(x), 1) for pool in self.pools], axis=1)


@about("He et al. 2014, arXiv 1406.4729", smallest=29)
class ZF5SPP(nn.Layer):
    """ZF-5 with a spatial pyramid, He et al. 2014 (arXiv 1406.4729, tables 1 and 2).

    Input float32 (N, 3, H, W), 224x224 and 180x180 in the paper, any size from 29 (from 110 on each of the 36 finest bins has
    pixels of its own); output logits float32 (N, num_classes). hidden: units of fc6 and fc7, 4096 in the paper.
    levels: of the pyramid, with hyphens between them. Raises UserError for smaller images, levels or hidden under 1.
    The paper trains on two sizes in turn, an epoch each; here one run has one size, and the weights serve for all.
    Deviation from the paper: He normal initialization for the convolutions, Xavier uniform for the linear layers.
    """

    smallest = 29                                  # pixels of a side; below, nothing is left to pool

    def __init__(self, num_classes: int = 1000, levels: str = "6-3-2-1", hidden: int = 4096):
        super().__init__()
        if not re.fullmatch("[1-9][0-9]*(-[1-9][0-9]*)*", levels):
            raise UserError(f"zf5_spp: levels={levels!r} must be numbers from 1 with hyphens between them, such as 6-3-2-1")
        if hidden < 1:
            raise UserError(f"zf5_spp: hidden={hidden} must be at least 1")
        bins = [int(n) for n in levels.split("-")]
        if sum(n * n for n in bins) > 1024:
            raise UserError(f"zf5_spp: levels={levels!r} make {sum(n * n for n in bins):,} bins; at most 1,024 are allowed")
        self.features = nn.Sequential(                                                       # of a 224x224 image:
            nn.Conv2D(3, 96, 7, 2, 1), nn.ReLU(), ResponseNorm(), nn.MaxPool2D(3, 2, 1),         # (N, 96, 55, 55)
            nn.Conv2D(96, 256, 5, 2, 1), nn.ReLU(), ResponseNorm(), nn.MaxPool2D(3, 2),          # (N, 256, 13, 13)
            nn.Conv2D(256, 384, 3, 1, 1), nn.ReLU(),
            nn.Conv2D(384, 384, 3, 1, 1), nn.ReLU(),
            nn.Conv2D(384, 256, 3, 1, 1), nn.ReLU())                                         # (N, 256, 13, 13)
        self.pyramid = SpatialPyramidPooling(bins)
        self.fc6 = nn.Sequential(nn.Linear(256 * sum(n * n for n in bins), hidden), nn.ReLU(), nn.Dropout(0.5))
        self.fc7 = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(0.5))
        self.fc8 = nn.Linear(hidden, num_classes)

    def forward_features(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the features before the head, float32 (N, hidden)."""
        check_size(self, images)
        x = self.pyramid(self.features(images))                                              # (N, 50 * 256)
        return self.fc7(self.fc6(x))

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        return self.fc8(self.forward_features(images))
