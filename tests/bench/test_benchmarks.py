"""The benchmarks but for the measuring itself: rounds, tables, the check of the networks against a peer without torch."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import million, ours, rounds
from benchmarks import train as training
from benchmarks.folder import make_folder
from benchmarks.rounds import Measure, Side, alternate, check_same, images, options, table, write_cifar
from benchmarks.timing import median_seconds
from paddle_cls.data.sets import cifar10
from paddle_cls.errors import UserError
from paddle_cls.models import build_model

# A side that has the network of the file, but for what MORE and OFF stand for.
PEER = """
import json, sys
import numpy as np
task, arguments = sys.argv[1], json.loads(sys.argv[2])
if task != "network":
    sys.exit("a warning\\nNo module named 'torch'")
with np.load(arguments["file"]) as data:
    logits = data["logits"]
    trained = [data[name] for name in data if name.startswith("weights/") and not name.endswith(("_mean", "_variance"))]
print("a line of a library")
print(json.dumps({"parameters": sum(weight.size for weight in trained) + MORE, "logits": (logits + OFF).tolist()}))
"""


def peer(folder: Path, more: int = 0, off: str = "0") -> Side:
    (folder / "peer.py").write_text(PEER.replace("MORE", str(more)).replace("OFF", off))
    return Side(folder / "peer.py", remedy="; install it")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Our side, which has computed its network once."""
    file = tmp_path_factory.mktemp("own") / "resnet.npz"
    answer = ours.network("resnet", str(file))

    class Own:
        def ask(self, task: str, **arguments) -> dict:
            assert (task, arguments["model"]) == ("network", "resnet")
            shutil.copy(file, arguments["file"])
            return answer
    return Own()


def test_our_network_can_be_rebuilt_from_the_file(own, tmp_path):
    assert own.ask("network", model="resnet", file=str(tmp_path / "a.npz")) == {"parameters": 467_466}
    model = build_model("resnet", 10)
    with np.load(tmp_path / "a.npz") as data:
        model.set_state_dict({name: data[f"weights/{name}"] for name in model.state_dict()})
        logits, pictures = data["logits"], data["images"]
    model.eval()
    assert logits.shape == (8, 10) and 0.1 < np.abs(logits).max() < 100
    import paddle
    np.testing.assert_allclose(model(paddle.to_tensor(pictures)).numpy(), logits, atol=1e-4)


@pytest.mark.parametrize("more, off, message", [
    (1, "0", "resnet: 467,466 parameters here, 467,467 there; nothing was measured"),
    (0, "np.eye(8, 10) * 0.1", "with equal weights the outputs differ by .* of the largest; nothing was measured"),
    (0, "np.nan", "outputs differ by nan"), (0, "np.zeros((8, 8, 10))", "nothing was measured")])
def test_other_networks_are_not_measured(own, tmp_path, more, off, message):
    with pytest.raises(UserError, match=message):
        check_same(own, peer(tmp_path, more, off), "resnet", tmp_path)


def test_equal_networks_are_measured(own, tmp_path, capsys):
    assert check_same(own, peer(tmp_path, off="1e-7"), "resnet", tmp_path) == tmp_path / "resnet.npz"
    assert capsys.readouterr().err.startswith("resnet: 467,466 parameters on both sides, outputs equal to ")


def test_a_side_that_fails_says_why_and_what_helps(tmp_path):
    with pytest.raises(UserError, match=r"peer\.py train: No module named 'torch'; install it"):
        peer(tmp_path).ask("train")
    with pytest.raises(UserError, match="/none/python: No such file or directory; install it"):
        Side(tmp_path / "peer.py", "/none/python", "; install it").ask("train")


def test_rounds_alternate_and_keep_what_was_asked_for(capsys):
    asked, measures = [], {"speed": Measure("a"), "wait": Measure("b", 1)}

    def side(name: str, **answer):
        return lambda: asked.append(name) or answer

    for number in range(3):
        answers = alternate(measures, side("ours", speed=10 + number, wait=0.5, version="x"), side("peer", speed=5), number)
    assert asked == ["ours", "peer", "peer", "ours", "ours", "peer"]
    assert measures["speed"].ours == [10, 11, 12] and measures["speed"].peer == [5, 5, 5]
    assert measures["wait"].ours == [0.5] * 3 and measures["wait"].peer == [] and answers["ours"]["version"] == "x"
    assert "round 2, ours: speed 11, wait 0.5\n" in capsys.readouterr().err


def test_the_table_shows_medians_their_spread_and_the_ratio():
    fast = Measure("images/s", ours=[30, 10, 20, 50, 40], peer=[10, 20, 10, 10, 10])
    quick = Measure("ms", 1, True, ours=[2, 4], peer=[6, 6])
    alone = Measure("GB", 2, ours=[1.234])
    assert table([fast, quick, alone]).splitlines() == [
        "|  | paddle_cls | PyTorch | ratio |", "| --- | --- | --- | --- |",
        "| images/s | 30 (10 to 50) | 10 (10 to 20) | **3.00** (0.50 to 5.00) |",
        "| ms | 3.0 (2.0 to 4.0) | 6.0 (6.0 to 6.0) | **2.00** (1.50 to 3.00) |",
        "| GB | 1.23 (1.23 to 1.23) |  |  |"]


