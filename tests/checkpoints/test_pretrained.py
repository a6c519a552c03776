"""Weights to start from: what of them lands where, and what is said of the rest."""

import json
import re

import numpy as np
import paddle
import pytest
from paddle import nn
from safetensors.numpy import save_file

from paddle_cls import models
from paddle_cls.checkpoints import pretrained
from paddle_cls.checkpoints.info import Description
from paddle_cls.checkpoints.pretrained import fetch, load, read
from paddle_cls.errors import UserError


class Net(nn.Layer):
    """A convolution, a batch norm, and two linear layers, of which the first is square."""

    def __init__(self, classes: int = 3):
        super().__init__()
        self.conv1 = nn.Conv2D(3, 8, 3)
        self.bn1 = nn.BatchNorm2D(8)
        self.hidden = nn.Linear(8, 8)
        self.fc = nn.Linear(8, classes)

    def forward(self, images):
        return self.fc(nn.functional.relu(self.hidden(nn.functional.relu(self.bn1(self.conv1(images))).mean([2, 3]))))


HEAD = ["fc.weight", "fc.bias"]
ABC = Description.of("resnet", {}, classes="abc", image_size=32, normalization={"mean": (0, 0, 0), "std": (1, 1, 1)})


def net(seed: int, classes: int = 3) -> Net:
    """Return a network in evaluation mode with random weights and statistics."""
    model = Net(classes)
    rng = np.random.default_rng(seed)
    for value in model.state_dict().values():
        value.set_value(rng.uniform(0.5, 1.5, value.shape).astype("float32"))
    model.eval()
    return model


def arrays(model: nn.Layer) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in model.state_dict().items()}


def as_torchs(model: nn.Layer) -> dict[str, np.ndarray]:
    """Return the state_dict that PyTorch has of the same network."""
    linear = {f"{name}.weight" for name, layer in model.named_sublayers() if isinstance(layer, nn.Linear)}
    state = {}
    for name, array in arrays(model).items():
        new = re.sub(r"\._variance$", ".running_var", re.sub(r"\._mean$", ".running_mean", name))
        state[new] = np.ascontiguousarray(array.T if name in linear else array)
        if new != name:
            state[f"{name.rpartition('.')[0]}.num_batches_tracked"] = np.array(7)
    return state


IMAGES = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype("float32")


def logits(model: nn.Layer) -> np.ndarray:
    return model(paddle.to_tensor(IMAGES)).numpy()


def test_a_pdparams_is_loaded_whole_and_the_head_of_other_width_stays_new(tmp_path):
    theirs, ours = net(0, classes=5), net(1, classes=3)
    paddle.save(theirs.state_dict(), str(tmp_path / "net.pdparams"))
    before = arrays(ours)
    report = load(ours, read(fetch(str(tmp_path / "net.pdparams"))), HEAD)
    for name, array in arrays(ours).items():
        assert np.array_equal(array, before[name] if name in HEAD else arrays(theirs)[name]), name
    assert report.short() == f"8 of 10 weights from {tmp_path}/net.pdparams; new: fc.weight, fc.bias"
    lines = report.text().splitlines()
    assert lines[:3] == [f"weights from {tmp_path}/net.pdparams", "loaded: 8", "  conv1.weight (8, 3, 3, 3)"]
    assert lines[10:] == ["new, as initialized: 2", "  fc.weight (8, 3): (8, 5) in the file", "  fc.bias (3,): (5,) in the file",
                          "in the file, not used: 0"]


