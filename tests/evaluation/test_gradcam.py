"""Grad-CAM against its formula worked out by hand on networks whose gradient is known."""

import numpy as np
import paddle
import pytest
from paddle import nn
from test_zoo import ONE_OF_EACH, side

from paddle_cls.errors import UserError
from paddle_cls.evaluation.gradcam import heat_maps
from paddle_cls.models import build_model


class Toy(nn.Layer):
    """Red and green as channels, their means, and a linear head: class 0 wants red, class 1 green and no red."""

    def __init__(self, outputs: int = 2):
        super().__init__()
        self.conv = nn.Conv2D(3, 2, 1, bias_attr=False)
        self.conv.weight.set_value(np.array([[1, 0, 0], [0, 1, 0]], np.float32).reshape(2, 3, 1, 1))
        self.side = nn.Conv2D(2, 2, 1)             # runs last, and nothing of it gets into the logits
        self.fc = nn.Linear(2, outputs)
        weight = np.array([[1.0, -1.0], [0.0, 2.0]], np.float32)
        self.fc.weight.set_value(weight if outputs == 2 else weight[:, 1:] - weight[:, :1])

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        features = self.conv(images)
        logits = self.fc(features.mean([2, 3]))
        self.side(features)
        return logits


def picture() -> np.ndarray:
    """A red square at the top left, a green one at the bottom right, on black: float32 (1, 3, 8, 8)."""
    image = np.zeros((1, 3, 8, 8), np.float32)
    image[0, 0, 1:3, 1:3] = 1
    image[0, 1, 5:7, 4:7] = 1
    return image


def by_hand(image: np.ndarray, red: float, green: float) -> np.ndarray:
    """Weights over the number of places are what the head gives a channel; the sum's positive part over its largest."""
    total = np.maximum(red / 64 * image[0, 0] + green / 64 * image[0, 1], 0)
    return total / total.max()


def test_the_map_is_the_formula_and_highest_on_the_object():
    image = picture()
    found = heat_maps(Toy(), np.concatenate([image, image]), np.array([0, 1]))
    assert (found.layer, found.cells) == ("conv", (8, 8)) and found.maps.dtype == np.float32
    np.testing.assert_allclose(found.maps[0], by_hand(image, 1, 0), atol=1e-6)
    np.testing.assert_allclose(found.maps[1], by_hand(image, -1, 2), atol=1e-6)
    assert found.maps[0, 1, 1] == 1 and found.maps[0, 5, 5] == 0 and found.maps[1, 5, 5] == 1 and found.maps[1, 1, 1] == 0


def test_one_sigmoid_logit_speaks_for_both_classes():
    image = picture()
    found = heat_maps(Toy(1), np.concatenate([image, image]), np.array([1, 0]))       # the logit is 2 green - 2 red
    np.testing.assert_allclose(found.maps[0], by_hand(image, -2, 2), atol=1e-6)
    np.testing.assert_allclose(found.maps[1], by_hand(image, 2, -2), atol=1e-6)


def test_a_map_in_which_nothing_speaks_for_the_class_is_zero():
    green_only = picture()
    green_only[:, 0] = 0
    assert (heat_maps(Toy(), green_only, np.array([0])).maps == 0).all()


def test_a_pictures_map_does_not_depend_on_its_neighbours():
    rng = np.random.default_rng(0)
    images, targets = rng.normal(size=(3, 3, 32, 32)).astype(np.float32), np.array([3, 1, 4])
    model = build_model("resnet", 10, depth=8)
    whole = heat_maps(model, images, targets).maps
    alone = np.concatenate([heat_maps(model, images[i:i + 1], targets[i:i + 1]).maps for i in range(3)])
    np.testing.assert_allclose(whole, alone, atol=1e-4)
    assert len({m.tobytes() for m in whole}) == 3


class Block(nn.Layer):
    """A convolution beside a shortcut, which runs after it; then a 1x1 squeeze that has no extent."""

    def __init__(self):
        super().__init__()
        self.body, self.shortcut, self.squeeze = nn.Conv2D(3, 4, 3, padding=1), nn.Conv2D(3, 4, 1), nn.Conv2D(4, 4, 1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = nn.functional.relu(self.body(x) + self.shortcut(x))
        return x * nn.functional.sigmoid(self.squeeze(x.mean([2, 3], keepdim=True)))


def test_a_blocks_output_is_taken_whole_and_a_place_without_extent_is_passed_over():
    paddle.seed(0)
    model = nn.Sequential(("block", Block()), ("pool", nn.AdaptiveAvgPool2D(1)), ("flat", nn.Flatten()), ("fc", nn.Linear(4, 3)))
    model.eval()
    image = np.random.default_rng(0).normal(size=(1, 3, 6, 6)).astype(np.float32)
    found = heat_maps(model, image, np.array([2]), size=6)
    features = model.block(paddle.to_tensor(image)).numpy()[0]                         # (4, 6, 6)
    total = np.maximum((features * model.fc.weight.numpy()[:, 2].reshape(4, 1, 1)).sum(axis=0), 0)
    assert found.layer == "block"
    np.testing.assert_allclose(found.maps[0], total / total.max(), atol=1e-5)


@ONE_OF_EACH
def test_every_kind_of_network_has_maps(name):
    """By one logit, where what does not speak for the one class speaks for the other."""
    paddle.seed(0)
    model = build_model(name, 1)
    model.train()
    for parameter in model.parameters():           # --freeze leaves such
        parameter.stop_gradient = True
    before = [value.numpy().copy() for value in model.buffers()]
    size = side(name)
    images = np.random.default_rng(0).normal(size=(2, 3, size, size)).astype(np.float32)
    found = heat_maps(model, images, np.array([0, 1]), size=20)
    assert found.maps.shape == (2, 20, 20) and found.maps.min() >= 0 and found.maps.max() <= 1
    assert found.maps.max() > 0.2 and found.cells[0] * found.cells[1] > 1
    assert heat_maps(model, images[:1], np.array([0])).maps.shape == (1, size, size)
    assert model.training and all(np.array_equal(*pair) for pair in zip(before, model.buffers(), strict=True))
    assert not any(layer._forward_post_hooks for layer in model.sublayers())


def test_a_network_without_a_convolution_is_refused():
    with pytest.raises(UserError, match="Grad-CAM needs a convolution whose output is larger than 1x1 pixel"):
        heat_maps(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), np.zeros((1, 3, 4, 4), np.float32), np.array([0]))
