"""A small ResNet for photographs of about 224 pixels when there are only some hundred of them."""

import paddle
from paddle import nn

from .about import about
from .layers import check_probability
from .resnet import basicblock, conv_bn_layer

WIDTHS = (24, 48, 96, 192)                         # channels of the four blocks


@about("He et al. 2015, arXiv 1512.03385", classes=1)
class ResNetSmall(nn.Layer):
    """Stem, four basic blocks of 24, 48, 96 and 192 channels, average, dropout, linear: 0.7 million parameters.

    A ResNet-10 of He et al. 2015 (arXiv 1512.03385, table 1) with three eighths of its channels. Input float32
    (N, 3, H, W) of any size from 32; output logits float32 (N, num_classes).
    Deviation from the paper: dropout before the head. Raises UserError for a dropout outside [0, 1).
    """

    def __init__(self, num_classes: int = 1, dropout: float = 0.3):
        super().__init__()
        check_probability("resnet_small", "dropout", dropout)
        self.stem = conv_bn_layer(3, WIDTHS[0], 7, 2, 3)
        self.pool = nn.MaxPool2D(3, 2, 1)
        self.blocks = nn.Sequential(*(basicblock(ch_in, ch_out, 1 if ch_in == ch_out else 2)
                                      for ch_in, ch_out in zip(WIDTHS[:1] + WIDTHS, WIDTHS, strict=False)))
        self.average = nn.AdaptiveAvgPool2D(1)
        self.drop = nn.Dropout(dropout)
        self.fc = nn.Linear(WIDTHS[-1], num_classes)

    def forward_features(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the features before the head, float32 (N, 192)."""
        x = self.pool(self.stem(images))           # (N, 24, H/4, W/4)
        x = self.blocks(x)                         # (N, 192, H/32, W/32)
        return self.drop(paddle.flatten(self.average(x), 1))

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        return self.fc(self.forward_features(images))
