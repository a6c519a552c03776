"""The way from a checkpoint and pictures to probabilities, against the network's own forward pass."""

import io
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import paddle
import pytest
from fakes import rgb
from PIL import Image

from paddle_cls.checkpoints import checkpoint
from paddle_cls.checkpoints.info import hash_of
from paddle_cls.checkpoints.storage import exists
from paddle_cls.data.images.transforms import CIFAR10, decode, eval_transform
from paddle_cls.data.sets import cifar10
from paddle_cls.errors import UserError
from paddle_cls.inference.engines import Outputs
from paddle_cls.inference.predictor import Predictor
from paddle_cls.models import build_model


@pytest.fixture(scope="module")
def predictor(run_folder) -> Predictor:
    return Predictor.from_checkpoint(run_folder, device="cpu")


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return [rgb(1), rgb(2, 50, 70), rgb(3, 100, 33), rgb(4, 8, 8), rgb(5)]


@pytest.fixture(scope="module")
def files(tmp_path_factory, pictures) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{i}.png")
    return sorted(folder.iterdir())


def own_forward(run_folder: Path, pictures: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return (features, logits) of the checkpoint's weights, without Predictor."""
    model = build_model("resnet", 10, depth=8)
    model.set_state_dict(paddle.load(str(run_folder / "best.pdparams")))
    model.eval()
    images = paddle.to_tensor(eval_transform(pictures, 32, CIFAR10))
    return model.forward_features(images).numpy(), model(images).numpy()


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(axis=1, keepdims=True)


def test_probabilities_are_the_softmax_of_the_models_forward(predictor, run_folder, pictures):
    features, logits = own_forward(run_folder, pictures)
    probabilities = predictor(pictures)
    assert probabilities.shape == (5, 10) and np.abs(probabilities.sum(axis=1) - 1).max() < 1e-9
    np.testing.assert_allclose(probabilities, softmax(logits), atol=1e-6)
    np.testing.assert_allclose(predictor.logits(pictures), logits, rtol=1e-4, atol=1e-5)
    assert predictor.features(pictures).shape == (5, 64)
    np.testing.assert_allclose(predictor.features(pictures), features, rtol=1e-4, atol=1e-5)
    assert len(np.unique(probabilities.round(9))) == 50      # the pictures and classes differ, or equality says nothing


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_files_answer_as_arrays_do_in_any_batches(predictor, pictures, files, batch_size):
    expected = predictor(pictures)
    np.testing.assert_allclose(predictor(files, batch_size=batch_size), expected, atol=1e-6)
    answers = list(predictor.files(files, batch_size=batch_size))
    assert [path for path, _ in answers] == files
    np.testing.assert_allclose([answer for _, answer in answers], expected, atol=1e-6)


def test_a_picture_comes_in_any_form(predictor, pictures, files):
    """Alone or in a list: what is one picture is no list of its letters, bytes or rows."""
    content, image = files[1].read_bytes(), Image.open(files[1])
    expected = predictor([pictures[1]])
    for one in (str(files[1]), files[1], content, io.BytesIO(content), image, pictures[1]):
        assert np.array_equal(predictor(one), expected), type(one)
    with files[1].open("rb") as file:
        several = predictor([files[1], content, file, image, pictures[1]])
    assert np.array_equal(several, np.repeat(expected, 5, axis=0))
    assert np.array_equal(predictor(np.stack([pictures[0], pictures[4]])), predictor([pictures[0], pictures[4]]))


@pytest.mark.parametrize("picture, message", [
    (b"no picture", "^the bytes: not a picture, or a kind that Pillow cannot read$"), (b"", "^the bytes: the file is empty$"),
    (io.BytesIO(b"x"), "^<_io.BytesIO object at .*>: not a picture"),
    (np.zeros((4, 4)), r"^an array of float64 \(4, 4\) is no picture; give uint8 \(height, width, 3\), RGB$"),
    (np.zeros((4, 4, 3)), r"^an array of float64 \(4, 4, 3\) is no picture"),
    (np.zeros((4, 4, 1), np.uint8), r"^an array of uint8 \(4, 4, 1\) is no picture"),
    ("none.png", "^none.png: cannot be read: No such")])
def test_what_is_no_picture_is_told_in_a_line(predictor, picture, message):
    with pytest.raises(UserError, match=message):
        predictor([picture])


def test_an_unreadable_file_keeps_its_place_among_the_good_ones(predictor, pictures, files, tmp_path):
    (tmp_path / "bad.png").write_text("no picture")
    places = [tmp_path / "bad.png", files[0], files[1], tmp_path / "none.png", files[2]]
    for batch_size in (1, 2, 64):
        answers = list(predictor.files(places, batch_size=batch_size))
        assert [path for path, _ in answers] == places
        errors = {i: str(answer) for i, (_, answer) in enumerate(answers) if isinstance(answer, UserError)}
        assert set(errors) == {0, 3} and "bad.png: not a picture" in errors[0] and "No such file" in errors[3]
        np.testing.assert_allclose([answers[i][1] for i in (1, 2, 4)], predictor(pictures[:3]), atol=1e-6)
    with pytest.raises(UserError, match=r"bad\.png: not a picture"):
        predictor(places)


def test_files_reads_no_further_ahead_than_a_batch_or_two(predictor, files):
    taken = []

    def source():
        for _ in range(50):
            taken.append(1)
            yield files[0]

    next(predictor.files(source(), batch_size=3))
    assert len(taken) <= 6


def test_files_are_decoded_while_the_network_computes(predictor, files, monkeypatch):
    """The first batch of two is not answered before the second one is decoded."""
    decoded, waited = threading.Semaphore(0), []

    def decode_and_tell(path, size):
        image = decode(path, size)
        decoded.release()
        return image

    class Engine:
        def __call__(self, images):
            if len(waited) < 3:                    # then no more files come
                waited.append([decoded.acquire(timeout=5) for _ in range(2 if waited else 4)])
            return Outputs(np.zeros((len(images), 10), np.float32), None)

    monkeypatch.setattr("paddle_cls.inference.decoding.decode", decode_and_tell)
    monkeypatch.setattr(predictor, "engine", Engine())
    assert len(list(predictor.files(files[:4] * 2, batch_size=2))) == 8
    assert waited == [[True] * 4, [True] * 2, [True] * 2]


def test_no_images(predictor):
    with pytest.raises(ValueError, match="no images"):
        predictor([])
    assert list(predictor.files([])) == []


def test_the_model_stays_in_eval_mode_without_gradients(predictor, pictures):
    before = {name: value.numpy().copy() for name, value in predictor.model.state_dict().items()}
    predictor.model.train()
    assert np.array_equal(predictor(pictures), predictor(pictures)) and predictor.model.training
    after = predictor.model.state_dict()
    assert all(np.array_equal(before[name], after[name].numpy()) for name in before)
    predictor.model.eval()


def test_the_checkpoint_may_be_named_in_any_way(run_folder, predictor, tmp_path, monkeypatch):
    first = predictor.model.fc.weight.numpy()
    for place in (run_folder, str(run_folder), run_folder / "best", run_folder / "best.pdparams", run_folder / "last.json",
                  run_folder / "last.pdopt"):
        found = Predictor.from_checkpoint(place, device="cpu")
        assert np.array_equal(found.model.fc.weight.numpy(), first)
        assert found.classes == list(cifar10.CLASSES) and found.image_size == 32
        assert found.normalization.mean == list(CIFAR10.mean)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run_folder, tmp_path / "output" / "deep" / "run")
    assert np.array_equal(Predictor.from_checkpoint(device="cpu").model.fc.weight.numpy(), first)


