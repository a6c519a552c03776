"""`--augment`: what its text means, what it cannot mean, and that the composed function does exactly that."""

import re
import threading

import numpy as np
import pytest
from fakes import rgb

from paddle_cls.data.augment import functional, recipes
from paddle_cls.data.augment.functional import random_crop_flip, random_fundus
from paddle_cls.data.augment.recipes import PIECES, RECIPES, batched, build, parse
from paddle_cls.data.images.transforms import resize
from paddle_cls.errors import UserError
from paddle_cls.programs.settings.fields import Config

ALL = "resized_crop,crop,flip,vflip,fundus,rotate,shift,zoom,shear,jitter,hue,randaugment,erase"


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("text, pieces", [
    ("none", {}),
    ("standard", {"resized_crop": (0.08,), "flip": (0.5,)}),
    ("crop_flip", {"crop": (4,), "flip": (0.5,)}),
    ("fundus", {"fundus": ()}),
    ("flip", {"flip": (0.5,)}),
    ("rotate=30, shear , erase=1", {"rotate": (30.0,), "shear": (10.0,), "erase": (1.0,)}),
    ("randaugment=1x4.5", {"randaugment": (1, 4.5)}),
    ("standard,jitter=0", {"resized_crop": (0.08,), "flip": (0.5,), "jitter": (0.0,)}),
    ("resized_crop,flip,jitter=0.4,rotate=15,shift=0.1,zoom=0.2,shear=10,erase=0.25,randaugment=2x9", {
        "resized_crop": (0.08,), "flip": (0.5,), "jitter": (0.4,), "rotate": (15.0,), "shift": (0.1,), "zoom": (0.2,),
        "shear": (10.0,), "erase": (0.25,), "randaugment": (2, 9.0)}),
])
def test_what_a_text_means(text, pieces):
    assert parse(text) == pieces


@pytest.mark.parametrize("text, message", [
    ("flipp", "--augment: unknown piece 'flipp'; did you mean 'flip'?"),
    ("standrad", "--augment: unknown piece 'standrad'; did you mean 'standard'?"),
    ("flip,mosaic", "--augment: unknown piece 'mosaic'; known: crop, crop_flip, erase, flip, fundus, hue, jitter, none, photo, "
                    "randaugment, resized_crop, rotate, shear, shift, standard, strong, vflip, zoom"),
    ("", "--augment: unknown piece ''; known: "),
    ("flip,", "--augment: unknown piece ''; known: "),
    ("flip;erase", "--augment: unknown piece 'flip;erase'; "),
    ("standard=0.1", "--augment: standard=0.1: standard takes no number"),
    ("flip,standard", "--augment: 'flip,standard' has flip twice"),
    ("erase=0.1,erase=0.2", "--augment: 'erase=0.1,erase=0.2' has erase twice"),
    ("rotate=", "--augment: rotate=: '' is not a number"),
    ("rotate=far", "--augment: rotate=far: 'far' is not a number"),
    ("rotate=200", "--augment: rotate=200: 200 must be from 0 to 180"),
    ("rotate=-5", "--augment: rotate=-5: -5 must be from 0 to 180"),
    ("rotate=nan", "--augment: rotate=nan: nan must be from 0 to 180"),
    ("rotate=10x20", "--augment: rotate=10x20: write it as rotate=15"),
    ("resized_crop=0", "--augment: resized_crop=0: 0 must be from 0.01 to 1"),
    ("crop=2.5", "--augment: crop=2.5: '2.5' is not a whole number"),
    ("erase=1.5", "--augment: erase=1.5: 1.5 must be from 0 to 1"),
    ("zoom=1", "--augment: zoom=1: 1 must be from 0 to 0.9"),
    ("randaugment=2", "--augment: randaugment=2: write it as randaugment=2x9"),
    ("randaugment=2x9x1", "--augment: randaugment=2x9x1: write it as randaugment=2x9"),
    ("randaugment=2x11", "--augment: randaugment=2x11: 11 must be from 0 to 10"),
    ("randaugment=0x5", "--augment: randaugment=0x5: 0 must be from 1 to 14"),
    ("fundus=1", "--augment: fundus=1: fundus takes no number"),
])
def test_what_a_text_cannot_mean(text, message):
    with pytest.raises(UserError) as caught:
        parse(text)
    assert str(caught.value).startswith(message)


def test_the_help_names_every_recipe_and_every_piece_with_its_default():
    words = set(re.split("[ ,]+", Config.__dataclass_fields__["augment"].metadata["help"]))
    texts = {name + ("=" + "x".join(f"{n.default:g}" for n in numbers) if numbers and "flip" not in name else "")
             for name, numbers in PIECES.items()}
    assert texts | set(RECIPES) <= words


