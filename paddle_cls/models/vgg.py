"""The tutorial's vgg_bn_drop: VGG-16's convolutions for CIFAR-10, with batch normalization and dropout."""

from collections.abc import Sequence

import paddle
from paddle import nn

from ..errors import UserError
from .about import about


def conv_block(ch_in: int, num_filter: int, groups: int, dropouts: Sequence[float]) -> nn.Sequential:
    """Return `groups` times 3x3 convolution (with bias) -> BN -> ReLU -> dropout, then 2x2 max pooling.

    dropouts: one probability in [0, 1) a convolution; 0 adds no layer. (N, ch_in, H, W) -> (N, num_filter, H/2, W/2).
    """
    if len(dropouts) != groups:
        raise UserError(f"conv_block: {len(dropouts)} dropouts for {groups} convolutions")
    parts = []
    for i, dropout in enumerate(dropouts, 1):
        parts += [
            (f"conv{i}", nn.Conv2D(ch_in, num_filter, 3, padding=1)),
            (f"bn{i}", nn.BatchNorm2D(num_filter)),
            (f"relu{i}", nn.ReLU()),
        ]
        if dropout:
            parts.append((f"drop{i}", nn.Dropout(dropout)))
        ch_in = num_filter
    return nn.Sequential(*parts, ("pool", nn.MaxPool2D(2, 2)))


class VGGBNDrop(nn.Layer):
    """vgg_bn_drop of the Fluid tutorial, after VGG-16 (Simonyan and Zisserman 2014, arXiv 1409.1556).

    Input float32 (N, 3, image_size, image_size); output logits float32 (N, num_classes).
    Deviations from the tutorial: no softmax (the loss and the Predictor apply it); dropout scales up in training
    instead of down in inference, which is today's default; image sizes other than 32 widen the first linear layer.
    Initialization: He normal for the convolutions, Xavier uniform for the linear layers (the tutorial's defaults).
    """

    def __init__(self, num_classes: int = 10, image_size: int = 32):
        super().__init__()
        if image_size < 32:
            raise UserError(f"vgg_bn_drop: image_size={image_size} is under 32, and five 2x2 poolings need 32")
        self.image_size = image_size
        self.conv1 = conv_block(3, 64, 2, [0.3, 0])
        self.conv2 = conv_block(64, 128, 2, [0.4, 0])
        self.conv3 = conv_block(128, 256, 3, [0.4, 0.4, 0])
        self.conv4 = conv_block(256, 512, 3, [0.4, 0.4, 0])
        self.conv5 = conv_block(512, 512, 3, [0.4, 0.4, 0])
        side = image_size // 32
        self.drop1 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(512 * side * side, 512)
        self.bn = nn.BatchNorm1D(512)
        self.relu = nn.ReLU()
        self.drop2 = nn.Dropout(0.5)
        self.fc2 = nn.Linear(512, 512)
        self.fc3 = nn.Linear(512, num_classes)

    def forward_features(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the features before the head, float32 (N, 512)."""
        if list(images.shape[2:]) != [self.image_size, self.image_size]:
            raise UserError(f"vgg_bn_drop was built for {self.image_size}x{self.image_size} images and was given "
                             f"{images.shape[2]}x{images.shape[3]}; pass image_size={images.shape[2]} when building it")
        x = self.conv1(images)                     # (N, 64, 16, 16) of a 32x32 image
        x = self.conv2(x)                          # (N, 128, 8, 8)
        x = self.conv3(x)                          # (N, 256, 4, 4)
        x = self.conv4(x)                          # (N, 512, 2, 2)
        x = self.conv5(x)                          # (N, 512, 1, 1)
        x = self.fc1(self.drop1(paddle.flatten(x, 1)))
        return self.fc2(self.drop2(self.relu(self.bn(x))))

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        return self.fc3(self.forward_features(images))


@about("Simonyan and Zisserman 2014, arXiv 1409.1556", classes=10, image_size=32)
def vgg_bn_drop(num_classes: int = 10, image_size: int = 32) -> VGGBNDrop:
    """Return the tutorial's VGG for square images of `image_size` pixels. Raises UserError under 32."""
    return VGGBNDrop(num_classes=num_classes, image_size=image_size)
