"""The networks of paddle.vision.models: Paddle's layers, weights and names, with the head apart from the features.

Each takes float32 (N, 3, H, W) and returns logits float32 (N, num_classes), of images of any size from `about.smallest`.
"""

from collections.abc import Callable
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.vision import models as paddles
from paddle.vision.models.resnet import BasicBlock, BottleneckBlock
from paddle.vision.models.vgg import cfgs, make_layers

from ..errors import UserError
from .about import about


@paddle.jit.not_to_static
def check_size(model: nn.Layer, images: paddle.Tensor) -> None:
    """Raise UserError for images that are smaller than the model's `smallest`."""
    height, width = images.shape[2:]               # -1: not known yet, in an export
    if 0 <= height < model.smallest or 0 <= width < model.smallest:
        raise UserError(f"{type(model).__name__} takes images from {model.smallest}x{model.smallest} on and was given "
                        f"{height}x{width}")


class _Served(nn.Layer):
    """A network of Paddle's with forward_features. Paddle's forward stops before the head where num_classes is 0."""

    head = "fc"                                    # Paddle's name of the last linear layer, or of the Sequential that ends in it
    smallest = 32

    def __init_subclass__(cls) -> None:
        family: Any = cls.__bases__[1]
        cls.before_head = family.forward           # not super(), which jit.save does not get through

    def __init__(self, *args: object, **kwargs: object):
        super().__init__(*args, **kwargs)
        self.num_classes = 0

    def _head(self) -> list[nn.Layer]:
        layer = getattr(self, self.head)
        return list(layer) if isinstance(layer, nn.Sequential) else [layer]

    def forward_features(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return what the last linear layer is given, float32 (N, F)."""
        check_size(self, images)
        x = paddle.flatten(self.before_head(images), 1)
        for layer in self._head()[:-1]:
            x = layer(x)
        return x

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        return self._head()[-1](self.forward_features(images))


class VGG(_Served, paddles.VGG):
    """VGG of Simonyan and Zisserman; other sizes than 224 are averaged to the 7x7 that the first linear layer takes."""

    head = "classifier"


class ResNet(_Served, paddles.ResNet):
    """ResNet of He et al., ResNeXt, wide ResNet. Deviation from the first paper: the stride is in a block's 3x3 convolution."""


class DenseNet(_Served, paddles.DenseNet):
    """DenseNet-BC of Huang et al."""

    head = "out"


class MobileNetV1(_Served, paddles.MobileNetV1):
    """MobileNet of Howard et al. 2017."""


class MobileNetV2(_Served, paddles.MobileNetV2):
    """MobileNet v2 of Sandler et al."""

    head = "classifier"


class MobileNetV3Small(_Served, paddles.MobileNetV3Small):
    """The smaller MobileNet v3 of Howard et al. 2019."""

    head = "classifier"


class MobileNetV3Large(_Served, paddles.MobileNetV3Large):
    """The larger MobileNet v3 of Howard et al. 2019."""

    head = "classifier"


class ShuffleNetV2(_Served, paddles.ShuffleNetV2):
    """ShuffleNet v2 of Ma et al."""

    head = "_fc"


class InceptionV3(_Served, paddles.InceptionV3):
    """Inception v3 of Szegedy et al. Deviation from the paper, Paddle's: no auxiliary head."""

    def _head(self) -> list[nn.Layer]:
        return [self.dropout, self.fc]


class SqueezeNet(_Served, paddles.SqueezeNet):
    """SqueezeNet of Iandola et al. Its head is a convolution; the features are the mean of what that is given.

    Deviation: with one output there is no ReLU after the head, which would make every answer a yes.
    """

    def __init__(self, *args: object, **kwargs: object):
        super().__init__(*args, **kwargs)
        self.with_pool = False

    def forward_map(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the last fire module's output, float32 (N, 512, h, w)."""
        check_size(self, images)
        return self.before_head(images)

    def forward_features(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the mean of the last fire module over the image, float32 (N, 512)."""
        return paddle.flatten(self._avg_pool(self.forward_map(images)), 1)

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        x = self._conv9(self._drop(self.forward_map(images)))
        return paddle.flatten(self._avg_pool(F.relu(x) if x.shape[1] > 1 else x), 1)


class GoogLeNet(_Served, paddles.GoogLeNet):
    """GoogLeNet of Szegedy et al. In training it returns (logits, [(0.3, logits), (0.3, logits)]): auxiliary heads, their weight.

    Deviations from the paper, Paddle's: no biases and no response normalization, a module's ReLU only at its end and none
    before the first module, pooling without padding. Deviations from Paddle's, all in the auxiliary heads: they average the map
    to 3x3 whatever the size of the images, and have the paper's ReLUs.
    """

    def __init__(self, *args: object, **kwargs: object):
        super().__init__(*args, **kwargs)
        self._pool_o1 = self._pool_o2 = nn.AdaptiveAvgPool2D(3)

    def forward_features(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return what the main head is given, float32 (N, 1024)."""
        return self._maps(images)[0]

    def _maps(self, images: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        check_size(self, images)
        x, first, second = self.before_head(images)
        return paddle.flatten(self._drop(x), 1), first, second

    def forward(self, images: paddle.Tensor) -> paddle.Tensor | tuple[paddle.Tensor, list[tuple[float, paddle.Tensor]]]:
        if not self.training:
            return self._fc_out(self.forward_features(images))
        x, first, second = self._maps(images)
        logits = self._fc_out(x)
        first = F.relu(self._fc_o1(paddle.flatten(F.relu(self._conv_o1(first)), 1)))
        second = F.relu(self._fc_o2(paddle.flatten(F.relu(self._conv_o2(second)), 1)))
        return logits, [(0.3, self._out1(self._drop_o1(first))), (0.3, self._out2(self._drop_o2(second)))]


def _network(family: type, paper: str, published: str = "", *, source: str = "the paper", differs: str = "",
             image_size: int = 224, smallest: int = 32, **fixed: Any) -> Callable[..., nn.Layer]:
    """Return the constructor of one network of `family`, which takes the arguments `fixed`."""
    @about(paper, published=published, source=source, differs=differs, image_size=image_size, smallest=smallest)
    def build(num_classes: int = 1000) -> nn.Layer:
        network = family(num_classes=num_classes, **fixed)
        network.smallest = smallest
        return network
    return build


def _vgg(letter: str, published: str) -> Callable[..., nn.Layer]:
    @about("Simonyan and Zisserman 2014, arXiv 1409.1556", published=published, smallest=32)
    def build(num_classes: int = 1000, batch_norm: bool = False) -> nn.Layer:
        return VGG(make_layers(cfgs[letter], batch_norm=batch_norm), num_classes=num_classes)
    return build


def _mobilenet(family: type, paper: str, published: str, differs: str = "") -> Callable[..., nn.Layer]:
    @about(paper, published=published, differs=differs, smallest=32)
    def build(num_classes: int = 1000, scale: float = 1.0) -> nn.Layer:
        if not 0.1 <= scale <= 4:
            raise UserError(f"scale={scale}: the width multiplier must be from 0.1 to 4")
        return family(scale=scale, num_classes=num_classes)
    return build


vgg11, vgg13, vgg16, vgg19 = _vgg("A", "133"), _vgg("B", "133"), _vgg("D", "138"), _vgg("E", "144")

googlenet = _network(GoogLeNet, "Szegedy et al. 2014, arXiv 1409.4842", "7.0", smallest=61)
inception_v3 = _network(InceptionV3, "Szegedy et al. 2015, arXiv 1512.00567", "23.8", image_size=299, smallest=75,
                        source="torchvision, without its auxiliary head")

_TORCH: dict[str, Any] = {"source": "torchvision"}
_CLAS: dict[str, Any] = {"source": "PaddleClas", "differs": "they count the statistics of batch norm too"}
_RESNET = "He et al. 2015, arXiv 1512.03385"
resnet18 = _network(ResNet, _RESNET, "11.7", **_TORCH, block=BasicBlock, depth=18)
resnet34 = _network(ResNet, _RESNET, "21.8", **_TORCH, block=BasicBlock, depth=34)
resnet50 = _network(ResNet, _RESNET, "25.6", **_TORCH, block=BottleneckBlock, depth=50)
resnet101 = _network(ResNet, _RESNET, "44.5", **_TORCH, block=BottleneckBlock, depth=101)
resnet152 = _network(ResNet, _RESNET, "60.2", **_TORCH, block=BottleneckBlock, depth=152)

_RESNEXT = "Xie et al. 2016, arXiv 1611.05431"
resnext50_32x4d = _network(ResNet, _RESNEXT, "25.0", block=BottleneckBlock, depth=50, groups=32, width=4)
resnext50_64x4d = _network(ResNet, _RESNEXT, "45.29", **_CLAS, block=BottleneckBlock, depth=50, groups=64, width=4)
resnext101_32x4d = _network(ResNet, _RESNEXT, "44.2", source="timm", block=BottleneckBlock, depth=101, groups=32, width=4)
resnext101_64x4d = _network(ResNet, _RESNEXT, "83.5", **_TORCH, block=BottleneckBlock, depth=101, groups=64, width=4)
resnext152_32x4d = _network(ResNet, _RESNEXT, "60.15", **_CLAS, block=BottleneckBlock, depth=152, groups=32, width=4)
resnext152_64x4d = _network(ResNet, _RESNEXT, "115.27", **_CLAS, block=BottleneckBlock, depth=152, groups=64, width=4)

_WIDE = "Zagoruyko and Komodakis 2016, arXiv 1605.07146"
wide_resnet50_2 = _network(ResNet, _WIDE, "68.9", block=BottleneckBlock, depth=50, width=128)
wide_resnet101_2 = _network(ResNet, _WIDE, "126.9", **_TORCH, block=BottleneckBlock, depth=101, width=128)

_DENSENET = "Huang et al. 2016, arXiv 1608.06993"
densenet121 = _network(DenseNet, _DENSENET, "8.0", **_TORCH, layers=121)
densenet161 = _network(DenseNet, _DENSENET, "28.7", **_TORCH, layers=161)
densenet169 = _network(DenseNet, _DENSENET, "14.1", **_TORCH, layers=169)
densenet201 = _network(DenseNet, _DENSENET, "20", layers=201)
densenet264 = _network(DenseNet, _DENSENET, "33.74", **_CLAS, layers=264)

mobilenet_v1 = _mobilenet(MobileNetV1, "Howard et al. 2017, arXiv 1704.04861", "4.2")
mobilenet_v2 = _mobilenet(MobileNetV2, "Sandler et al. 2018, arXiv 1801.04381", "3.4",
                          differs="3.47 without the weights of batch norm, cut off")
_MOBILENET3 = "Howard et al. 2019, arXiv 1905.02244"
mobilenet_v3_small = _mobilenet(MobileNetV3Small, _MOBILENET3, "2.5")
mobilenet_v3_large = _mobilenet(MobileNetV3Large, _MOBILENET3, "5.4",
                                differs="5.46 without the weights of batch norm, cut off")

_AUTHORS: dict[str, Any] = {"source": "its authors' repository"}
_SHUFFLENET = "Ma et al. 2018, arXiv 1807.11164"
shufflenet_v2_x0_25 = _network(ShuffleNetV2, _SHUFFLENET, "0.61", **_CLAS, scale=0.25)
shufflenet_v2_x0_33 = _network(ShuffleNetV2, _SHUFFLENET, "0.65", source="PaddleClas", scale=0.33)
shufflenet_v2_x0_5 = _network(ShuffleNetV2, _SHUFFLENET, "1.4", **_AUTHORS, scale=0.5)
shufflenet_v2_x1_0 = _network(ShuffleNetV2, _SHUFFLENET, "2.3", **_AUTHORS, scale=1.0)
shufflenet_v2_x1_5 = _network(ShuffleNetV2, _SHUFFLENET, "3.5", **_AUTHORS, scale=1.5)
shufflenet_v2_x2_0 = _network(ShuffleNetV2, _SHUFFLENET, "7.4", **_AUTHORS, scale=2.0)
shufflenet_v2_swish = _network(ShuffleNetV2, _SHUFFLENET, scale=1.0, act="swish")

_SQUEEZENET = "Iandola et al. 2016, arXiv 1602.07360"
squeezenet1_0 = _network(SqueezeNet, _SQUEEZENET, "1.248", smallest=35, version="1.0")
squeezenet1_1 = _network(SqueezeNet, _SQUEEZENET, "1.235", **_TORCH, version="1.1")
