"""Weights to start from: Paddle's own by name, a .pdparams, a .safetensors (PyTorch's too), or a checkpoint of train.py.

Nothing is passed over in silence: the `LoadReport` names each weight that was loaded, is new, or found no place. Pickles are
read without running code in them.
"""

import importlib
import pkgutil
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from paddle import nn

from ..errors import UserError, unknown
from ..system import cache
from ..system.download import download
from ..system.files import opened
from . import checkpoint
from .info import Description
from .locate import locate
from .storage import exists
from .weights import fitting, read_weights

KINDS = (".pdparams", ".safetensors")
# The ends of a batch norm's names in PyTorch: what Paddle calls it, None for what it does not have.
_NORMS = {"running_mean": "_mean", "running_var": "_variance", "num_batches_tracked": None}


@dataclass
class Weights:
    """The content of a file of weights; of a checkpoint of ours also what its .json says."""

    file: Path
    arrays: dict[str, np.ndarray]
    metadata: Mapping = field(default_factory=dict)                # of a .safetensors
    info: Description | None = None                       # of a checkpoint


@dataclass
class LoadReport:
    """What became of the weights of a file. Lists of (name, what is to be said of it)."""

    source: str
    notes: list[str]
    loaded: list[tuple[str, str]] = field(default_factory=list)
    new: list[tuple[str, str]] = field(default_factory=list)       # of the network, as initialized
    unused: list[tuple[str, str]] = field(default_factory=list)    # of the file

    def short(self) -> str:
        """Return one line."""
        total = len(self.loaded) + len(self.new)
        unused = f"; not used: {_some([name for name, _ in self.unused])}" if self.unused else ""
        return (f"{len(self.loaded)} of {total} weights from {self.source}; new: "
                f"{_some([name for name, _ in self.new]) if self.new else 'none'}{unused}")

    def text(self) -> str:
        """Return everything, as lines."""
        lines = [f"weights from {self.source}", *self.notes]
        groups = {"loaded": self.loaded, "new, as initialized": self.new, "in the file, not used": self.unused}
        for title, entries in groups.items():
            lines += [f"{title}: {len(entries)}", *(f"  {name} {what}" for name, what in entries)]
        return "\n".join(lines) + "\n"


def _some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def published() -> dict[str, tuple[str, str]]:
    """Return {name: (URL, MD5)} of the ImageNet weights that the installed Paddle's own tables tell of."""
    from paddle.vision import models
    modules = (importlib.import_module(f"{models.__name__}.{found.name}") for found in pkgutil.iter_modules(models.__path__))
    return {name: place for module in modules for name, place in getattr(module, "model_urls", {}).items()}


def _plain(name: str) -> str:
    """Return a name such that Paddle's name of the weights and that of the function agree: mobilenetv1_1.0, mobilenet_v1."""
    return re.sub(r"_x?1[._]0$", "", name).replace("_", "")


def fetch(what: str) -> Path:
    """Return the file of weights that `--pretrained` means, downloaded at need and checked.

    what: a .pdparams or .safetensors, a checkpoint or run folder of train.py (its best), or a name: those of Paddle's models
    that `published` knows. Raises UserError where there is no such thing, and for what `download` does.
    """
    path = Path(what)
    if path.is_dir():
        best = locate(path)
        return best.with_name(f"{best.name}.pdparams")
    if path.suffix in KINDS and path.exists():
        return path
    bare = path.with_suffix("") if path.suffix == ".json" else path
    if exists(bare):
        return bare.with_name(f"{bare.name}.pdparams")
    takes = "--pretrained takes a .pdparams, a .safetensors, a run folder, or the name of a model of Paddle's"
    if path.exists():
        raise UserError(f"{path}: not a kind of file that can be read; {takes} (a PyTorch model: save its state_dict() with "
                        f"safetensors.torch.save_file)")
    known = published()
    name = next((name for name in known if _plain(name) == _plain(what)), None)
    if name is None:
        if path.suffix in (*KINDS, ".json") or len(path.parts) > 1:
            raise UserError(f"{path}: no such file; {takes}")
        raise UserError(f"--pretrained: {unknown('name', what, known)}; or a .pdparams, a .safetensors, a run folder")
    url, md5 = known[name]
    return download(url, cache.root() / "weights" / url.rpartition("/")[2], md5=md5,
                    otherwise="fetch it yourself and name the file with --pretrained")


def read(file: Path) -> Weights:
    """Return the weights in a file, and what is said of them. Raises UserError for a file that is broken or holds code."""
    if file.suffix == ".safetensors":
        return _read_safetensors(file)
    bare = file.with_suffix("")
    if not exists(bare):
        return Weights(file, read_weights(file))
    info, parts = checkpoint.read(bare, [".pdparams"])
    return Weights(file, read_weights(file, parts[".pdparams"].read()), info=info)


def _read_safetensors(file: Path) -> Weights:
    from safetensors import SafetensorError, safe_open
    try:
        opened(file).close()                       # which waits for no FIFO, as the library would
        with safe_open(file, framework="np") as content:
            tensors = {name: content.get_tensor(name) for name in content.keys()}      # noqa: SIM118
            if strange := [str(array.dtype) for array in tensors.values() if array.dtype.isbuiltin != 1]:
                raise TypeError(strange[0])        # ml_dtypes', where ONNX has brought it
            return Weights(file, tensors, content.metadata() or {})
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from None
    except SafetensorError as error:
        raise UserError(f"{file}: truncated or not safetensors ({error})") from None
    except (TypeError, AttributeError) as error:   # a kind of number that NumPy has not
        raise UserError(f"{file}: numbers that NumPy cannot hold ({error}); save them as float32") from None