@pytest.mark.parametrize("text", [*RECIPES, *PIECES, "vflip=1,jitter", "flip=1,erase", ALL])
@pytest.mark.parametrize("height, width", [(40, 60), (24, 24), (9, 30)])
def test_any_image_comes_out_in_size_by_its_generator_alone(text, height, width):
    picture = resize(rgb(1, 6, 6), 64)[:height, :width]
    before, change = picture.copy(), build(text, 24)
    np.random.seed(0)
    outs = [change(picture, rng(seed)) for seed in (1, 1, *range(2, 14))]
    assert all(out.shape == (24, 24, 3) and out.dtype == np.uint8 for out in outs)
    assert np.array_equal(outs[0], outs[1]) and np.array_equal(picture, before)
    kinds = {out.tobytes() for out in outs}
    assert len(kinds) == 1 if text == "none" else len(kinds) > 1
    if text == "none":
        assert np.array_equal(outs[0], resize(picture, 24))


@pytest.mark.parametrize("text", ["flip=0", "vflip=0", "rotate=0", "shift=0,zoom=0,shear=0", "jitter=0", "hue=0", "erase=0"])
def test_pieces_at_0_change_nothing(text):
    picture = rgb(2, 24, 24)
    assert np.array_equal(build(text, 24)(picture, rng()), picture)


def test_each_piece_gets_its_numbers_in_one_order(monkeypatch):
    calls = []

    def spy(name):
        return lambda image, rng, *args, **kwargs: calls.append((name, args, kwargs)) or image

    for name in ("resized_crop", "padded_crop", "flip", "affine", "jitter", "randaugment", "erase"):
        assert hasattr(functional, name)
        monkeypatch.setattr(recipes, name, spy(name))
    build("erase=0.6,hue=0.2,jitter=0.3,randaugment=3x4,vflip=0.7,shear=9,rotate=5,flip=0.2,crop=2,resized_crop=0.3", 24)(
        rgb(3, 24, 24), rng())
    assert calls == [
        ("resized_crop", (24,), {"area": (0.3, 1)}), ("padded_crop", (2,), {}), ("flip", (0.2,), {}),
        ("flip", (0.7,), {"axis": 0}), ("affine", (), {"rotate": 5.0, "shear": 9.0}),
        ("jitter", (), {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.2}),
        ("randaugment", (3, 4.0), {}), ("erase", (0.6,), {})]


@pytest.mark.parametrize("name, whole", [("none", lambda images, rng: images), ("crop_flip", random_crop_flip),
                                         ("fundus", random_fundus)])
@pytest.mark.parametrize("size", [16, 10, 24])
def test_a_batch_of_one_array_is_changed_as_ever(name, whole, size):
    images = np.stack([rgb(i, 16, 16) for i in range(7)])
    expected = np.stack([resize(image, size) for image in whole(images, rng(5))])
    assert np.array_equal(batched(name, size)(images, rng(5)), expected)


def test_a_batch_gives_each_image_a_generator_of_its_own():
    images = [rgb(i, 20 + i, 30) for i in range(5)]
    for text in ("standard", "crop_flip", "fundus", ALL):
        found = batched(text, 16)(images, rng(6))
        seeds = rng(6).integers(2**63, size=5)
        alone = [build(text, 16)(image, rng(seed)) for image, seed in zip(images, seeds, strict=True)]
        assert np.array_equal(found, np.stack(alone))
    square = np.stack([rgb(i, 16, 16) for i in range(5)])
    same = np.stack([rgb(0, 16, 16)] * 5)
    assert len({out.tobytes() for out in batched("erase=1", 16)(same, rng())}) == 5
    assert batched("standard", 16)(square, rng()).shape == (5, 16, 16, 3)
    assert batched("standard", 16)(square[:0], rng()).shape == (0, 16, 16, 3)


def test_threads_do_not_disturb_each_other():
    change, pictures = build(ALL, 32), [rgb(i, 50, 40) for i in range(24)]
    alone = [change(picture, rng(i)) for i, picture in enumerate(pictures)]
    found: list = [None] * 24

    def work(part: int) -> None:
        for i in range(part, 24, 4):
            found[i] = change(pictures[i], rng(i))

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(one, other) for one, other in zip(found, alone, strict=True))


def one_by_one(images: np.ndarray, rng: np.random.Generator, padding: int) -> np.ndarray:
    """Return what the recipe gives where the images are not of one size."""
    change = build(RECIPES["crop_flip"].replace("=4", f"={padding}"), 8)
    return np.stack([change(image, rng) for image in images])


@pytest.mark.parametrize("change", [random_crop_flip, one_by_one])
def test_both_ways_of_crop_flip_give_windows_of_the_reflected_image(change):
    images = np.stack([rgb(i, 8, 8) for i in range(60)])
    out = change(images.copy(), np.random.default_rng(0), padding=2)
    assert out.dtype == np.uint8 and out.shape == images.shape
    seen = set()
    for before, after in zip(images, out, strict=True):
        padded = np.pad(before, ((2, 2), (2, 2), (0, 0)), mode="reflect")
        matches = [(y, x, flip) for y in range(5) for x in range(5) for flip in (1, -1)
                   if np.array_equal(padded[y:y + 8, x:x + 8][:, ::flip], after)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert {y for y, _, _ in seen} == {x for _, x, _ in seen} == set(range(5))
    assert len({(y, x) for y, x, _ in seen}) > 12 and 15 < sum(flip == -1 for _, _, flip in seen) < 45