def test_a_head_that_fits_is_loaded_unless_its_classes_are_known_to_be_others(tmp_path):
    paddle.save(net(0).state_dict(), str(tmp_path / "net.pdparams"))
    source = read(tmp_path / "net.pdparams")
    assert load(net(1), source, HEAD, classes=("a", "b", "c")).new == []
    source.info = ABC
    ours = net(1)
    assert load(ours, source, HEAD, classes=("a", "b", "c")).new == []
    assert np.array_equal(logits(ours), logits(net(0)))
    ours = net(1)
    report = load(ours, source, HEAD, classes=("c", "b", "a"))
    assert report.new == [("fc.weight", "(8, 3): its classes are others"), ("fc.bias", "(3,): its classes are others")]
    assert report.notes == ["its classes: a, b, c; here: c, b, a"]
    assert np.array_equal(ours.fc.weight.numpy(), net(1).fc.weight.numpy())


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_safetensors_of_pytorchs_gives_the_same_answers(tmp_path, metadata):
    theirs, ours = net(0), net(1)
    save_file(as_torchs(theirs), tmp_path / "net.safetensors", metadata)
    report = load(ours, read(fetch(str(tmp_path / "net.safetensors"))), HEAD)
    assert np.array_equal(logits(ours), logits(theirs)) and not np.array_equal(logits(net(1)), logits(theirs))
    assert report.notes == ["PyTorch's, by its names of batch norms: 2 statistics renamed, 2 linear weights transposed"]
    assert report.unused == [("bn1.num_batches_tracked", "Paddle has no such number")]
    assert report.short().endswith("new: none; not used: bn1.num_batches_tracked")


class Plain(nn.Layer):
    """Two linear layers, the first square, and no batch norm that would give PyTorch away."""

    def __init__(self):
        super().__init__()
        self.hidden, self.fc = nn.Linear(8, 8), nn.Linear(8, 3)


@pytest.mark.parametrize("torchs, metadata, note", [
    (True, {"format": "pt"}, "PyTorch's, by its format 'pt': 0 statistics renamed, 2 linear weights transposed"),
    (True, None, "PyTorch's, by the shapes of linear layers: 0 statistics renamed, 2 linear weights transposed"),
    (False, None, None), (False, {"format": "pd"}, None)])
def test_without_batch_norms_the_format_and_the_shapes_tell_pytorchs_layout(tmp_path, torchs, metadata, note):
    theirs, ours = Plain(), Plain()
    save_file(as_torchs(theirs) if torchs else arrays(theirs), tmp_path / "x.safetensors", metadata)
    report = load(ours, read(tmp_path / "x.safetensors"), HEAD)
    assert report.notes == ([note] if note else [])
    assert all(np.array_equal(array, arrays(theirs)[name]) for name, array in arrays(ours).items())


def test_torchvisions_names_of_a_resnet_are_paddles():
    """So its weights land in paddle.vision's ResNets; ResNet-18 stands for all of them."""
    model = paddle.vision.models.resnet18(num_classes=10)
    state = as_torchs(model)
    assert len(state) == 122 and {
        "conv1.weight", "bn1.running_mean", "bn1.num_batches_tracked", "layer1.0.conv1.weight", "layer1.1.bn2.bias",
        "layer2.0.downsample.0.weight", "layer2.0.downsample.1.running_var", "layer4.1.conv2.weight", "fc.weight"} <= set(state)
    report = load(paddle.vision.models.resnet18(num_classes=10), pretrained.Weights("x", state), HEAD)
    assert len(report.loaded) == 102 and not report.new and len(report.unused) == 20


