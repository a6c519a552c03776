"""Each augmentation against what it says: boxes and their spread, pixels that are known, and the generator as the only chance."""

import numpy as np
import pytest
from fakes import rgb

from paddle_cls.data.augment import functional
from paddle_cls.data.augment.functional import (
    crop_box,
    erase,
    jitter,
    padded_crop,
    randaugment,
    recolour,
    resized_crop,
    warp,
)
from paddle_cls.data.images.transforms import resize


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def assert_uniform(values: np.ndarray, low: float, high: float, slack: float = 0.03) -> None:
    """Compare the values' distribution function with the uniform one at 19 places."""
    levels = np.linspace(0.05, 0.95, 19)
    share = (np.asarray(values)[:, None] <= low + levels * (high - low)).mean(0)
    assert np.abs(share - levels).max() < slack and values.min() >= low and values.max() <= high


@pytest.mark.parametrize("height, width", [(200, 200), (400, 500)])
def test_crops_have_the_stated_areas_aspects_and_places(height, width):
    draws, area, aspect = rng(), (0.1, 0.35), (0.5, 1.2)       # width / height
    boxes = np.array([crop_box(height, width, draws, area=area, aspect=aspect) for _ in range(4000)])
    top, left, rows, columns = boxes.T
    assert (top >= 0).all() and (left >= 0).all() and (top + rows <= height).all() and (left + columns <= width).all()
    assert (top == 0).any() and (top + rows == height).any() and (left == 0).any() and (left + columns == width).any()
    assert_uniform(np.clip(rows * columns / (height * width), *area), *area)       # clipped: the sides are whole pixels
    assert_uniform(np.clip(np.log(columns / rows), *np.log(aspect)), *np.log(aspect))
    assert_uniform(top / (height - rows), 0, 1)
    assert_uniform(left / (width - columns), 0, 1)


def test_the_default_crops_are_those_of_the_field():
    draws = rng()
    boxes = np.array([crop_box(224, 224, draws) for _ in range(2000)])
    share = boxes[:, 2] * boxes[:, 3] / 224**2
    assert 0.079 < share.min() < 0.09 and 0.95 < share.max() <= 1
    ratio = boxes[:, 3] / boxes[:, 2]
    assert 0.74 < ratio.min() < 0.76 and 1.32 < ratio.max() < 1.35


@pytest.mark.parametrize("height, width, box", [(10, 100, (0, 43, 10, 13)), (100, 10, (43, 0, 13, 10)), (1, 1, (0, 0, 1, 1))])
def test_where_no_crop_fits_the_middle_is_taken(height, width, box):
    found = {crop_box(height, width, rng(seed), area=(0.99, 1.0)) for seed in range(30)}
    assert found == {box}


def test_a_resized_crop_is_the_box_brought_to_size(monkeypatch):
    picture = rgb(0, 60, 80)
    monkeypatch.setattr(functional, "crop_box", lambda *sizes, **_: (10, 20, 32, 48))
    part = picture[10:42, 20:68].astype(float)
    blocks = part.reshape(16, 2, 16, 3, 3).mean((1, 3))
    assert np.abs(resized_crop(picture, rng(), 16) - blocks).max() <= 0.5 + 1e-6    # to shrink: the mean of the area
    large = resized_crop(np.repeat(np.repeat(rgb(1, 30, 40), 2, 0), 2, 1), rng(), 96)
    assert large.shape == (96, 96, 3) and large.dtype == np.uint8
    monkeypatch.setattr(functional, "crop_box", lambda *sizes, **_: (10, 20, 16, 16))
    assert np.array_equal(resized_crop(picture, rng(), 16), picture[10:26, 20:36])


def test_to_enlarge_a_crop_is_bilinear(monkeypatch):
    ramp = np.repeat(np.arange(0, 200, 20, dtype=np.uint8)[None, :, None], 10, 0).repeat(3, 2)
    monkeypatch.setattr(functional, "crop_box", lambda *sizes, **_: (0, 0, 10, 10))
    assert np.abs(np.diff(resized_crop(ramp, rng(), 40)[20, 4:-4, 0].astype(int)) - 5).max() <= 1


def test_a_padded_crop_is_a_window_of_the_reflected_image():
    picture, draws, seen = rgb(2, 9, 7), rng(), set()
    padded = np.pad(picture, ((3, 3), (3, 3), (0, 0)), mode="reflect")
    windows = {padded[y:y + 9, x:x + 7].tobytes(): (y, x) for y in range(7) for x in range(7)}
    for _ in range(300):
        seen.add(windows[padded_crop(picture, draws, 3).tobytes()])
    assert len(seen) == 49


