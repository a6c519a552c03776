"""NASNet-A of Zoph et al. 2017: two cells that a search found on CIFAR-10, repeated."""

import paddle
from paddle import nn

from ..errors import UserError
from .about import about
from .layers import check_probability, conv, separable_conv
from .resnet import conv_bn_layer
from .vision import check_size


def relu_conv_bn(ch_in: int, ch_out: int) -> nn.Sequential:
    """Return ReLU -> 1x1 convolution -> batch normalization."""
    return nn.Sequential(nn.ReLU(), conv(ch_in, ch_out, 1), nn.BatchNorm2D(ch_out))


def sep(ch_in: int, ch_out: int, size: int, stride: int = 1) -> nn.Sequential:
    """Return the cells' separable convolution: ReLU -> separable -> BN, twice (appendix A.4); the first has the stride."""
    return nn.Sequential(nn.ReLU(), separable_conv(ch_in, ch_out, size, stride), nn.BatchNorm2D(ch_out),
                         nn.ReLU(), separable_conv(ch_out, ch_out, size), nn.BatchNorm2D(ch_out))


class Halve(nn.Layer):
    """Factorized reduction: half of the channels see the pixels of even rows and columns, half those of odd; then BN."""

    def __init__(self, ch_in: int, ch_out: int):
        super().__init__()
        self.relu, self.bn = nn.ReLU(), nn.BatchNorm2D(ch_out)
        self.even, self.odd = conv(ch_in, ch_out // 2, 1, 2), conv(ch_in, ch_out // 2, 1, 2)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.relu(x)
        # Zeros come in at the right and the bottom. Not by F.pad: paddle2onnx pads with whatever lies in memory.
        down = paddle.concat([x[:, :, 1:], paddle.zeros_like(x[:, :, :1])], axis=2)
        shifted = paddle.concat([down[:, :, :, 1:], paddle.zeros_like(down[:, :, :, :1])], axis=3)
        return self.bn(paddle.concat([self.even(x), self.odd(shifted)], axis=1))


class NormalCell(nn.Layer):
    """Figure 4, left: (x, the cell before's x) -> (N, 6 * filters, H, W). fit brings the earlier x to x's shape."""

    outputs = 6

    def __init__(self, ch_x: int, ch_before: int, filters: int, fit: nn.Layer):
        super().__init__()
        f = filters
        self.fit, self.squeeze = fit, relu_conv_bn(ch_x, f)
        self.h5, self.p3, self.p5, self.p3b, self.h3 = sep(f, f, 5), sep(f, f, 3), sep(f, f, 5), sep(f, f, 3), sep(f, f, 3)
        self.average = nn.AvgPool2D(3, 1, 1)

    def forward(self, x: paddle.Tensor, before: paddle.Tensor) -> paddle.Tensor:
        h, p = self.squeeze(x), self.fit(before)
        pooled = self.average(p)
        return paddle.concat([p, self.h5(h) + self.p3(p), self.p5(p) + self.p3b(p), self.average(h) + p, pooled + pooled,
                              self.h3(h) + h], axis=1)


class ReductionCell(nn.Layer):
    """Figure 4, right: (x, the cell before's x) -> (N, 4 * filters, H/2, W/2). ch_before: channels that fit gives."""

    outputs = 4

    def __init__(self, ch_x: int, ch_before: int, filters: int, fit: nn.Layer):
        super().__init__()
        f = filters
        self.fit, self.squeeze = fit, relu_conv_bn(ch_x, f)
        self.h5, self.p7, self.p7b = sep(f, f, 5, 2), sep(ch_before, f, 7, 2), sep(ch_before, f, 7, 2)
        self.p5, self.y3 = sep(ch_before, f, 5, 2), sep(f, f, 3)
        self.max, self.mean, self.average = nn.MaxPool2D(3, 2, 1), nn.AvgPool2D(3, 2, 1), nn.AvgPool2D(3, 1, 1)

    def forward(self, x: paddle.Tensor, before: paddle.Tensor) -> paddle.Tensor:
        h, p = self.squeeze(x), self.fit(before)
        y1 = self.h5(h) + self.p7(p)
        y2 = self.max(h) + self.p7b(p)
        y3 = self.mean(h) + self.p5(p)
        return paddle.concat([y2, y3, self.average(y1) + y2, self.y3(y1) + self.max(h)], axis=1)


@about("Zoph et al. 2017, arXiv 1707.07012", published="5.3", smallest=3)
class NASNet(nn.Layer):
    """NASNet-A (cells @ penultimate), Zoph et al. 2017 (arXiv 1707.07012), by default the mobile 4 @ 1056.

    Input float32 (N, 3, H, W), 224x224 in the paper, any size from 3; output logits float32 (N, num_classes). cells: normal
    cells in each of three groups; penultimate: features before the head. dropout: before the head, 0.5 in the authors' code.
    Raises UserError for cells under 1, a penultimate that is no multiple of 96, or a dropout outside [0, 1).
    Deviations from the authors' code: no auxiliary head; symmetric padding (see `conv`); BN's statistics move by 0.1 a step
    where theirs move by 0.0003, which wants their long training. The larger networks of the paper also skip some connections.
    Initialization: He normal for the convolutions, Xavier uniform for the linear layer.
    """

    smallest = 3                                   # pixels; the first convolution has no padding

    def __init__(self, num_classes: int = 1000, cells: int = 4, penultimate: int = 1056, dropout: float = 0.5):
        super().__init__()
        if cells < 1:
            raise UserError(f"nasnet: cells={cells} must be at least 1")
        if penultimate < 96 or penultimate % 96:
            raise UserError(f"nasnet: penultimate={penultimate} must be a multiple of 96 (768, 1056, ...)")
        check_probability("nasnet", "dropout", dropout)
        f = penultimate // 24
        plan = [(ReductionCell, f // 4), (ReductionCell, f // 2)]
        for group in (f, 2 * f, 4 * f):
            plan += [(ReductionCell, group)] * (group > f) + [(NormalCell, group)] * cells
        self.stem = conv_bn_layer(3, 32, 3, 2, 0, act=None)
        self.cells = nn.LayerList()
        ch_before = ch_x = 32
        for i, (kind, filters) in enumerate(plan):
            if i == 0:                             # there is no cell before: the stem's output is both inputs
                fit, fitted = nn.Identity(), ch_before
            else:                                  # after a reduction the earlier x is twice as large
                fit = (Halve if plan[i - 1][0] is ReductionCell else relu_conv_bn)(ch_before, filters)
                fitted = filters
            self.cells.append(kind(ch_x, fitted, filters, fit))
            ch_before, ch_x = ch_x, kind.outputs * filters
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.drop = nn.Dropout(dropout)
        self.fc = nn.Linear(ch_x, num_classes)

    def forward_features(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the features before the head, float32 (N, penultimate)."""
        check_size(self, images)
        before = x = self.stem(images)             # (N, 32, 111, 111) of a 224x224 image
        for cell in self.cells:
            before, x = x, cell(x, before)         # 56, 28 after the two reductions of the stem; then 28, 14, 7
        return self.drop(paddle.flatten(self.pool(self.relu(x)), 1))

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        return self.fc(self.forward_features(images))
