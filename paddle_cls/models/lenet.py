"""The eye-disease tutorial's LeNet: sigmoids, and a first linear layer that is 300,000 wide."""

import math

import paddle
import paddle.nn.functional as F
from paddle import nn

from ..errors import UserError
from .about import about

SIDE = 224                                         # pixels; fc1 fits no other size
INITS = ("tutorial", "zero_mean")


@about("LeCun et al. 1998, Proceedings of the IEEE 86, 2278", published="0.06", smallest=SIDE, classes=1,
       differs="the paper has 32x32 grey digits; at 224x224 fc1 alone has 19 million")
class LeNet(nn.Layer):
    """LeNet of the iChallenge-PM tutorial, after LeCun et al. 1998 (Proceedings of the IEEE 86, 2278).

    Input float32 (N, 3, 224, 224); output logits float32 (N, num_classes).
    init: "tutorial" leaves Paddle's initialization, with which it does not learn at this size. "zero_mean" keeps the layers
    and makes them learn: normal Xavier with gain 4 for the convolutions (a sigmoid's slope is 1/4 at most), and in each
    layer that is fed by sigmoids (values around 0.5) a bias of -0.5 times the row sum of its weights, so that its sum is
    around 0. It needs a small learning rate for `fc1` besides (lr_scale).
    Raises UserError for another init or image_size.
    """

    def __init__(self, num_classes: int = 1, image_size: int = SIDE, init: str = "tutorial"):
        super().__init__()
        if image_size != SIDE:
            raise UserError(f"lenet: image_size={image_size}, but its first linear layer fits {SIDE}x{SIDE} images only; use "
                            f"--image-size {SIDE}")
        if init not in INITS:
            raise UserError(f"lenet: init={init!r} must be one of {', '.join(INITS)}")
        self.conv1 = nn.Conv2D(3, 6, 5)
        self.conv2 = nn.Conv2D(6, 16, 5)
        self.conv3 = nn.Conv2D(16, 120, 4)
        self.pool = nn.MaxPool2D(2, 2)
        self.fc1 = nn.Linear(300000, 64)
        self.fc2 = nn.Linear(64, num_classes)
        if init == "zero_mean":
            self._centre()

    def _centre(self) -> None:
        for layer in (self.conv1, self.conv2, self.conv3):
            ch_out, ch_in, height, width = layer.weight.shape
            nn.initializer.Normal(0.0, 4 * math.sqrt(2 / ((ch_in + ch_out) * height * width)))(layer.weight)
        for layer, axes in ((self.conv2, [1, 2, 3]), (self.conv3, [1, 2, 3]), (self.fc1, [0]), (self.fc2, [0])):
            layer.bias.set_value(layer.weight.sum(axes) * -0.5)

    def forward_features(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the features before the head, float32 (N, 64), in (0, 1)."""
        if list(images.shape[2:]) != [SIDE, SIDE]:
            raise UserError(f"lenet takes {SIDE}x{SIDE} images and was given {images.shape[2]}x{images.shape[3]}")
        x = self.pool(F.sigmoid(self.conv1(images)))          # (N, 6, 110, 110)
        x = self.pool(F.sigmoid(self.conv2(x)))               # (N, 16, 53, 53)
        x = F.sigmoid(self.conv3(x))                          # (N, 120, 50, 50)
        return F.sigmoid(self.fc1(paddle.flatten(x, 1)))      # (N, 64)

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        return self.fc2(self.forward_features(images))