def test_flips_mirror_with_their_probability():
    picture, draws = rgb(3, 6, 8), rng()
    assert np.array_equal(functional.flip(picture, draws, 1), picture[:, ::-1])
    assert np.array_equal(functional.flip(picture, draws, 1, axis=0), picture[::-1])
    assert functional.flip(picture, draws, 0) is picture
    view = rgb(3, 16, 12)[2:14, ::-1][:, :, ::-1]  # mirrored in memory, channels turned: as good as any
    for change in (warp, recolour, *functional.OPERATIONS.values()):
        arguments = () if change in (warp, recolour) else (0.5,)
        assert np.array_equal(change(view, *arguments), change(view.copy(), *arguments))
    mirrored = sum(functional.flip(picture, draws, 0.3) is not picture for _ in range(2000))
    assert 530 < mirrored < 670                    # 600 +- 3.4 standard deviations


@pytest.mark.parametrize("change, expected", [
    ({}, lambda a: a),
    ({"angle": 90}, np.rot90),
    ({"angle": -90}, lambda a: np.rot90(a, -1)),
    ({"angle": 180}, lambda a: a[::-1, ::-1]),
    ({"shift": (2 / 16, 0)}, lambda a: np.pad(a, ((0, 0), (2, 0), (0, 0)), "reflect")[:, :16]),
    ({"shift": (0, -3 / 16)}, lambda a: np.pad(a, ((0, 3), (0, 0), (0, 0)), "reflect")[3:]),
    ({"zoom": 3}, lambda a: a[5:11, 5:11]),
])
def test_warps_move_pixels_where_they_say(change, expected):
    picture = rgb(4, 16, 16)
    found = warp(picture, **change)
    if "zoom" in change:                           # the middle 6 x 6 pixels, spread by 3 about 7.5: pixel 5 + i lies at 3 i
        found = found[0::3, 0::3]
    assert found.dtype == np.uint8 and np.array_equal(found, expected(picture))


def test_a_shear_leans_lines_by_its_degrees():
    picture = np.zeros((41, 41, 3), np.uint8)
    picture[:, 20] = 255
    lean = warp(picture, shear=(45, 0))[:, :, 0]
    assert [int(row.argmax()) for row in lean[5:36]] == [*range(5, 36)]              # x moves by y - middle
    picture = picture.transpose(1, 0, 2).copy()
    lean = warp(picture, shear=(0, np.degrees(np.arctan(0.5))))[:, :, 0]
    assert [int(column.argmax()) for column in lean.T[10:31:2]] == [*range(15, 26)]


def test_affine_draws_within_its_bounds(monkeypatch):
    calls = []
    monkeypatch.setattr(functional, "warp", lambda image, **change: calls.append(change) or image)
    draws = rng()
    for _ in range(2000):
        functional.affine(rgb(0), draws, rotate=20, shift=0.1, zoom=0.3, shear=5)
    assert_uniform(np.array([c["angle"] for c in calls]), -20, 20)
    assert_uniform(np.log([c["zoom"] for c in calls]), np.log(0.7), np.log(1.3))
    for name, bound in (("shift", 0.1), ("shear", 5)):
        for axis in (0, 1):
            assert_uniform(np.array([c[name][axis] for c in calls]), -bound, bound)


def test_affine_by_nothing_changes_nothing():
    assert np.array_equal(functional.affine(rgb(5), rng()), rgb(5))


def test_colours_in_numbers():
    picture = rgb(6, 12, 10)
    exact = picture.astype(float)
    grey = exact @ functional.LUMA
    expected = {
        "brightness": exact * 0.6,
        "contrast": grey.mean() + 0.6 * (exact - grey.mean()),
        "saturation": grey[..., None] + 0.6 * (exact - grey[..., None]),
    }
    for name, value in expected.items():
        found = recolour(picture, **{name: 0.6})
        assert found.dtype == np.uint8 and np.abs(found - value).max() <= 0.75, name      # OpenCV counts in fixed point
    both = grey.mean() * 1.4 + 0.5 * (exact * 1.4 - grey.mean() * 1.4)
    assert np.abs(recolour(picture, brightness=1.4, contrast=0.5) - both.clip(0, 255)).max() <= 0.75
    assert (recolour(picture, brightness=9)[exact.min(-1) > 29] == 255).all()


def test_hues_turn_about_grey():
    picture = rgb(7, 12, 10) // 4 + 96             # pale, so that nothing is cut off
    for hue in (0.1, -0.25, 0.5):
        turned = recolour(picture, hue=hue).astype(float)
        assert np.abs(turned @ functional.LUMA - picture @ functional.LUMA).max() <= 1 and np.abs(turned - picture).max() > 5
        assert np.abs(recolour(turned.astype(np.uint8), hue=-hue).astype(int) - picture).max() <= 2
    grey = np.repeat(rgb(8)[:, :, :1], 3, 2)
    assert np.abs(recolour(grey, hue=0.3).astype(int) - grey).max() <= 1


def test_a_jitter_by_nothing_changes_nothing():
    assert np.array_equal(jitter(rgb(9), rng()), rgb(9)) and np.array_equal(recolour(rgb(9)), rgb(9))


