"""Networks as other programs compute them: one of each family, code of the user's, what fails."""

import resource
import subprocess
import sys

import numpy as np
import openvino
import paddle
import pytest
from networks import FAMILIES, built_quickly
from paddle import nn

from benchmarks import exports
from paddle_cls.errors import UserError
from paddle_cls.inference import convert, pooling
from paddle_cls.inference.engines import WEIGHTS, OpenVINO, PaddleInference
from paddle_cls.models import build_model

PADDLE_2 = paddle.__version__.startswith("2.")
BY_ONNX = pytest.mark.skipif(PADDLE_2, reason="the way of Paddle 2 is its own program, which OpenVINO reads")


def convolutions(file) -> int:
    return sum(op.get_type_name() in ("Convolution", "GroupConvolution") for op in openvino.Core().read_model(file).get_ops())


@pytest.mark.parametrize("name", sorted(FAMILIES.values()))
def test_a_network_answers_the_same_elsewhere(name, tmp_path):
    """At the smallest size; `python benchmarks/exports.py` does it for all networks and at their own size."""
    size = exports.sizes(name)[0]
    with built_quickly():
        model = exports.build(name, size)
    images, expected = exports.batch(model, size)
    file = exports.export(model, size, tmp_path)
    of_answers, of_features = exports.differences(OpenVINO(file), images, expected)
    assert of_answers < 1e-4 and not of_features >= 1e-3                       # NaN: it has none
    assert 0 < convolutions(file) <= sum(isinstance(layer, nn.Conv2D) for layer in model.sublayers())       # none twice


class Plain(nn.Layer):
    """A network of the user's, with an adaptive pooling of another number of bins than its size has divisors."""

    def __init__(self, classes: int = 3, pool: nn.Layer | None = None, image_size: int = 20):
        super().__init__()
        self.conv, self.pool = nn.Conv2D(3, 4, 3), pool or nn.AdaptiveAvgPool2D(1)
        bins = np.prod(self.pool(paddle.zeros([1, 4, image_size - 2, image_size - 2])).shape[1:])
        self.fc = nn.Linear(int(bins), classes)

    def body(self, x):
        """Return the features."""
        return paddle.flatten(self.pool(self.conv(x)), 1)

    def forward(self, x):
        return self.fc(self.body(x))


class Apart(Plain):
    """Its logits come from other numbers than its features."""

    def forward_features(self, x):
        return self.body(x)


class Doubled(Apart):
    """It gives its features other images than its own."""

    def forward(self, x):
        return self.fc(self.forward_features(2 * x))


class Shared(Apart):
    """As the networks of the registry."""

    def forward(self, x):
        return self.fc(self.forward_features(x))


def converted(model: nn.Layer, folder, size: int = 20):
    """Return the engines of an exported network: OpenVINO and Paddle Inference, and the file that the first reads."""
    model.eval()
    file = exports.export(model, size, folder)
    return OpenVINO(file), PaddleInference(next(folder / f"inference{suffix}" for suffix in (".json", ".pdmodel")
                                                if (folder / f"inference{suffix}").exists())), file


@pytest.mark.parametrize("kind, twice", [(Plain, 1), (Apart, 2), (Doubled, 2), (Shared, 1)])
def test_code_of_the_users(kind, twice, tmp_path):
    """Features or none; computed once where the logits are made of them, and right where they are not. One logit is enough."""
    model = kind(classes=1)
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    *engines, file = converted(model, tmp_path)
    images = exports.pixels(3, 20)
    expected = exports.answers(model, images)
    for engine in engines:
        logits, features = engine(images)
        np.testing.assert_allclose(logits, expected.logits, atol=1e-5)
        assert logits.shape == (3, 1) and (features is None) == (expected.features is None) == (kind is Plain)
        if features is not None:
            np.testing.assert_allclose(features, expected.features, atol=1e-5)
    assert convolutions(file) == twice
    assert "forward_features" not in vars(model)   # the network itself is as it was
    assert all(np.array_equal(value.numpy(), state[name]) for name, value in model.state_dict().items())


@BY_ONNX
def test_what_the_file_says(tmp_path):
    import onnx
    convert.to_onnx(convert.to_paddle(convert.Whole(Shared(), exports.NORMALIZATION), 20, tmp_path), tmp_path / "a.onnx")
    graph = onnx.load(tmp_path / "a.onnx")

    def told(values) -> list[tuple[str, int, list[int]]]:
        types = [value.type.tensor_type for value in values]
        return [(value.name, kind.elem_type, [dimension.dim_value for dimension in kind.shape.dim])
                for value, kind in zip(values, types, strict=True)]

    assert told(graph.graph.input) == [("images", onnx.TensorProto.UINT8, [0, 20, 20, 3])]         # 0: any number
    assert told(graph.graph.output) == [("logits", onnx.TensorProto.FLOAT, [0, 3]), ("features", onnx.TensorProto.FLOAT, [0, 4])]
    assert [each.version for each in graph.opset_import if not each.domain] == [17]


