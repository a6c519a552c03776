"""Run folders that the version of 2026-11-24 wrote (old_runs/make_runs.py) under both Paddles: to the last bit, for ever."""

import json
import sys
import tarfile
from pathlib import Path

import pytest
from conftest import ROOT
from fakes import rgb
from PIL import Image

from paddle_cls.checkpoints import checkpoint, weights
from paddle_cls.programs import infer, train

sys.path.insert(0, str(ROOT / "tests" / "old_runs"))
from make_runs import SETTINGS, digest

WRITERS = ("paddle-2.6.2", "paddle-3.3.1")


@pytest.fixture(scope="module", params=WRITERS)
def made(request, tmp_path_factory) -> tuple[Path, dict]:
    """(a folder with the runs of one Paddle, which is not to be changed but where a test says so; what is known of them)."""
    folder = tmp_path_factory.mktemp(request.param)
    with tarfile.open(ROOT / "tests" / "old_runs" / f"{request.param}.tar.xz") as tar:
        for member in tar:
            file = folder / member.name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(tar.extractfile(member).read())
    return folder, json.loads((ROOT / "tests" / "old_runs" / f"{request.param}.json").read_text())


@pytest.mark.parametrize("run", SETTINGS)
def test_every_bit_is_as_it_was(made, run):
    folder, known = made
    for name in ("best.pdparams", "best.pdopt", "last.pdparams", "last.pdopt"):
        table = {key: value for key, value in known[run][name].items() if key != "StructuredToParameterName@@"}
        state = weights.read_state(folder / run / name)
        assert list(state) == list(table) and len(state) >= 25
        assert {key: digest(value) for key, value in state.items()} == table
        if name.endswith(".pdparams"):
            assert weights.read_weights(folder / run / name).keys() == state.keys()


@pytest.mark.parametrize("run", SETTINGS)
def test_the_description_is_as_it_was(made, run):
    folder, _ = made
    for name in ("best", "last"):
        content = json.loads((folder / run / f"{name}.json").read_text())
        info = checkpoint.read_info(folder / run / name)
        assert info.version == "" and (info.step, info.metrics, info.best) == (
            content["step"], content["figures"], content["best"])
        content["totals"].pop("flags")
        assert info.to_dictionary() == content


@pytest.mark.parametrize("run", SETTINGS)
def test_the_answer_is_as_it_was(made, run, call_in_memory, monkeypatch):
    folder, known = made
    monkeypatch.chdir(folder)
    Image.fromarray(rgb(7)).save("picture.png")
    done = call_in_memory(infer, "--image", "picture.png", "--checkpoint", run, "--format", "json", "--device", "cpu")
    assert done.status == 0, done.err
    ours, theirs = ([(best["class"], best["probability"]) for best in answer[0]["top"]]
                    for answer in (json.loads(done.out), known[run]["answer"]))
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    assert [share for _, share in ours] == pytest.approx([share for _, share in theirs], rel=1e-3)


def test_the_next_steps_are_as_they_were(made, call_in_memory, monkeypatch):
    """With the moments of Adam and the averages of EMA, which have to come back for that."""
    folder, known = made
    monkeypatch.chdir(folder)
    done = call_in_memory(train, "--resume", "--nproc", 1, "--max-steps", 6, "--output-dir", "adam_ema")
    assert done.status == 0, done.err
    assert "resumed adam_ema/last: 0 epochs and 4 steps are done\nmax_steps: 4 before, 6 now\n" in done.out
    line = json.loads(Path("adam_ema/metrics.jsonl").read_text().splitlines()[-1])
    wanted = known["adam_ema"]["resumed"]
    assert line["step"] == 6
    for key in ("train/loss", "val/loss"):         # Paddle 2.6 and 3.3 round in other places
        assert line[key] == pytest.approx(wanted[key], rel=2e-3)
