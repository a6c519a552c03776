"""What `--augment` takes: recipes and pieces of augmentation by name, and the one function that they make together."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ... import named
from ...errors import UserError, unknown
from ...system.threads import stacked
from ..images.source import Images
from ..images.transforms import resize
from .functional import affine, erase, flip, jitter, padded_crop, randaugment, random_crop_flip, random_fundus, resized_crop

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # uint8 (H, W, 3) -> uint8 (size, size, 3)
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]   # uint8 (B, size, size, 3) -> the same
BatchAugment = Callable[[Images, np.random.Generator], np.ndarray]     # B of them -> (B, size, size, 3)


class Number(NamedTuple):
    """What a piece can be given: its default and its bounds, which are allowed. A whole default asks for whole numbers."""

    default: int | float
    low: float
    high: float


# The pieces, in the order in which they are applied, and their numbers.
PIECES: dict[str, tuple[Number, ...]] = {
    "resized_crop": (Number(0.08, 0.01, 1),),      # smallest share of the area
    "crop": (Number(4, 1, 256),),                  # pixels of reflected border
    "flip": (Number(0.5, 0, 1),),                  # probability
    "vflip": (Number(0.5, 0, 1),),                 # probability
    "fundus": (),
    "rotate": (Number(15.0, 0, 180),),             # degrees
    "shift": (Number(0.1, 0, 1),),                 # share of the side
    "zoom": (Number(0.2, 0, 0.9),),                # factor 1 - zoom to 1 + zoom
    "shear": (Number(10.0, 0, 60),),               # degrees
    "jitter": (Number(0.4, 0, 1),),                # of brightness, contrast and saturation: factor 1 - jitter to 1 + jitter
    "hue": (Number(0.1, 0, 0.5),),                 # share of the colour circle
    "randaugment": (Number(2, 1, 14), Number(9.0, 0, 10)),   # operations x magnitude
    "erase": (Number(0.25, 0, 1),),                # probability
}
RECIPES = {
    "none": "",
    "crop_flip": "crop=4,flip",                    # small images such as CIFAR-10's
    "standard": "resized_crop,flip",
    "photo": "resized_crop=0.35,flip,rotate=10,jitter=0.2",  # some hundred photographs
    "strong": "resized_crop,flip,randaugment=2x9,erase=0.25",
}


def parse(text: str) -> dict[str, tuple[float, ...]]:
    """Return {piece: its numbers} of a list such as "standard,jitter=0.4,randaugment=2x9".

    The names are those of PIECES and RECIPES, and module:function for the user's own (see `own_changes`). Raises UserError for
    another name, for a piece that is there twice, and for numbers that it cannot take.
    """
    found: dict[str, tuple[float, ...]] = {}
    for entry in text.split(","):
        name, has_value, value = entry.strip().partition("=")
        if named.is_named(name):
            named.check(name, "--augment")
        elif name not in PIECES and name not in RECIPES:
            raise UserError(f"--augment: {unknown('piece', name, PIECES | RECIPES)}")
        if has_value and not PIECES.get(name):
            raise UserError(f"--augment: {name}={value}: {name} takes no number")
        if name in RECIPES:
            inside = parse(RECIPES[name]) if RECIPES[name] else {}
        else:
            numbers = PIECES.get(name, ())         # a function of the user's takes none
            inside = {name: _numbers(name, value) if has_value else tuple(number.default for number in numbers)}
        for piece in inside:
            if piece in found:
                raise UserError(f"--augment: {text!r} has {piece} twice")
        found |= inside
    return found


def _numbers(name: str, text: str) -> tuple[float, ...]:
    wanted, given = PIECES[name], text.split("x")
    if len(given) != len(wanted):
        raise UserError(f"--augment: {name}={text}: write it as {name}={'x'.join(f'{n.default:g}' for n in wanted)}")
    values = []
    for part, number in zip(given, wanted, strict=True):
        try:
            if "_" in part or not part.isascii():  # Python's own ways to write numbers
                raise ValueError
            values.append(type(number.default)(part) + 0)        # -0.0 + 0 is 0.0: NumPy draws nothing between 0.0 and -0.0
        except ValueError:
            kind = "a whole number" if isinstance(number.default, int) else "a number"
            raise UserError(f"--augment: {name}={text}: {part!r} is not {kind}") from None
        if not number.low <= values[-1] <= number.high:
            raise UserError(f"--augment: {name}={text}: {part} must be from {number.low:g} to {number.high:g}")
    return tuple(values)


def own_changes(text: str) -> list[Change]:
    """Return the user's own functions in `text` (see `parse`), imported, in their order.

    Each takes what the package's pieces made of a batch, uint8 (B, size, size, 3), and the batch's generator, from which alone
    it may draw; it returns images of the same shape and type.
    """
    def checked(name: str) -> Change:
        function = named.load(name, "--augment")

        def change(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            changed = np.asarray(function(images, rng))
            if changed.shape != np.shape(images) or changed.dtype != np.uint8:
                raise UserError(f"--augment {name}: gives {changed.dtype} {changed.shape} of a batch uint8 {np.shape(images)}; "
                                f"it must keep shape and type")
            return changed
        return change
    return [checked(name) for name in parse(text) if named.is_named(name)]


def build(text: str, size: int) -> Augment:
    """Return the function that `text` (see `parse`) stands for: uint8 (H, W, 3) of any size -> uint8 (size, size, 3).

    The pieces are applied in the order of PIECES; without resized_crop the image is first brought to size as for
    evaluation. rotate, shift, zoom and shear are one warp, jitter and hue one change of colour. Fit for threads, each image
    with a generator of its own.
    """
    pieces: dict[str, tuple[Any, ...]] = {**parse(text)}     # counts and pixels are int, the others float
    moves = {name: pieces[name][0] for name in ("rotate", "shift", "zoom", "shear") if name in pieces}
    light = {name: pieces["jitter"][0] for name in ("brightness", "contrast", "saturation") if "jitter" in pieces}
    light |= {"hue": pieces["hue"][0]} if "hue" in pieces else {}

    def augment(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if "resized_crop" in pieces:
            image = resized_crop(image, rng, size, area=(pieces["resized_crop"][0], 1))
        else:
            image = resize(image, size)
        if "crop" in pieces:
            image = padded_crop(image, rng, *pieces["crop"])
        if "flip" in pieces:
            image = flip(image, rng, *pieces["flip"])
        if "vflip" in pieces:
            image = flip(image, rng, *pieces["vflip"], axis=0)
        if "fundus" in pieces:
            image = random_fundus(image[None], rng)[0]
        if moves:
            image = affine(image, rng, **moves)
        if light:
            image = jitter(image, rng, **light)
        if "randaugment" in pieces:
            image = randaugment(image, rng, *pieces["randaugment"])
        if "erase" in pieces:
            image = erase(image, rng, *pieces["erase"])
        return image

    return augment


_WHOLE_BATCHES = {"none": lambda images, rng: images, "crop_flip": random_crop_flip, "fundus": random_fundus}


def batched(text: str, size: int) -> BatchAugment:
    """Return the function that augments a batch: B images uint8 (H, W, 3), generator -> uint8 (B, size, size, 3).

    Several threads take and augment the images, each with a generator of its own, seeded by the batch's. A batch of
    images of one size (one array) goes through "none", "crop_flip" and "fundus" as a whole, and is brought to size after
    that. The user's own functions come last, each with the whole batch.
    """
    one, whole, own = build(text, size), _WHOLE_BATCHES.get(text), own_changes(text)

    def augment(images: Images, rng: np.random.Generator) -> np.ndarray:
        shape = (size, size, 3)
        if whole and isinstance(images, np.ndarray):
            changed = whole(images, rng)
            if changed.shape[1:] == shape:
                return changed
            return stacked(lambda index: resize(changed[index], size), len(images), shape, np.uint8)
        seeds = rng.integers(2**63, size=len(images)).tolist()   # rng.spawn takes 20 times as long, in this thread alone
        done = stacked(lambda index: one(images[index], np.random.default_rng(seeds[index])), len(images), shape, np.uint8)
        for change in own:
            done = change(done, rng)
        return done

    return augment