@pytest.mark.parametrize("kind", [nn.AdaptiveAvgPool2D, nn.AdaptiveMaxPool2D])
@pytest.mark.parametrize("bins", [1, 2, 3, 6, 7, (2, 5), (None, 4)])
def test_pooling_into_bins(kind, bins):
    for height, width in ((1, 1), (3, 3), (6, 7), (13, 14), (12, 28)):
        x = paddle.to_tensor(np.random.default_rng(0).normal(size=(2, 3, height, width)).astype("float32"))
        layer = kind(bins)
        expected = layer(x).numpy()
        pooling.make_exact(layer)
        assert type(layer) is not kind
        np.testing.assert_allclose(layer(x).numpy(), expected, atol=1e-6)


def test_pooling_that_tells_more_stays_as_it_is():
    x = paddle.rand([1, 2, 5, 5])
    for layer in (nn.AdaptiveMaxPool2D(3, return_mask=True), nn.AdaptiveAvgPool2D(3, data_format="NHWC")):
        expected = layer(x)
        pooling.make_exact(layer)
        assert all(map(np.array_equal, layer(x), expected))


@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool2D(7), nn.AdaptiveAvgPool2D(29), nn.AdaptiveMaxPool2D((7, 40))])
def test_other_programs_pool_the_same(pool, tmp_path):
    """18 pixels: paddle2onnx alone would write bins of a fixed stride, and none at all for more bins than pixels."""
    model = Plain(pool=pool)
    *engines, _ = converted(model, tmp_path)
    images = exports.pixels(3, 20)
    for engine in engines:
        np.testing.assert_allclose(engine(images).logits, exports.answers(model, images).logits, atol=1e-4)


def test_it_is_quiet_and_starts_no_program(tmp_path, capfd, monkeypatch):
    """paddle2onnx tells its progress on stdout, and by default lets pip install packages."""
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program is started"))
    exports.export(Shared(), 20, tmp_path)
    out, err = capfd.readouterr()
    assert out == "" and "ONNX" not in err


class Unknown(Plain):
    """What ONNX has no operation for."""

    def body(self, x):
        return paddle.lgamma(super().body(x))


@BY_ONNX
def test_what_cannot_be_converted_ends_no_more_than_that(tmp_path):
    """paddle2onnx ends the process."""
    program = convert.to_paddle(convert.Whole(Unknown(), exports.NORMALIZATION), 20, tmp_path)
    before = set(tmp_path.iterdir())
    with pytest.raises(UserError, match="^paddle2onnx cannot convert this network: .*unsupported operators") as told:
        convert.to_onnx(program, tmp_path / "a.onnx", apart=True)
    assert "\n" not in str(told.value) and set(tmp_path.iterdir()) == before


def test_features_are_one_tensor(tmp_path):
    class Two(Shared):
        def forward_features(self, x):
            return self.body(x), x

        def forward(self, x):
            return self.fc(self.body(x))

    with pytest.raises(UserError, match="^Two: forward and forward_features must return one tensor each$"):
        convert.to_paddle(convert.Whole(Two(), exports.NORMALIZATION), 20, tmp_path)


@pytest.mark.parametrize("cut", [0, 1, 5000, 313_000])
def test_weights_that_paddle_wrote_in_part(cut, tmp_path, monkeypatch):
    """Paddle 3 says nothing of a full disk."""
    whole = convert.Whole(build_model("resnet", 10, depth=8), exports.NORMALIZATION)
    save = paddle.jit.save

    def short(layer, path):
        save(layer, path)
        with open(path + WEIGHTS, "rb+") as file:
            file.truncate(file.seek(0, 2) - cut)

    monkeypatch.setattr(paddle.jit, "save", short)
    if cut:
        with pytest.raises(OSError, match="Paddle could write only a part of it.*inference.pdiparams"):
            convert.to_paddle(whole, 32, tmp_path)
    else:
        assert convert.to_paddle(whole, 32, tmp_path).exists()


def test_a_disk_that_fills(tmp_path):
    whole = convert.Whole(build_model("resnet", 10, depth=8), exports.NORMALIZATION)
    file = exports.export(whole.network, 32, tmp_path)
    (tmp_path / "new").mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError):
            convert.to_paddle(whole, 32, tmp_path / "new")
        with pytest.raises(OSError, match="OpenVINO could write only a part of it"):
            convert.to_openvino(file, tmp_path / "new" / "a.xml")
        if file.suffix == ".onnx":
            with pytest.raises(OSError):
                convert.to_onnx(file.with_name("inference.json"), tmp_path / "new" / "a.onnx")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_without_paddle2onnx(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "paddle2onnx", None)
    with pytest.raises(UserError, match=r"^an export to ONNX needs paddle2onnx, one for Paddle [0-9.]+: pip install paddle2onnx"):
        convert.to_onnx(tmp_path / "inference.json", tmp_path / "a.onnx")


def test_openvinos_own_files(tmp_path):
    model = Shared()
    *_, file = converted(model, tmp_path)
    convert.to_openvino(file, tmp_path / "network.xml")
    images = exports.pixels(20, 20)                # more than a chunk on each core, and some alone
    logits, features = OpenVINO(tmp_path / "network.xml")(images)
    expected = exports.answers(model, images)
    np.testing.assert_allclose(logits, expected.logits, atol=1e-5)
    np.testing.assert_allclose(features, expected.features, atol=1e-5)
    network = openvino.Core().read_model(tmp_path / "network.xml")
    assert [output.get_names() for output in network.outputs] == [{"logits"}, {"features"}]
