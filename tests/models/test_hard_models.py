"""Networks that would hang or take all memory in the making: refused before anything is made, from wherever they come."""

import time

import pytest
from networks import parameters

from paddle_cls import models
from paddle_cls.errors import UserError
from paddle_cls.models import MODELS, build_model, check_arguments
from paddle_cls.models.arguments import MOST
from paddle_cls.programs import models as program
from paddle_cls.system import memory


@pytest.mark.parametrize("flags, message", [
    ("efficientnet_b0 width_factor=1e9", r"model 'efficientnet_b0': width_factor=1000000000\.0 must be at most 8"),
    ("efficientnet_b0 depth_factor=1e9", r"depth_factor=1000000000\.0 must be at most 10"),
    ("nasnet_mobile cells=1000000000", "cells=1000000000 must be at most 40"),
    ("nasnet_mobile cells=99999999999999999999", "cells=99999999999999999999 must be at most 40"),
    ("nasnet_mobile penultimate=960000000", "penultimate=960000000 must be at most 9,600"),
    ("se_resnet groups=1000000000", "groups=1000000000 must be at most 1,024"),
    ("se_resnet groups=99999999999999999999", "groups=9+ must be at most"),
    ("se_resnet width=1000000000", "width=1000000000 must be at most 1,024"),
    ("se_resnet width=99999999999999999999", "at most 1,024"),
    ("zf5_spp hidden=1000000000", "hidden=1000000000 must be at most 65,536"),
    ("zf5_spp hidden=99999999999999999999", "at most 65,536"),
    ("zf5_spp levels=99999-99999", "levels='99999-99999' make 19,999,600,002 bins; at most 1,024 are allowed"),
    ("zf5_spp levels=1-2-3-4-5-6-7-8-9-10-11-12-13-14-15", "levels='1-2.*' is longer than 32 characters"),
    ("resnet depth=60002", "depth=60002 must be at most 1,202"),
    ("preact_resnet_cifar depth=9" + 30 * "0" + "2", "at most 1,202"),
    ("resnet zero_init_last=true,zero_init_last=false", "--model-args: zero_init_last is there twice; leave one out"),
    ("resnet depth=8_0", "depth: '8_0' is not a whole number"),
])
def test_the_list(refused, flags, message):
    name, arguments = flags.split()
    started = time.monotonic()
    refused(program, message, "--model", name, "--model-args", arguments)
    assert time.monotonic() - started < 5


def test_an_image_that_takes_minutes(refused):
    refused(program, "--image-size: 4096 must be from 1 to 1024", "--model", "resnet", "--model-args", "depth=8",
            "--image-size", "4096")


@pytest.mark.parametrize("given, message", [
    ({"depth": "x"}, "model 'resnet': depth='x' is not a whole number"), ({"depth": None}, "depth=None is not a whole number"),
    ({"depth": True}, "depth=True is not a whole number"), ({"depth": 8.0}, r"depth=8\.0 is not a whole number"),
    ({"depth": [8]}, "depth=a list is not a whole number"), ({"depth": 600002}, "depth=600002 must be at most 1,202"),
    ({"zero_init_last": 1}, "zero_init_last=1 is not true or false"),
    ({"width": 8}, "takes no width; it takes: depth, zero_init_last"),
    ({"num_classes": 3}, "takes no num_classes"), ({"depth": 10**5000}, "depth=a number of over 90 digits must be at most")])
def test_arguments_of_a_file(given, message):
    with pytest.raises(UserError, match=message):
        check_arguments("resnet", 10, given)


@pytest.mark.parametrize("count, message", [
    (0, "num_classes=0 must be at least 1"), (-1, "must be at least 1"), ("x", "num_classes='x' is not a whole number"),
    (None, "num_classes=None is not"), (1.5, r"num_classes=1\.5 is not"), (True, "num_classes=True is not"),
    (10**12, "num_classes=1000000000000 must be at most 1,000,000")])
def test_classes_of_a_file(count, message):
    with pytest.raises(UserError, match=message):
        check_arguments("resnet", count, {})


def test_floats_of_a_file():
    for value in (float("nan"), float("inf")):
        with pytest.raises(UserError, match=f"width_factor={value} is not a finite number"):
            check_arguments("efficientnet_b0", 10, {"width_factor": value})
    check_arguments("efficientnet_b0", 10, {"width_factor": 1, "dropout": 0.5})


def test_weights_that_memory_cannot_hold(monkeypatch):
    monkeypatch.setattr(memory, "free", lambda: 10**9)
    with pytest.raises(UserError, match=r"model 'vgg' of [\d,]+ weights takes 17\.2 GB of memory, and 1 GB are free; choose"):
        build_model("vgg", 10, image_size=4096)
    with pytest.raises(UserError, match=r"model 'se_resnet' of [\d,]+ weights takes .* GB of memory, and 1 GB are free"):
        build_model("se_resnet", 10, groups=1024, width=1024)
    with pytest.raises(UserError, match="model 'resnet18' of .* weights takes 2.1 GB"):
        build_model("resnet18", 1_000_000)
    assert parameters("resnet", depth=8) > 0       # what is of the usual size is not even counted


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_number_has_a_most(name):
    """An argument of a new network that has none would open the door again."""
    for argument, parameter in models.model_arguments(name).items():
        bounded = argument in MOST or argument in ("dropout", "drop_connect", "reduction", "scale")        # by the constructors
        assert bounded or parameter.annotation in (bool, str), f"{name}: {argument}"


def test_free_memory_heeds_limits(monkeypatch, tmp_path):
    import resource
    assert memory.free() > 10**8
    (tmp_path / "memory.stat").write_text("anon 1000\nfile 5\n")
    (tmp_path / "memory.max").write_text("51000\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.free() == 50_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free() > 10**8
    monkeypatch.setattr(resource, "getrlimit", lambda what: (1000, 1000))
    assert memory.free() == 0