def test_half_precision_is_widened_and_what_numpy_has_not_is_refused(tmp_path):
    theirs, ours = net(0), net(1)
    save_file({name: array.astype("float16") for name, array in arrays(theirs).items()}, tmp_path / "half.safetensors")
    load(ours, read(tmp_path / "half.safetensors"), HEAD)
    assert ours.fc.weight.dtype == paddle.float32
    assert np.array_equal(ours.hidden.weight.numpy(), theirs.hidden.weight.numpy().astype("float16").astype("float32"))
    header = json.dumps({"fc.bias": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}).encode()
    (tmp_path / "b.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(6))
    with pytest.raises(UserError, match=r"b\.safetensors: numbers that NumPy cannot hold \(.*\); save them as float32"):
        read(tmp_path / "b.safetensors")


def test_a_run_folder_is_read_with_what_its_json_says(run_folder, tmp_path):
    model = models.build_model("resnet", 4, depth=8)
    head = models.head(model, "resnet", 4, depth=8)
    assert head == HEAD
    for place in (run_folder, run_folder / "best.pdparams", run_folder / "best", run_folder / "best.json"):
        source = read(fetch(str(place)))
        assert source.file == run_folder / "best.pdparams" and source.info.model.name == "resnet"
        report = load(model, source, head, classes="abcd", normalization={"mean": (0.5, 0.5, 0.5), "std": (1, 1, 1)})
        assert [name for name, _ in report.new] == head and len(report.loaded) == 48
    assert report.notes[0] == f"its classes: {', '.join(source.info.classes)}; here: a, b, c, d"
    assert report.notes[1] == (f"its images were normalized by {source.info.normalization.model_dump()}; here: "
                               "{'mean': (0.5, 0.5, 0.5), 'std': (1, 1, 1)}")


def change(name: str, **kwargs) -> dict[str, np.ndarray]:
    state = arrays(net(0))
    state[name] = kwargs["to"]
    return state


@pytest.mark.parametrize("state, message", [
    ({k: v for k, v in arrays(net(0)).items() if k != "hidden.bias"}, r"1 missing: hidden\.bias \(8,\); take the --model"),
    (change("conv1.weight", to=np.zeros((8, 3, 5, 5), "float32")),
     r"1 of another shape: conv1\.weight \(8, 3, 3, 3\), \(8, 3, 5, 5\) in the file; take"),
    (change("conv2.weight", to=np.zeros((8, 8), "float32")), r"1 too many: conv2\.weight \(8, 8\); take the --model and the "
     r"settings they are of, or let what does not fit be with --pretrained-partial"),
])
def test_a_body_that_does_not_fit_is_refused_or_reported(state, message):
    ours = net(1)
    before = arrays(ours)
    with pytest.raises(UserError, match=r"^x: not the weights of this network: " + message):
        load(ours, pretrained.Weights("x", state), HEAD)
    assert all(np.array_equal(array, before[name]) for name, array in arrays(ours).items())
    report = load(ours, pretrained.Weights("x", state), HEAD, partial=True)
    fits = [name for name, array in arrays(net(0)).items() if name in state and state[name].shape == array.shape]
    assert [name for name, _ in report.loaded] == fits
    assert all(np.array_equal(array, state[name] if name in fits else before[name]) for name, array in arrays(ours).items())
    assert {name for name, _ in report.new + report.unused} == (state.keys() | before.keys()) - set(fits)


def test_another_network_of_ours_is_named(run_folder):
    source = read(fetch(str(run_folder)))
    with pytest.raises(UserError, match=r"best\.pdparams \(of resnet, depth 8\): not the weights of this network: 33 missing: "
                                        r"res1\.1\.conv1\.conv\.weight \(16, 16, 3, 3\), .* and 30 more; take"):
        load(models.build_model("resnet", 10, depth=14), source, HEAD, classes=source.info.classes)


@pytest.mark.parametrize("partial", [False, True])
def test_nothing_that_fits_is_an_error_even_if_the_head_does(partial):
    state = {"fc.weight": np.zeros((8, 3), "float32"), "other": np.zeros(3, "float32")}
    with pytest.raises(UserError, match=r"^x: nothing in it fits this network: it holds fc\.weight, other, the network needs "
                                        r"conv1\.weight \(8, 3, 3, 3\): not in the file, .* and 6 more; are they of another"):
        load(net(1), pretrained.Weights("x", state), HEAD, partial=partial)


@pytest.mark.parametrize("array", [np.full(8, np.nan, "float32"), np.arange(8)])
def test_numbers_that_are_no_weights_are_refused(array):
    with pytest.raises(UserError, match=r"x: hidden\.bias holds numbers that are not finite or no fractions \((float32|int64)\)"):
        load(net(1), pretrained.Weights("x", change("hidden.bias", to=array)), HEAD)


def test_so_are_those_of_a_head_that_stays_new():
    source = pretrained.Weights("x", change("fc.bias", to=np.arange(3)), info=ABC)
    with pytest.raises(UserError, match=r"^x: fc\.bias holds numbers that are not finite or no fractions \(int64\)$"):
        load(net(1), source, HEAD, classes=("c", "b", "a"))
