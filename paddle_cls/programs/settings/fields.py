"""The settings of the programs, each with its unit and its bounds."""

import dataclasses
import typing
from pathlib import Path

from ...data.images.views import TTA
from ...inference.engines import PRECISIONS as ENGINE_PRECISIONS
from ...inference.engines import TARGETS


def option(default: typing.Any, text: str, *, choices: tuple = (), low: float | None = None,
           high: float | None = None, most: float | None = None, positional: bool = False, group: str = "") -> typing.Any:
    """Return a dataclass field with its help text and its allowed values (`low` and `high` are allowed).

    most: the largest that anybody can want, by which nothing overflows, hangs or asks for all memory.
    positional: it is given without a flag before it, and must be. group: of --help, where it is not that of GROUPS.
    """
    return dataclasses.field(default=default, metadata={"help": text, "choices": choices, "low": low, "high": high, "most": most,
                                                        "positional": positional, "group": group})


MILLION, BILLION = 10**6, 10**9
LARGEST = 1e38                                     # what float32, in which all is computed, can hold
# The groups of --help, in its order: title, settings. What a program has beside these comes under its own title, `run`.
GROUPS = {
    "model": "model depth init model_args pretrained pretrained_partial freeze unfreeze_epochs freeze_bn",
    "data": "image list shard dataset data_dir table val_table columns task val_split holdout image_size split sampling",
    "augmentation": "augment mixup cutmix tta",
    "optimization": "epochs batch_size max_steps optimizer lr lr_scale momentum weight_decay decay_norm_bias schedule "
                    "warmup_epochs step_epochs step_gamma label_smoothing class_weights clip_norm accumulate ema_decay seed",
    "computing": "eval_batch_size amp precision device nproc onednn",
    "run": "",
}
VIEWS, PRECISIONS = tuple(TTA), tuple(ENGINE_PRECISIONS)


