"""Exported folders: what model.json says, what is refused, and that an answer needs neither Paddle nor OpenCV."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from fakes import rgb
from PIL import Image

from paddle_cls import Predictor
from paddle_cls.checkpoints import checkpoint
from paddle_cls.checkpoints.info import hash_of
from paddle_cls.errors import UserError
from paddle_cls.inference import exported, exporting, triton
from paddle_cls.inference.engines import TARGETS, Outputs

ONNX = importlib.util.find_spec("paddle2onnx") is not None
PIXELS = np.random.default_rng(0).integers(0, 256, (36, 32, 32, 3), np.uint8)


def written(run: Path, folder: Path, target: str = "openvino") -> tuple[exported.ExportInfo, Predictor]:
    """Export the best checkpoint of a run into a new folder; return its description and the predictor of the run."""
    predictor = Predictor.from_checkpoint(run, device="cpu")
    folder.mkdir()
    return exporting.write(folder, predictor.model, checkpoint.read_info(run / "best"), target=target, name="eyes"), predictor


@pytest.fixture(scope="module")
def made(run_folder, tmp_path_factory) -> Path:
    """An export for OpenVINO of the ResNet-8; not to be changed."""
    folder = tmp_path_factory.mktemp("exported") / "made"
    written(run_folder, folder)
    return folder


@pytest.fixture
def copy(made, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


def change(folder: Path, seal: bool = True, **values: object) -> None:
    """Change keys of model.json, with its checksum or without."""
    file = folder / "model.json"
    info = json.loads(file.read_text()) | values
    if seal:
        info["sha256"]["model.json"] = hash_of(info)
    file.write_text(json.dumps(info))


def test_model_json_says_all_that_a_service_needs(made, run_folder):
    content = json.loads((made / "model.json").read_text())
    trained = checkpoint.read_info(run_folder / "best")
    assert (content["format"], content["target"], content["precision"], content["network"]) == (
        1, "openvino", "float32", "network.xml")
    assert content["images"] == {"name": "images", "type": "uint8", "shape": [-1, 32, 32, 3]}
    assert content["logits"] == {"name": "logits", "type": "float32", "shape": [-1, 10]}
    assert content["features"] == {"name": "features", "type": "float32", "shape": [-1, 64]}
    assert content["fit"] == {"side": "shorter", "filter": "bilinear, antialiased", "crop": "centre"}
    assert content["model"] == {"name": "resnet", "arguments": {"depth": 8}} and content["classes"] == trained.classes
    assert content["checkpoint"] == trained.sha256[".pdparams"] and content["metrics"] == {"epoch": 1, "val/acc1": 0.1}
    assert not {"threshold", "verdict", "epoch"} & set(content)
    assert set(content["sha256"]) == {"network.xml", "network.bin", "model.json"}
    assert {file.name for file in made.iterdir()} == {"network.xml", "network.bin", "model.json"}


@pytest.mark.parametrize("target", [name for name in TARGETS if ONNX or name in ("openvino", "paddle")])
def test_every_target_gives_the_networks_probabilities(target, run_folder, tmp_path):
    info, predictor = written(run_folder, tmp_path / "out", target)
    assert exported.read(tmp_path / "out") == info == exported.read(tmp_path / "out" / "model.json")
    engine = exported.engine(tmp_path / "out", info)
    assert exporting.compare(engine, predictor.model, predictor.normalization, PIXELS) < 1e-5
    answers = Predictor.from_checkpoint(tmp_path / "out")([rgb(i, 40, 50) for i in range(3)])
    assert answers == pytest.approx(predictor([rgb(i, 40, 50) for i in range(3)]), abs=1e-5)


def test_answers_of_another_export_do_not_go_on(made, copy):
    change(copy, version="0")
    one, other = (Predictor.from_checkpoint(folder).checksum for folder in (made, copy))
    assert one and other and one != other          # --resume compares them


def test_a_yes_or_no_network_has_its_threshold_and_words(tmp_path, run_folder):
    from paddle_cls.checkpoints.info import CheckpointInfo, Description
    about = Description.of("resnet", {"depth": 8}, classes=["well", "ill"], image_size=32, outputs=1,
                           normalization={"mean": [0.5] * 3, "std": [0.5] * 3})
    trained = CheckpointInfo.new(about, metrics={"val/threshold": 0.25}).sealed({".pdparams": "a"})
    info = exported.ExportInfo.new(trained, target="triton", precision="float32", network="eyes/1/model.onnx",
                                   tensors={"images": ("uint8", [-1, 32, 32, 3]), "logits": ("float32", [-1, 1])})
    assert info.threshold == 0.25 and info.features is None
    assert info.to_dictionary()["verdict"] == {"positive": "ill", "negative": "well"}
    assert "labels" not in triton.config("eyes", info) and "features" not in triton.config("eyes", info)


def test_a_difference_is_found_in_any_batch_and_in_features(made, run_folder):
    predictor = Predictor.from_checkpoint(run_folder, device="cpu")
    engine = exported.engine(made, exported.read(made))

    def wrong(logits: float, features: float, count: int):
        def answer(pixels: np.ndarray) -> Outputs:
            found, now = engine(pixels), len(pixels) == count
            return Outputs(found.logits + now * logits * np.eye(10, dtype="float32")[0], found.features + now * features)
        return answer

    for bad, message in ((wrong(1, 0, 3), r"probabilities differ .* by 0\.\d+ in a batch of 3, and 0\.0001 is allowed"),
                         (wrong(np.nan, 0, 1), "probabilities differ from the network's by nan in a batch of 1,"),
                         (wrong(0, 10, 32), r"features differ from the network's by 0\.\d+ in a batch of 32")):
        with pytest.raises(ArithmeticError, match=message):
            exporting.compare(bad, predictor.model, predictor.normalization, PIXELS)


def remove(name: str):
    return lambda folder: (folder / name).unlink()


def spoil(name: str):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-2])


@pytest.mark.parametrize("harm, message", [
    (remove("model.json"), r"copy: no export \(model\.json\) in this folder; paddle-cls export RUN writes one"),
    (remove("network.bin"), r"copy/network\.bin: missing; export the run again"),
    (spoil("network.bin"), r"network\.bin: truncated or changed since it was exported \(checksum differs\); export"),
    (spoil("model.json"), r"model\.json: truncated or not JSON \(.*\); export the run again"),
    (lambda folder: change(folder, False, threshold=0.1), r"model\.json: changed since it was saved \(checksum differs\)"),
    (lambda folder: change(folder, sha256={}), r"sha256: 'network\.xml' is missing; export the run again"),
    (lambda folder: change(folder, format=2), "written in format 2, this version reads 1; install a newer paddle_cls"),
    (lambda folder: change(folder, threshold=0.1), "threshold and verdict: belong to a network of one output, and to no other"),
    (lambda folder: change(folder, precision="bits"), "target and precision: 'openvino' in 'bits' is not known"),
    (lambda folder: change(folder, sha256={"../x": "a"}), r"sha256: '\.\./x' is no file of the folder"),
    (lambda folder: change(folder, image_size=64), r"images: must be uint8 \(-1, 64, 64, 3\)"),
    (lambda folder: change(folder, fit={"crop": "corner"}), r"fit\.crop: 'corner': Input should be 'centre'"),
])
def test_what_was_changed_is_told_in_one_line(copy, harm, message):
    harm(copy)
    with pytest.raises(UserError, match=message) as told:
        exported.read(copy)
    assert "\n" not in str(told.value)


def test_what_cannot_be_computed_is_told(copy, monkeypatch):
    info = exported.read(copy)
    with pytest.raises(UserError, match="unknown precision 'int8'; known: bfloat16, float32"):
        exported.engine(copy, info, "int8")
    with pytest.raises(UserError, match=r"--precision bfloat16: .*copy was exported in int8; leave that out"):
        exported.engine(copy, info.model_copy(update={"precision": "int8"}), "bfloat16")
    with pytest.raises(UserError, match=r"network: 'network\.bin' is no kind of file that is known"):
        exported.engine(copy, info.model_copy(update={"network": "network.bin"}))
    for lie, message in (({"image_size": 64}, r"takes images of shape \(32, 32, 3\), not \(64, 64, 3\)"),
                         ({"classes": ["a", "b"]}, r"gives logits of shape \(1, 10\) for an image, where model\.json says 2")):
        with pytest.raises(UserError, match=rf"network\.xml: cannot be computed: {message}; pip install -U openvino, or"):
            exported.engine(copy, info.model_copy(update=lie))
    with pytest.raises(UserError, match="--precision bfloat16: .*copy is of Paddle's own kind, which computes in float32"):
        exported.engine(copy, info.model_copy(update={"network": "network.json"}), "bfloat16")
    with monkeypatch.context() as patch, pytest.raises(UserError, match="copy: its network needs Paddle 3; pip install -U "):
        patch.setattr(exported.runtime, "version_of", lambda *_: "2.6.2")
        exported.engine(copy, info.model_copy(update={"network": "network.json"}))
    (copy / "network.xml").write_text("<net/>")
    with pytest.raises(UserError, match=r"network\.xml: cannot be computed: .*; pip install -U openvino, or export"):
        exported.engine(copy, info)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match="copy: its network needs openvino, which is not installed; pip install openvino"):
        exported.engine(copy, info)


# What `pip install ./runtime` does not bring, and the package's own code must not ask for either.
MISSING = ("paddle", "cv2", "yaml", "sklearn", "scipy", "pandas", "matplotlib", "jinja2", "visualdl", "safetensors", "openpyxl",
           "onnx", "paddle2onnx", "nncf", "google")


def test_an_export_answers_where_only_the_runtimes_packages_are(made, tmp_path, run_folder):
    for seed, name in enumerate(("a.png", "b.jpg")):
        Image.fromarray(rgb(seed, 40, 50)).save(tmp_path / name)
    code = (f"import sys; sys.modules.update(dict.fromkeys({MISSING!r}))\n"
            f"from paddle_cls.programs import features, infer\n"
            f"sys.exit(infer.main(sys.argv[1:]) or features.main(['.', *sys.argv[3:5], '--output', 'f.csv']))")
    flags = ["--image", ".", "--checkpoint", str(made), "--format", "json"]
    done = subprocess.run([sys.executable, "-c", code, *flags], cwd=tmp_path, capture_output=True, text=True,
                          env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "PADDLE_CLS_CACHE": str(tmp_path / "cache")})
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout[:done.stdout.rindex("]") + 1])
    pictures = sorted(str(file) for file in tmp_path.glob("[ab].*"))
    wanted = Predictor.from_checkpoint(run_folder, device="cpu")(pictures)
    assert [answer["image"] for answer in answers] == ["a.png", "b.jpg"]
    assert [answer["top"][0]["probability"] for answer in answers] == pytest.approx(wanted.max(axis=1), abs=1e-5)
    lines = (tmp_path / "f.csv").read_text().splitlines()
    assert len(lines) == 3 and lines[1].count(",") == 64
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").rglob("exports"))
