"""Test-time augmentation: the views against pictures mirrored and cut by hand, their mean, and the flags."""

import json

import numpy as np
import pytest
from fakes import rgb

from paddle_cls.data.images.transforms import CIFAR10, resize
from paddle_cls.data.images.views import TTA, eval_views
from paddle_cls.errors import UserError
from paddle_cls.evaluation import metrics
from paddle_cls.inference.predictor import Predictor
from paddle_cls.programs import infer, train
from paddle_cls.programs.settings import fields

PICTURES = [rgb(1), rgb(2, 50, 70), rgb(3, 33, 40)]


def by_hand(picture: np.ndarray, tta: str, size: int = 32) -> list[np.ndarray]:
    """Return the views of one picture as pictures uint8 (size, size, 3)."""
    plain = resize(picture, size)
    if tta == "crops":
        large = resize(picture, 37)                # 32 * 8 / 7 is 36.6
        cuts = [large[:32, :32], large[:32, 5:], large[5:, :32], large[5:, 5:], large[2:34, 2:34]]
        return [view for cut in cuts for view in (cut, cut[:, ::-1])]
    return {"none": [plain], "flip": [plain, plain[:, ::-1]],
            "flips": [plain, plain[:, ::-1], plain[::-1], plain[::-1, ::-1]]}[tta]


@pytest.mark.parametrize("tta, count", [("none", 1), ("flip", 2), ("flips", 4), ("crops", 10)])
def test_views(tta, count):
    views = eval_views(PICTURES, 32, tta)
    assert len(views) == count and all(view.shape == (3, 32, 32, 3) and view.dtype == np.uint8 for view in views)
    for i, picture in enumerate(PICTURES):
        expected = {view.tobytes() for view in by_hand(picture, tta)}
        assert len(expected) == count and {view[i].tobytes() for view in views} == expected


def test_crops_of_224_pixels_are_cut_from_256():
    image = np.arange(256 * 256 * 3, dtype=np.uint32).astype(np.uint8).reshape(256, 256, 3)
    views = eval_views([image], 224, "crops")
    np.testing.assert_array_equal(views[3][0], image[32:, 32:])
    np.testing.assert_array_equal(views[9][0], image[16:240, 16:240][:, ::-1])


@pytest.mark.parametrize("tta", TTA)
def test_the_predictor_answers_with_the_mean_of_the_views(run_folder, tta):
    plain, averaged = (Predictor.from_checkpoint(run_folder, device="cpu", tta=name) for name in ("none", tta))
    expected = [np.mean([plain([view])[0] for view in by_hand(picture, tta)], axis=0) for picture in PICTURES]
    np.testing.assert_allclose(averaged(PICTURES, batch_size=2), expected, atol=2e-6)
    assert tta == "none" or np.abs(plain(PICTURES) - expected).max() > 1e-4
    np.testing.assert_array_equal(averaged.features(PICTURES), plain.features(PICTURES))


def test_the_mean_of_probabilities_is_kept_as_logits():
    rng = np.random.default_rng(0)
    for classes in (1, 2, 5):
        views = [rng.normal(size=(20, classes)).astype(np.float32) * 4 for _ in range(3)]
        mean = metrics.mean_of_views(views)
        assert mean.dtype == np.float32 and mean.shape == (20, classes)
        shares = [metrics.probabilities(view) for view in views]
        np.testing.assert_allclose(metrics.probabilities(mean), np.mean(shares, axis=0), atol=1e-6)
        np.testing.assert_allclose(metrics.probabilities(metrics.mean_of_views(views[:1])), shares[0], atol=1e-6)
    far = metrics.mean_of_views([np.array([[200.0], [-200.0]]), np.array([[300.0], [-300.0]])])
    np.testing.assert_allclose(far[:, 0], [200 + np.log(2), -200 - np.log(2)])         # no 0 or 1 on the way


def test_the_verdict_uses_the_mean(run_folder):
    network = Predictor.from_checkpoint(run_folder, device="cpu").model
    predictor = Predictor(lambda: network, ["no", "yes"], 32, CIFAR10, threshold=0.5, tta="flip")
    predictor.model.forward = lambda images: images[:, :1, 0, 0]           # a logit: the red of the top left corner
    image = np.zeros((32, 32, 3), np.uint8)
    image[0, 0, 0] = 255                                                   # 2.1 there, -2.0 in the mirror
    red = CIFAR10(image[None])[0, 0, 0]
    share = predictor([image])[0]
    assert share[1] == pytest.approx(np.mean(1 / (1 + np.exp(-red[[0, -1]]))), abs=1e-6)
    assert predictor.verdict(share)["verdict"] == "yes"
    image[0, 0, 0] = 0
    assert predictor.verdict(predictor([image])[0])["verdict"] == "no"


def test_the_names_are_the_same_everywhere():
    for config in (fields.Config, fields.InferConfig, fields.ReportConfig):
        assert config.__dataclass_fields__["tta"].metadata["choices"] == tuple(TTA)
    with pytest.raises(UserError, match="unknown tta 'flp'; did you mean 'flips?'"):
        Predictor(None, [], 32, CIFAR10, tta="flp")


def test_infer_and_eval_only_take_it(call, here, run_folder):
    from PIL import Image
    Image.fromarray(rgb(1)).save("a.png")
    ask = ("--image", "a.png", "--checkpoint", "run", "--device", "cpu", "--format", "json", "--topk", 10)
    best = json.loads(call(infer, *ask, "--tta", "flips").out)[0]["top"]
    expected = Predictor.from_checkpoint(run_folder, device="cpu", tta="flips")([rgb(1)])[0]
    assert [entry["probability"] for entry in best] == pytest.approx(sorted(expected, reverse=True))
    judge = ("--eval-only", "--output-dir", "run", "--data-dir", "data", "--device", "cpu")
    plain, flipped = (json.loads(call(train, *judge, *more).out) for more in ((), ("--tta", "flip")))
    assert (plain["tta"], flipped["tta"]) == ("none", "flip") and plain["loss"] != flipped["loss"]
    images = np.stack([rgb(600 + i) for i in range(4)])                    # the fake test split
    logits = Predictor.from_checkpoint(run_folder, device="cpu", tta="flip").logits(images)
    assert flipped["loss"] == pytest.approx(metrics.losses(logits, np.array([6, 7, 8, 9])).mean(), rel=1e-5)


def test_wrong_flags(refused):
    refused(train, "--tta flip: goes with --eval-only; a training evaluates the plain images", "--tta", "flip",
            "--data-dir", "data", "--output-dir", "new")
    refused(infer, "--tta: unknown value 'mirror'; known: crops, flip, flips, none", "--image", "file", "--tta", "mirror")