def load(model: nn.Layer, source: Weights, head: Collection[str], *, classes: Sequence[str] = (),
         partial: bool = False, normalization: Mapping[str, Sequence[float]] | None = None) -> LoadReport:
    """Set the weights and statistics of `model` that the file has; return what became of all of them.

    head: names of the weights that depend on the number of classes (`models.head`). They stay new where the file's have
    another shape or are missing, and where the file's classes are known and other than `classes`. All others must be there,
    in their shape, and the file must hold no more; partial: let the rest be. normalization: of the images to come (the
    report says where the file's network was used to another).
    Raises UserError: nothing fits, something does not and not `partial`, numbers that are not finite.
    """
    found, notes, unused = _as_paddles(source, model)
    report = LoadReport(str(source.file), notes, unused=unused)
    theirs = source.info.classes if source.info else list(classes)
    other_classes = theirs != list(classes)
    if other_classes:
        notes.append(f"its classes: {', '.join(theirs)}; here: {', '.join(classes)}")
    before = source.info.normalization.model_dump() if source.info else None
    if before and normalization and before != {key: list(values) for key, values in normalization.items()}:
        notes.append(f"its images were normalized by {before}; here: {dict(normalization)}")
    own = model.state_dict()
    wrong: dict[str, list[str]] = {"missing": [], "of another shape": [], "too many": []}
    for name, value in own.items():
        here, there = tuple(value.shape), found[name].shape if name in found else None
        if there == here and not (name in head and other_classes):
            report.loaded.append((name, f"{here}"))
            continue
        why = "not in the file" if there is None else f"{there} in the file" if there != here else "its classes are others"
        report.new.append((name, f"{here}: {why}"))
        if name not in head:
            wrong["missing" if there is None else "of another shape"].append(f"{name} {here}" + (f", {why}" if there else ""))
    for name in found.keys() - own.keys():
        report.unused.append((name, f"{found[name].shape}: no such weight here"))
        wrong["too many"].append(f"{name} {found[name].shape}")
    _check(report, source, wrong, head, partial)
    fits = {name: fitting(source.file, name, found[name], tuple(own[name].shape), own[name].dtype) for name, _ in report.loaded}
    for name in {name for name, _ in report.new} & found.keys():       # a file that is broken there may be broken elsewhere
        fitting(source.file, name, found[name], found[name].shape, own[name].dtype)
    for name, array in fits.items():
        own[name].set_value(array)
    converted = sorted({str(found[name].dtype) for name in fits if found[name].dtype != fits[name].dtype})
    if converted:
        notes.append(f"converted to float32 from {', '.join(converted)}")
    return report


def _check(report: LoadReport, source: Weights, wrong: Mapping[str, Sequence[str]], head: Collection[str], partial: bool) -> None:
    network = source.info.model if source.info else None
    settings = "".join(f", {key} {value}" for key, value in network.arguments.items()) if network else ""
    what = f"{source.file} (of {network.name}{settings})" if network else f"{source.file}"
    if not any(name not in head for name, _ in report.loaded):
        raise UserError(f"{what}: nothing in it fits this network: it holds {_some(list(source.arrays)) or 'nothing'}, the "
                        f"network needs {_some([f'{name} {text}' for name, text in report.new])}; are they of another --model?")
    if not partial and any(wrong.values()):
        problems = "; ".join(f"{len(names)} {title}: {_some(names)}" for title, names in wrong.items() if names)
        raise UserError(f"{what}: not the weights of this network: {problems}; take the --model and the settings they are of, or "
                        f"let what does not fit be with --pretrained-partial")


def _as_paddles(source: Weights, model: nn.Layer) -> tuple[dict[str, np.ndarray], list[str], list[tuple[str, str]]]:
    """Return (the arrays by Paddle's names and in its layout, what was done for that, those it has no use for).

    PyTorch has other names in its batch norms, and (out, in) where a linear layer of Paddle's has (in, out). A file is taken
    for PyTorch's by those names, by the format that a .safetensors states, or by the shapes of linear layers.
    """
    inputs = {f"{name}.weight": layer.weight.shape[0] for name, layer in model.named_sublayers() if isinstance(layer, nn.Linear)}
    linear = [(source.arrays[name].shape, count) for name, count in inputs.items()
              if name in source.arrays and source.arrays[name].ndim == 2]
    reason = None
    if any(name.rpartition(".")[2] in _NORMS for name in source.arrays):
        reason = "its names of batch norms"
    elif "format" in source.metadata:
        reason = "its format 'pt'" if source.metadata["format"] == "pt" else None
    elif {shape.index(count) for shape, count in linear if shape.count(count) == 1} == {1}:      # a square one tells nothing
        reason = "the shapes of linear layers"
    if reason is None:
        return dict(source.arrays), [], []
    arrays, unused, renamed, turned = {}, [], 0, 0
    for name, array in source.arrays.items():
        layer, _, end = name.rpartition(".")
        if end in _NORMS and _NORMS[end] is None:
            unused.append((name, "Paddle has no such number"))
            continue
        if end in _NORMS:
            name, renamed = f"{layer}.{_NORMS[end]}", renamed + 1
        if name in inputs and array.ndim == 2:
            array, turned = array.T, turned + 1
        arrays[name] = array
    return arrays, [f"PyTorch's, by {reason}: {renamed} statistics renamed, {turned} linear weights transposed"], unused