def test_jitter_draws_within_its_bounds(monkeypatch):
    calls = []
    monkeypatch.setattr(functional, "recolour", lambda image, **change: calls.append(change) or image)
    draws = rng()
    for _ in range(2000):
        jitter(rgb(0), draws, brightness=0.2, contrast=0.4, saturation=1.0, hue=0.1)
    for name, bound in (("brightness", 0.2), ("contrast", 0.4), ("saturation", 1.0)):
        assert_uniform(np.array([c[name] for c in calls]), 1 - bound, 1 + bound)
    assert_uniform(np.array([c["hue"] for c in calls]), -0.1, 0.1)


def test_erasing_fills_one_rectangle_of_the_stated_area():
    draws, picture, shares, ratios = rng(), np.zeros((64, 64, 3), np.uint8), [], []
    for _ in range(600):
        changed = erase(picture, draws, 1).any(-1)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert changed.sum() > 0.99 * height * width - 1                # a random pixel may be black
        shares.append(height * width / 64**2)
        ratios.append(height / width)
    assert 0.015 < min(shares) < 0.05 and 0.35 < max(shares) < 0.42
    assert 0.26 < min(ratios) < 0.4 and 2.5 < max(ratios) < 3.9
    assert not picture.any()                       # the image given is as it was
    assert erase(picture, draws, 0) is picture
    assert 200 < sum(erase(picture, draws, 0.5) is picture for _ in range(500)) < 300
    assert 100 < erase(picture, draws, 1, area=(0.4, 0.4))[:, :, 0].max() <= 255
    assert erase(np.zeros((1, 1, 3), np.uint8), draws, 1).shape == (1, 1, 3)


@pytest.mark.parametrize("name", sorted(functional.OPERATIONS))
def test_an_operation_of_randaugment(name):
    picture = resize(rgb(10, 12, 12), 48) // 2 + 40          # smooth, and of middle brightness
    nothing, plus, minus = (functional.OPERATIONS[name](picture, strength) for strength in (0.0, 0.9, -0.9))
    for out in (nothing, plus, minus):
        assert out.shape == picture.shape and out.dtype == np.uint8
    if name in ("autocontrast", "equalize"):
        assert nothing.min() == 0 and nothing.max() == 255 and np.array_equal(plus, nothing)
    else:
        assert np.array_equal(nothing, picture)
        assert np.array_equal(plus, picture) == (name == "identity")
    if name in ("solarize", "posterize", "autocontrast", "equalize", "identity"):
        assert np.array_equal(plus, minus)
    else:
        assert not np.array_equal(plus, minus)


def test_operations_in_numbers():
    picture = np.array([[[0, 100, 255], [25, 26, 200]]], np.uint8)
    assert functional.OPERATIONS["solarize"](picture, 0.9).tolist() == [[[0, 155, 0], [25, 229, 55]]]  # from 26 on: 255 - x
    assert functional.OPERATIONS["posterize"](picture, 1.0).tolist() == [[[0, 96, 240], [16, 16, 192]]]  # 4 bits
    square = rgb(11, 40, 40)
    assert np.array_equal(functional.OPERATIONS["translate_x"](square, 1 / 0.45 / 4)[:, 10:], square[:, :30])
    assert np.array_equal(functional.OPERATIONS["translate_y"](square, -1 / 0.45 / 4)[:30], square[10:])
    assert (functional.OPERATIONS["translate_x"](square, 1 / 0.45 / 4)[:, :10] == 128).all()    # outside lies grey
    assert np.array_equal(functional.OPERATIONS["rotate"](square, 3.0), np.rot90(square))
    assert np.array_equal(functional.OPERATIONS["color"](square, 0.5), recolour(square, saturation=1.45))


def test_randaugment_draws_operations_and_directions(monkeypatch):
    calls = []
    for name in functional.OPERATIONS:
        monkeypatch.setitem(functional.OPERATIONS, name, lambda image, how, name=name: calls.append((name, how)) or image)
    draws = rng()
    for _ in range(700):
        randaugment(rgb(0), draws, 3, 6.0)
    assert len(calls) == 2100
    counts = {name: sum(called == name for called, _ in calls) for name in functional.OPERATIONS}
    assert min(counts.values()) > 100 and max(counts.values()) < 200                  # 150 +- 4 standard deviations
    assert {strength for _, strength in calls} == {0.6, -0.6}
    assert 950 < sum(strength > 0 for _, strength in calls) < 1150


def test_randaugment_at_magnitude_0_is_made_of_identities(monkeypatch):
    for name in ("autocontrast", "equalize"):
        monkeypatch.delitem(functional.OPERATIONS, name)
    assert all(np.array_equal(randaugment(rgb(12), rng(seed), 4, 0.0), rgb(12)) for seed in range(10))