@pytest.mark.parametrize("change", [
    lambda info: info["model"].update(arguments={"depth": 14}), lambda info: info["classes"].reverse(),
    lambda info: info["normalization"].update(std=[1, 0, 1]), lambda info: info.update(image_size=0),
    lambda info: info.update(more=1), lambda info: info.pop("epoch"),
])
def test_an_edited_description_is_refused(run_folder, tmp_path, change):
    shutil.copytree(run_folder, tmp_path / "run")
    info = json.loads((tmp_path / "run" / "best.json").read_text())
    change(info)
    (tmp_path / "run" / "best.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match=r"best\.json: changed since it was saved \(checksum differs\); use another checkpoint"):
        Predictor.from_checkpoint(tmp_path / "run", device="cpu")


@pytest.mark.parametrize("about, message", [
    ({"model": {"name": "resnext", "arguments": {}}}, "unknown model 'resnext'; did you mean 'resnet'"),
    ({"model": {"arguments": {}}}, r"best\.json: model\.name is missing; use another"),
    ({"model": {"name": "resnet", "arguments": {"width": 8}}}, "model 'resnet' takes no width"),
    ({"classes": ["a", "b"]}, r"best\.pdparams: fc\.weight has shape \(64, 10\), the model needs \(64, 2\)"),
    ({"normalization": {"mean": [0, 0, 0]}}, r"best\.json: normalization\.std is missing; use another"),
    ({"classes": "cat"}, r"best\.json: classes: 'cat' is not a list; use another"),
])
def test_a_description_that_does_not_fit_is_refused(run_folder, tmp_path, about, message):
    """As another version of this package might write it, with its right checksum."""
    model = build_model("resnet", 10, depth=8)
    checkpoint.save(tmp_path / "best", model, None, checkpoint.read_info(run_folder / "best"))
    info = {**json.loads((tmp_path / "best.json").read_text()), **about}
    info["sha256"][".json"] = hash_of(info)
    (tmp_path / "best.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match=message):
        Predictor.from_checkpoint(tmp_path, device="cpu")


def test_without_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no checkpoint under output/; train one first: python train\.py .*--checkpoint"):
        Predictor.from_checkpoint()
    assert not exists(tmp_path / "best")
