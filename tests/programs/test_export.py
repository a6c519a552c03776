"""paddle-cls export as its users call it: what it writes and says, and that nothing is left of what it refuses."""

import json
import os
import re
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes import rgb
from PIL import Image
from test_own_code import CODE

from paddle_cls.checkpoints.info import hash_of
from paddle_cls.inference import exported, exporting, quantize
from paddle_cls.inference.engines import OpenVINO
from paddle_cls.inference.quantize import Row
from paddle_cls.programs import export, infer, report

RUN = ("run", "--data-dir", "data", "--to", "openvino")


def test_an_export_is_compared_answers_and_is_replaced(call, here):
    (here / "run" / "export-openvino").mkdir()     # an empty folder is nobody's
    done = call(export, *RUN)
    assert done.status == 0, done.err
    compared, last = done.out.splitlines()
    found = re.fullmatch(r"OpenVINO \(float32\) gives the network's probabilities to (\S+), on 36 validation images in batches "
                         r"of 1, 3, 32", compared)
    assert found and 0 < float(found[1]) < 1e-5
    folder = here / "run" / "export-openvino"
    assert re.fullmatch(rf"{folder}: openvino, float32, 0\.\d MB; answer by paddle-cls infer --checkpoint {folder} --image "
                        rf"PICTURE", last)
    Image.fromarray(rgb(0, 40, 50)).save(here / "a.png")
    answers = [json.loads(call(infer, "--image", "a.png", "--checkpoint", place, "--format", "json").out)
               for place in ("run", folder, folder / "model.json")]
    one, *others = [[pair["probability"] for pair in answer[0]["top"]] for answer in answers]
    assert all(other == pytest.approx(one, abs=1e-5) for other in others)

    (folder / "network.bin").write_bytes(b"")      # broken, but still an export: it may be replaced
    again = call(export, *RUN, "--compare", "random")
    assert again.status == 0 and "on 36 random images in batches" in again.out
    assert exported.read(folder).target == "openvino"
    assert not [name for name in os.listdir(here / "run") if name.startswith(".")]


def test_a_network_of_ones_own_is_exported_where_its_user_says_so(call, refused, here, monkeypatch):
    import sys

    from fakes import write_checkpoint

    from paddle_cls import models
    monkeypatch.setattr(sys, "path", [*sys.path, str(here)])
    (here / "own_net.py").write_text(CODE)
    write_checkpoint(here / "own")
    monkeypatch.delitem(sys.modules, "own_net", raising=False)
    network = models.build_model("own_net:Net", 10)
    from paddle_cls.checkpoints import checkpoint
    info = checkpoint.read_info(here / "own" / "best")
    name = {"model": {"name": "own_net:Net", "arguments": {}}}
    checkpoint.save(here / "own" / "best", network, None, type(info).from_json(
        json.dumps(info.to_dictionary() | name | {"sha256": {}}).encode(), "x"))
    flags = ("own", "--to", "openvino", "--compare", "random")
    refused(export, "its network is 'own_net:Net', code that is not run because a file says so; if it is yours", *flags)
    done = call(export, *flags, "--model", "own_net:Net")
    assert done.status == 0, done.err
    monkeypatch.delitem(sys.modules, "own_net")
    (here / "own_net.py").unlink()                 # the export needs it no more
    Image.fromarray(rgb(0)).save(here / "a.png")
    assert call(infer, "--image", "a.png", "--checkpoint", "own/export-openvino").status == 0
    refused(infer, "--model own_net:Net: own/export-openvino is an export, which needs no code", "--image", "a.png",
            "--checkpoint", "own/export-openvino", "--model", "own_net:Net")


@pytest.mark.parametrize("flags, message", [
    ((), r"the following arguments are required: RUN; "),
    (("none",), "none: no such checkpoint; --checkpoint takes a .pdparams written by train.py, or a run folder"),
    (("new",), r"new: no checkpoint \(best\.json or last\.json\) in this folder"),
    (("run", "--to", "onx"), r"--to: unknown value 'onx'; did you mean 'onnx'\?"),
    (("run", "--to", "paddle", "--precision", "int8"), "--precision int8: --to paddle holds float32; use --to onnx or --to "
     "openvino or --to triton, or leave out --precision"),
    (("run", "--precision", "bfloat16"), "--precision bfloat16: --to onnx holds float32 or int8; use --to openvino, or"),
    ((*RUN, "--max-loss", "1"), "--max-loss 1: goes with --precision int8 or bfloat16; leave it out"),
    ((*RUN, "--precision", "bfloat16", "--compare", "random"), "--compare random: --precision bfloat16 is judged by "
     "validation images; leave out --compare"),
    ((*RUN, "--output", "."), r"--output .*: holds .*, which is no part of an export; choose another folder"),
    ((*RUN, "--output", "run"), r"--output .*/run: holds best\.json, which is no part of an export; choose another folder"),
    ((*RUN, "--output", "file"), "--output .*/file: is a file; name a folder"),
    ((*RUN, "--output", "none/new"), "--output .*/none/new: there is no folder .*/none; make it first"),
    (("run", "--to", "openvino", "--data-dir", "new"), r"new: no cifar-10-batches-py/.*; the export is judged by this data: "
     r"name it with --dataset and --data-dir, or compare on random images by --compare random$"),
])
def test_wrong_inputs(refused, flags, message):
    refused(export, message, *flags)