@dataclasses.dataclass(frozen=True)
class Config:
    """One training run; the defaults are the tutorial's. The last four say what to do with it and are not saved."""

    model: str = option("resnet", "network; paddle-cls models lists them. resnet: resnet_cifar10, vgg: vgg_bn_drop; "
                                 "module:Net: your own")
    depth: int | None = option(None, "layers of the resnet, 6n+2 (default: the model's own)", low=1, most=1202)
    init: str | None = option(None, "initial weights of lenet: tutorial or zero_mean (default: the model's own)")
    model_args: dict[str, str] | None = option(None, "further arguments of the network, such as scale=0.5")
    pretrained: str | None = option(None, "weights to start from: a .pdparams, a .safetensors, a run folder, or the name of "
                                          "ImageNet weights of Paddle's, such as resnet18")
    pretrained_partial: bool = option(False, "let weights that do not fit be, instead of refusing the file")
    freeze: str | None = option(None, "pretrained layers that do not train: body (all but the head), how many of its parts, or "
                                      "layers such as conv1,res1")
    unfreeze_epochs: int | None = option(None, "thaw one frozen part every so many epochs, the last first", low=1, most=MILLION)
    freeze_bn: bool = option(False, "keep the statistics of all batch norms as pretrained")
    dataset: str = option("cifar10", "cifar10, ichallenge_pm, shapes (drawn by the package, no download); your own pictures: "
                                    "folder (a folder for each class) or table; module:function: your own")
    data_dir: Path | None = option(None, "folder that holds the data (default: a cache folder, filled by download; table: the "
                                         "folder of the table)")
    table: Path | None = option(None, "of data set table: CSV, TSV or .xlsx of the pictures' paths and labels")
    val_table: Path | None = option(None, "another such table, to validate on (default: the lines of the table's split val)")
    columns: str | None = option(None, "names of the table's columns: FILE,LABEL or FILE,LABEL,SPLIT (default: the usual names)")
    task: str | None = option(None, "which task of a table of the FashionAI form")
    val_split: str | None = option(None, "validate on a part of the training images instead: a share such as 0.2, or one of k "
                                         "parts such as 2/5 (k-fold; default: what the data set has for it, else 0.1)")
    holdout: float = option(0.0, "share of the training images kept apart to choose the threshold of a yes", low=0, high=0.9)
    image_size: int | None = option(None, "pixels a side (default: the data set's own)", low=1, high=4096)
    output_dir: Path | None = option(None, "run folder (default: output/<dataset>_<model>)")
    epochs: int = option(10, "full passes over the training split", low=1, most=MILLION)
    batch_size: int = option(128, "images per optimizer step, over all processes", low=1, most=MILLION)
    eval_batch_size: int = option(250, "images per forward pass of the evaluation", low=1, most=MILLION)
    max_steps: int | None = option(None, "stop after this many optimizer steps, for a quick try", low=1, most=BILLION)
    optimizer: str = option("adam", "update rule", choices=("adam", "adamw", "momentum", "nesterov"))
    lr: float = option(1e-3, "peak learning rate, per optimizer step", low=0, most=LARGEST)
    lr_scale: dict[str, float] | None = option(None, "factors of lr for layers by name, such as fc1=0.003,fc2=0.1", low=0,
                                               most=LARGEST)
    momentum: float = option(0.9, "of momentum and nesterov", low=0, high=1)
    weight_decay: float = option(0.0, "L2 coefficient (adamw: decoupled)", low=0, most=LARGEST)
    decay_norm_bias: bool = option(True, "apply weight decay to batch normalization and biases too")
    schedule: str = option("constant", "of the learning rate", choices=("constant", "step", "cosine", "onecycle"))
    warmup_epochs: float = option(0.0, "epochs of linear rise from near 0 to lr (onecycle: of the rise)", low=0, most=MILLION)
    step_epochs: int = option(100, "step schedule: epochs between two drops", low=1, most=MILLION)
    step_gamma: float = option(0.1, "step schedule: factor of a drop", low=0, high=1)
    label_smoothing: float = option(0.0, "share of the target spread over all classes", low=0, high=0.99)
    augment: str = option("none", "changes of the training images, joined by commas: none, crop_flip, fundus, standard, photo, "
                                  "strong, or resized_crop=0.08, crop=4, flip, vflip, rotate=15, shift=0.1, zoom=0.2, shear=10, "
                                  "jitter=0.4, hue=0.1, randaugment=2x9, erase=0.25, module:function (your own)")
    mixup: float = option(0.0, "mix the images of a batch two by two, by shares from Beta(mixup, mixup); 0: not", low=0,
                          most=1000)
    cutmix: float = option(0.0, "put a rectangle of one image into another, by shares from Beta(cutmix, cutmix); 0: not; with "
                                "mixup: one of the two for each batch", low=0, most=1000)
    class_weights: str | None = option(None, "of the classes in the loss: balanced, or cat=2,dog=0.5 (others 1); scaled to a "
                                             "mean of 1 over the images")
    sampling: str = option("shuffled", "of the training images; balanced: every class equally often",
                           choices=("shuffled", "balanced"))
    clip_norm: float | None = option(None, "largest global norm of the gradient (default: not clipped)", low=1e-12, most=LARGEST)
    accumulate: int = option(1, "parts in which a batch goes through the network, to save memory", low=1, most=MILLION)
    ema_decay: float | None = option(None, "average the weights with this decay a step, evaluate and save the average",
                                     low=0, high=1)
    amp: str | None = option(None, "mixed precision on a GPU", choices=("bfloat16", "float16"))
    device: str = option("auto", "where to compute", choices=("auto", "cpu", "gpu"))
    nproc: int | None = option(None, "processes on this machine; auto: one per physical core on a CPU, one on a GPU",
                               low=1, most=MILLION)
    onednn: str = option("auto", "operators for CPU training, compiled on first use; off: Paddle's own",
                         choices=("auto", "off"))
    seed: int = option(0, "of weights, order, augmentation and dropout", low=0, high=2**31 - 1)
    log_every: int = option(20, "steps between two fetches of the loss", low=1, most=BILLION)
    save_minutes: float = option(10.0, "minutes between two checkpoints inside an epoch", low=0, most=MILLION)
    resume: bool = option(False, "continue the run in the output folder")
    eval_only: bool = option(False, "evaluate --checkpoint on the validation split, and stop")
    checkpoint: Path | None = option(None, "checkpoint or exported folder for --eval-only (default: best of the output folder)")
    tta: str = option("none", "views of an image that --eval-only averages: mirrored, all mirrored ways or ten crops",
                      choices=VIEWS)

    @property
    def folder(self) -> Path:
        """The run folder, which is known from `setup.settings` on."""
        assert self.output_dir is not None, "setup.settings names the run folder"
        return self.output_dir


@dataclasses.dataclass(frozen=True)
class LrFindConfig(Config):
    """One search by `python -m paddle_cls.lr_find`: the settings of a run, and the rates to try."""

    lr_from: float = option(1e-6, "lowest learning rate tried", low=1e-30, most=LARGEST)
    lr_to: float = option(10.0, "highest learning rate tried", low=1e-30, most=LARGEST)
    steps: int = option(100, "optimizer steps from the one to the other", low=20, most=100000)


