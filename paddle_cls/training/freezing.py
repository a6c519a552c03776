"""Which layers of a network train in which epoch: some never, or one part after the other from the head downwards."""

from collections.abc import Collection, Sequence

from paddle import nn

from ..errors import UserError, unknown
from ..paddle_internals import keep_statistics, keeps_statistics, norms


def inside(name: str, layers: Collection[str]) -> bool:
    """Return whether a weight or layer is one of `layers` or in one, by its name: "res1.0.conv1" is in "res1"."""
    return any(f"{name}.".startswith(f"{layer}.") for layer in layers)


def body(model: nn.Layer, head: Collection[str]) -> list[str]:
    """Return the parts of a network below its head, the first first: its own layers that hold weights.

    head: names of the head's weights (`models.head`). A layer that holds some of them is taken apart.
    """
    found: dict[str, None] = {}
    for name, weight in model.named_parameters():
        if not weight.stop_gradient and name not in head:
            pieces = name.split(".")
            whole = (".".join(pieces[:count]) for count in range(1, len(pieces) + 1))
            found[next(part for part in whole if not any(inside(weight, [part]) for weight in head))] = None
    return list(found)


def choose(what: str, model: nn.Layer, head: Collection[str]) -> list[str]:
    """Return the layers that `--freeze` means, in the network's order.

    what: "body", all parts that `body` finds; a number, so many of them from the first on; or names of layers, as
    "conv1,res1". Raises UserError for anything else.
    """
    parts = body(model, head)
    if what == "body":
        return parts
    if what.isascii() and what.isdigit():
        if not 1 <= int(what[:9]) <= len(parts):
            raise UserError(f"--freeze {what}: below its head this network has {len(parts)} parts: {', '.join(parts)}")
        return parts[:int(what[:9])]
    names = [name for name, _ in model.named_parameters()]
    layers = {".".join(name.split(".")[:count]) for name in names for count in range(1, name.count(".") + 1)}
    wanted = [layer.strip() for layer in what.split(",")]
    for layer in wanted:
        if layer not in layers:
            raise UserError(f"--freeze: {unknown('layer', layer, {*parts, *layers} if layer else parts)}; or body, or how "
                            f"many of its parts")
    order = {layer: next(i for i, name in enumerate(names) if inside(name, [layer])) for layer in wanted}
    return sorted((layer for layer in order if not inside(layer, set(order) - {layer})), key=order.__getitem__)


class Freezer:
    """The layers of `model` that are frozen: their weights stay, and their batch norms use and keep their statistics.

    With `unfreeze_epochs` the last of them thaws after so many epochs, the one before after twice as many, and so on (gradual
    unfreezing: Howard and Ruder 2018, arXiv 1801.06146, who thaw one each epoch). Without it they are frozen from now on,
    and what asks for the trainable weights (optimizer, averages, DataParallel) does not see theirs.
    """

    def __init__(self, model: nn.Layer, layers: Sequence[str] = (), *, unfreeze_epochs: int | None = None,
                 freeze_bn: bool = False):
        """layers: of `choose`. freeze_bn: all batch norms keep their statistics; their scale and shift train.

        Raises UserError where nothing is left to train, or nothing to thaw.
        """
        self.layers, self.unfreeze_epochs, self.freeze_bn = list(layers), unfreeze_epochs, freeze_bn
        self.weights = {name: weight for name, weight in model.named_parameters() if not weight.stop_gradient}
        self.norms = {name: (layer, keeps_statistics(layer)) for name, layer in norms(model)}
        self.said = ""
        if unfreeze_epochs and not layers:
            raise UserError("--unfreeze-epochs: nothing is frozen; say what with --freeze, such as --freeze body")
        if all(inside(name, layers) for name in self.weights):
            raise UserError(f"--freeze: with {', '.join(layers)} frozen nothing is left to train")
        if not unfreeze_epochs:
            self._freeze(self.layers)

    def start_epoch(self, epoch: int) -> str:
        """Freeze and thaw what `epoch` (from 0) asks for; return a line if that is another state than in the last call."""
        thawed = epoch // self.unfreeze_epochs if self.unfreeze_epochs else 0
        frozen = self.layers[:max(0, len(self.layers) - thawed)]
        self._freeze(frozen)
        free = sum(int(weight.size) for weight in self.weights.values() if not weight.stop_gradient)
        whole = sum(int(weight.size) for weight in self.weights.values())
        text = f"frozen: {', '.join(frozen) or 'no weights'}; {free:,} of {whole:,} weights train"
        text += "; the statistics of all batch norms stay" if self.freeze_bn and self.norms else ""
        text = text if self.layers or self.freeze_bn else ""
        before, self.said = self.said, text
        return text if text != before else ""

    def _freeze(self, layers: Sequence[str]) -> None:
        for name, weight in self.weights.items():
            weight.stop_gradient = inside(name, layers)
        for name, (layer, usual) in self.norms.items():
            keep_statistics(layer, True if self.freeze_bn or inside(name, layers) else usual)