@pytest.fixture(scope="module")
def made(run_folder, cifar_root, tmp_path_factory) -> Path:
    """An export of the ResNet-8; not to be changed."""
    folder = tmp_path_factory.mktemp("exports_of_a_run") / "made"
    assert export.main([str(run_folder), "--data-dir", str(cifar_root), "--to", "openvino", "--output", str(folder)]) == 0
    return folder


def test_a_folder_with_more_than_an_export_is_not_replaced(refused, made, here):
    shutil.copytree(made, here / "made")
    (here / "made" / "mine").mkdir()
    (here / "made" / "mine" / "notes").write_text("mine")
    refused(export, "holds mine, which is no part of an export; choose another folder", *RUN, "--output", "made")
    (here / "made" / "model.json").write_text("{}")
    refused(export, "/made: holds an export whose model.json is broken; remove the folder, or choose another$", *RUN, "--output",
            "made")


def test_an_export_is_no_place_for_answers(refused, made, here):
    shutil.copytree(made, here / "made")
    Image.fromarray(rgb(0)).save(here / "a.png")
    for name in ("model.json", "network.bin", "new.csv"):
        refused(infer, f"--output made/{name}: lies in an exported folder; name a file elsewhere", "--image", "a.png", "--output",
                f"made/{name}", "--checkpoint", "made")


def test_an_export_is_no_run_and_a_changed_one_does_not_answer(refused, made, here):
    shutil.copytree(made, here / "made")
    Image.fromarray(rgb(0)).save(here / "a.png")
    flags = ("--image", "a.png", "--checkpoint", "made")
    refused(export, "made: is an export; name the run or the checkpoint that it was made of", "made", *RUN[1:])
    refused(report, "made: is an export, and a report needs the network itself; name the run or the checkpoint that it was made "
                    "of, or see its metrics by train --eval-only --checkpoint made", "made")
    refused(infer, "--device gpu: made is an export, which the CPU computes", *flags, "--device", "gpu")
    content = json.loads((here / "made" / "model.json").read_text())
    (here / "made" / "network.bin").write_bytes(bytes(10))
    refused(infer, r"made/network\.bin: truncated or changed since it was exported \(checksum differs\); export the run again",
            *flags)
    newer = content | {"format": 2}
    newer["sha256"]["model.json"] = hash_of(newer)
    (here / "made" / "model.json").write_text(json.dumps(newer))
    refused(infer, r"made/model\.json: written in format 2, this version reads 1; install a newer paddle_cls", *flags)


def test_nothing_is_left_of_an_export_that_differs(refused, monkeypatch):
    monkeypatch.setattr(exporting, "TOLERANCE", 0)
    refused(export, r"run/best: cannot be exported to openvino: the export's probabilities differ from the network's by \S+ in a "
                    r"batch of 1, and 0 is allowed; try another --to, or answer by the checkpoint", *RUN)


def test_nothing_is_left_on_a_full_disk(refused):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        refused(export, r"run/export-openvino\S* cannot be written: .*; free some space or choose another folder", *RUN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_lower_precision_is_judged_on_all_validation_images(call, refused, here, monkeypatch):
    """8 bits by a stand-in for NNCF, and bfloat16 computed in float32, as not every processor has it."""
    asked = {}

    def to_int8(network, images, file):
        asked["images"] = images.shape
        for source in (network, network.with_suffix(".bin")):
            shutil.copy(source, file.with_suffix(source.suffix))

    def compare(engines, split, size, threshold):
        asked["engines"] = {name: (engine.name, count > 10_000) for name, (engine, count) in engines.items()}
        asked["rest"] = (len(split), size, threshold)
        return [Row("float32", 0.9, None, 4_000_000, 100), Row(next(reversed(engines)), 0.85, None, 1_000_000, 250)]

    def float32(self, file, *, precision="float32"):
        asked.setdefault("precisions", []).append(precision)
        start(self, file)

    start = OpenVINO.__init__
    monkeypatch.setattr(quantize, "to_int8", to_int8)
    monkeypatch.setattr(quantize, "compare", compare)
    monkeypatch.setattr(quantize, "check_installed", lambda *, onnx: asked.update(onnx=onnx))
    monkeypatch.setattr(OpenVINO, "__init__", float32)
    refused(export, "--precision int8: the accuracy on the validation images falls from 0.9000 to 0.8500: 5.00 points, and 0.5 "
                    "are allowed", *RUN, "--precision", "int8")
    assert asked["images"] == (20, 32, 32, 3) and asked["rest"] == (4, 32, None) and asked["onnx"] is False
    assert set(asked["engines"]) == {"float32", "int8"} and all(large for _, large in asked["engines"].values())
    done = call(export, *RUN, "--precision", "bfloat16", "--max-loss", "5")
    assert done.status == 0, done.err
    assert "| bfloat16 | 0.8500 | 1.00 | 250 | 2.50x |" in done.out
    folder = here / "run" / "export-openvino-bfloat16"
    info = exported.read(folder)
    assert info.metrics == {"val/acc1": 0.85, "val/error_rate": pytest.approx(0.15)}     # its own, not the checkpoint's
    assert (info.precision, asked["precisions"][-1]) == ("bfloat16", "bfloat16")
    text = (folder / "network.xml").read_text()
    assert re.search(r'<INFERENCE_PRECISION_HINT value="bf16"', text)
    assert (folder / "network.bin").stat().st_size < 0.6 * (here / "run" / "best.pdparams").stat().st_size
    assert np.isfinite(exported.engine(folder, info)(np.zeros((1, 32, 32, 3), np.uint8)).logits).all()