def test_median_seconds_leaves_the_first_calls_out(monkeypatch):
    clock, lasts = [0.0], iter([9.0] * 5 + [1.0, 3.0, 2.0, 5.0, 4.0, 6.0, 0.5])
    monkeypatch.setattr("benchmarks.timing.time.perf_counter", lambda: clock[0])

    def call() -> None:
        clock[0] += next(lasts)

    assert median_seconds(call, 20) == 3.5         # of six calls, which reach 20 s
    assert next(lasts) == 0.5


def test_options():
    assert [options("", argv).rounds for argv in ([], ["--quick"], ["--quick", "--rounds", "3"])] == [5, 1, 3]
    assert options("", []).peer_python == sys.executable and options("", []).data_dir is None


def test_written_data_is_what_train_reads(tmp_path, cifar_root):
    train, test = images(23, None), images(4, cifar_root, "test")
    assert train[0].shape == (23, 32, 32, 3) and train[0].dtype == np.uint8 and set(train[1]) <= set(range(10))
    write_cifar(tmp_path, train, test)
    for split, (pictures, labels) in (("train", train), ("test", test)):
        found = cifar10.load(split, tmp_path)
        assert np.array_equal(found.images, pictures) and np.array_equal(found.labels, labels)
    assert np.array_equal(test[0], cifar10.load("test", cifar_root).images)


def test_the_speed_is_that_of_all_epochs_but_the_first(tmp_path, monkeypatch):
    rows = [{"step": 1, "lr": 1}] + [{"step": i, "images_per_second": speed, "reader_share": speed / 1000}
                                     for i, speed in enumerate((1, 10, 30, 20))]
    script = (f"import pathlib, sys; p = pathlib.Path(sys.argv[1]); p.mkdir(); print('4 processes: so\\nx\\ncomputing by y'); "
              f"(p / 'metrics.jsonl').write_text({chr(10).join(map(json.dumps, rows))!r})")
    monkeypatch.setattr(training, "command", lambda title, data, output, *more: [sys.executable, "-c", script, str(output)])
    assert training.train("VGG", tmp_path, 4) == {"speed": 20, "wait": 2.0, "said": ["4 processes: so", "computing by y"]}
    monkeypatch.setattr(training, "command", lambda *_: [sys.executable, "-c", "import sys; sys.exit('x\\nno memory')"])
    with pytest.raises(UserError, match=r"train\.py: no memory"):
        training.train("VGG", tmp_path, 4)


def test_the_command_trains_as_the_peer_does(tmp_path):
    line = " ".join(training.command("ResNet-32", tmp_path, tmp_path / "run", "--epochs", "2"))
    assert "train.py --model resnet --depth 32 --data-dir" in line and "--augment crop_flip --epochs 2" in line


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="PSS is Linux's")
def test_peak_memory_counts_children():
    child = "import time; kept = bytearray(100_000_000); time.sleep(1.5)"
    code = f"import subprocess, sys; kept = bytearray(50_000_000); subprocess.run([sys.executable, '-c', {child!r}])"
    assert 0.15 < training.peak_memory([sys.executable, "-c", code]) < 0.25
    with pytest.raises(UserError, match=r"train\.py ended with status 3"):
        training.peak_memory([sys.executable, "-c", "raise SystemExit(3)"])


def test_the_machine_is_named():
    assert rounds.machine().count(", ") >= 3 and f"{rounds.runtime.cores()} cores" in rounds.machine()


def test_our_reader_reads_every_image(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_setaffinity", lambda *_: None)
    np.savez(tmp_path / "a.npz", images=images(300, None)[0], labels=np.zeros(300, int))
    assert ours.reader(str(tmp_path / "a.npz"), 2)["reader"] > 300


def test_our_reader_of_files_reads_every_file(tmp_path):
    assert make_folder(tmp_path, 12, classes=2) > 12 * 20_000
    assert sorted(file.name for file in (tmp_path / "class 1").iterdir()) == [f"{i:05d}.jpg" for i in range(1, 12, 2)]
    assert ours.folder(str(tmp_path), 2)["folder"] > 1


def test_the_million_is_listed_alike_in_table_and_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(million, "FILES", 10)
    million.make(tmp_path, 30)
    for dataset, place in (("table", {"table": "table.csv"}), ("folder", {"root": "classes"})):
        answer = ours.first_batch(dataset, **{name: str(tmp_path / value) for name, value in place.items()})
        assert answer["images"] == 30 and 0 < answer["ready"] < answer["first"] and 0.05 < answer["memory"] < 5
