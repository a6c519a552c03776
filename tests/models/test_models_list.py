"""python -m paddle_cls.models, as a shell calls it: the list of the networks, and one of them in detail."""

import json

import pytest

from paddle_cls import models
from paddle_cls.models import catalog
from paddle_cls.programs import models as program

FEW = {name: models.MODELS[name] for name in ("resnet", "squeezenet1_1")}


def test_the_list_has_what_is_known_of_each(call, monkeypatch):
    monkeypatch.setattr(models, "MODELS", FEW)
    done = call(program)
    assert done.status == 0 and done.err == ""
    header, *lines = done.out.splitlines()
    assert header.split() == ["name", "parameters", "multiply-adds", "image", "paper"]
    assert lines == ["resnet                   0.47 M       0.069 G    32  He et al. 2015, arXiv 1512.03385",
                     "squeezenet1_1            1.24 M       0.350 G   224  Iandola et al. 2016, arXiv 1602.07360"]


def test_the_readmes_table(call):
    done = call(program, "--model", "squeezenet1_1", "--format", "markdown")
    assert done.out.splitlines() == [*catalog.markdown_header().splitlines(), catalog.markdown("squeezenet1_1", 1_235_496)]
    assert done.out.splitlines()[-1] == (
        "| `squeezenet1_1` | `python train.py --model squeezenet1_1` | Iandola et al. 2016, arXiv 1602.07360 | "
        "1.235 / 1.235 (torchvision) | `tests/models/test_zoo.py::test_network[squeezenet1_1]` |")


def test_one_network_with_further_arguments(call):
    """MobileNet's table 7: 0.5 of the width at 160 pixels are 1.3 million parameters and 76 million multiply-adds."""
    done = call(program, "--model", "mobilenet_v1", "--model-args", "scale=0.5", "--image-size", "160", "--format", "json")
    (row,) = json.loads(done.out)
    assert (row["parameters"], row["multiply_adds"]) == (1_331_592, 76_524_800)
    assert (row["image_size"], row["smallest_image"], row["features"], row["classes"]) == (160, 32, 512, 1000)
    assert (row["paper"], row["published"]) == ("Howard et al. 2017, arXiv 1704.04861", "4.2")
    assert row["model_args"] == ["scale: float = 1.0"]


def test_auxiliary_heads_are_no_part_of_the_parameters(call):
    done = call(program, "--model", "googlenet", "--image-size", "61")
    lines = dict(line.split(maxsplit=1) for line in done.out.splitlines() if line.split()[1:])
    whole = models.count_parameters(models.build_model("googlenet", 1000))
    assert int(lines["parameters"]) == 6_991_272 < whole - 4_000_000
    assert lines["command"] == "python train.py --model googlenet --image-size 61"


@pytest.mark.parametrize("flags, message", [
    ("--model resnet51", "unknown model 'resnet51'; did you mean 'resnet5?[0-9]*'"),
    ("--model resnet20", "unknown model 'resnet20'; use --model resnet --depth 20$"),
    ("--model zzz", "unknown model 'zzz'; paddle-cls models lists the known"),
    ("--model resnet18 --image-size 31", "model 'resnet18' takes images from 32x32 on, not 31x31"),
    ("--model resnet18 --model-args scale=1", "unknown argument 'scale'; known: none"),
    ("--model mobilenet_v2 --model-args scale=0", r"scale=0\.0: the width multiplier must be from 0\.1 to 4"),
    ("--image-size 64", "--model-args and --image-size are for one network: name it with --model"),
    ("--format yaml", "unknown value 'yaml'; known: json, markdown, text"),
])
def test_mistakes(refused, flags, message):
    refused(program, message, *flags.split())