@dataclasses.dataclass(frozen=True)
class GridConfig(Config):
    """One grid by `python -m paddle_cls.grid`: the settings of all its runs, and those that differ."""

    grid: tuple[str, ...] = option((), "settings and the values to try, such as batch_size=16,32 seed=0,1")


NOT_SAVED = ("resume", "eval_only", "checkpoint", "tta")
# What a resumed run may change; anything else would make it another run.
MAY_CHANGE = {"data_dir", "output_dir", "epochs", "max_steps", "lr", "device", "nproc", "onednn", "log_every",
              "save_minutes", "eval_batch_size", *NOT_SAVED}


@dataclasses.dataclass(frozen=True)
class InferConfig:
    """One call of `infer.py`."""

    image: tuple[str, ...] = option((), "image files, folders (searched with all below) or quoted globs")
    list: Path | None = option(None, "a text file that names the images instead, a path a line; -: standard input")
    shard: str | None = option(None, "do one of several parts of the images, such as 2/8: the 2nd, the 10th and so on")
    checkpoint: Path | None = option(None, "a .pdparams, its .json, a run folder, or an exported folder (default: newest run "
                                           "under output/)")
    model: str | None = option(None, "module:Net, to allow this code of your own that the checkpoint names")
    topk: int = option(5, "classes to print per image, at most as many as there are", low=1, most=MILLION)
    format: str = option("text", "of the answer: text, json, jsonl (an object a line), csv, or module:function: your own")
    output: Path | None = option(None, "file to write the answer to (default: standard output); csv and jsonl grow there")
    resume: bool = option(False, "go on with an --output in csv or jsonl after a stop: each image is answered once")
    batch_size: int = option(64, "images per forward pass", low=1, most=MILLION, group="computing")
    tta: str = option("none", "views of an image to average: mirrored, all mirrored ways or ten crops", choices=VIEWS)
    device: str = option("auto", "where to compute", choices=("auto", "cpu", "gpu"))
    precision: str = option("float32", "of the computation; bfloat16 is faster where the processor has it", choices=PRECISIONS)


@dataclasses.dataclass(frozen=True)
class FeaturesConfig:
    """One call of `paddle-cls features`."""

    pictures: tuple[str, ...] = option((), "image files, folders (searched with all below) or quoted globs", positional=True)
    checkpoint: Path | None = option(None, "a .pdparams, its .json, a run folder, or an exported folder (default: newest run "
                                           "under output/)")
    model: str | None = option(None, "module:Net, to allow this code of your own that the checkpoint names")
    output: Path | None = option(None, "file to write the features to: .npz or .csv")
    batch_size: int = option(64, "images per forward pass", low=1, most=MILLION, group="computing")
    device: str = option("auto", "where to compute", choices=("auto", "cpu", "gpu"))


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """One call of `python -m paddle_cls.report`."""

    run: Path = option(None, "a run folder (its best checkpoint) or a checkpoint in it", positional=True)
    model: str | None = option(None, "module:Net, to allow this code of your own that the checkpoint names")
    dataset: str | None = option(None, "data set to judge by (default: the run's)")
    data_dir: Path | None = option(None, "folder that holds the data (default: the run's)")
    split: str = option("val", "of the data set", choices=("val", "train", "holdout"))
    output: Path | None = option(None, "folder of the report (default: RUN/report)")
    pictures: int = option(8, "of each kind: surest right, surest wrong and least sure", low=0, high=1000)
    tta: str = option("none", "views of an image to average: mirrored, all mirrored ways or ten crops", choices=VIEWS)
    device: str = option("auto", "where to compute", choices=("auto", "cpu", "gpu"))
    precision: str = option("float32", "of the computation; bfloat16 is faster where the processor has it", choices=PRECISIONS)


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """One call of `paddle-cls export`."""

    run: Path = option(None, "a run folder (its best checkpoint) or a checkpoint in it", positional=True)
    model: str | None = option(None, "module:Net, to allow this code of your own that the checkpoint names")
    to: str = option("onnx", "what will compute it: ONNX Runtime and many others, OpenVINO, Paddle Inference, or a Triton server",
                     choices=tuple(TARGETS))
    precision: str = option("float32", "of the network; bfloat16: of OpenVINO; int8: calibrated on training images",
                            choices=("float32", "bfloat16", "int8"))
    max_loss: float = option(0.5, "points of accuracy on the validation images that bfloat16 or int8 may cost", low=0, high=100)
    dataset: str | None = option(None, "data set to compare by (default: the run's)")
    data_dir: Path | None = option(None, "folder that holds the data (default: the run's)")
    compare: str = option("val", "images to compare the export with the network by; random: where there are no others",
                          choices=("val", "random"))
    output: Path | None = option(None, "folder of the export (default: RUN/export-TARGET)")
