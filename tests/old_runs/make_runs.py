"""Write run folders of the installed Paddle, which test_old_checkpoints.py reads: python tests/data/make_runs.py NAME.

Made once, by the version of 2026-11-24 under Paddle 3.3.1 (NumPy 2) and Paddle 2.6.2 (NumPy 1), and not to be made again:
they stand for what users have. Weights and moments are rounded as they are saved, so that the archive stays small.
"""

import hashlib
import io
import json
import os
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE.parent)]
SETTINGS = {"adam_ema": "--optimizer adam --ema-decay 0.5", "nesterov": "--optimizer nesterov --lr 0.01"}
BOTH = "--dataset shapes --depth 8 --nproc 1 --device cpu --onednn off --batch-size 100"


def rounded(key: str, array: np.ndarray) -> np.ndarray:
    """Return weights as -1, 0 or 1 times a power of two, moments with but the 1 % largest; small arrays as they are."""
    if array.size <= 64 or array.dtype != np.float32 or np.mean(array == 0) > 0.3:
        return array                               # small, or rounded before
    if "moment" in key or "velocity" in key:
        return np.where(np.abs(array) >= np.quantile(np.abs(array), 0.99), array, np.float32(0))
    scale = np.float32(2.0 ** np.round(np.log2(array.std())))
    return np.where(np.abs(array) < scale, np.float32(0), np.sign(array) * scale)


def digest(value: object) -> str:
    """Return the begin of the checksum of an array's type, shape and bytes, or what another value is."""
    if not isinstance(value, np.ndarray):
        return repr(value)
    head = f"{value.dtype.str} {value.shape} ".encode()
    return hashlib.sha256(head + np.ascontiguousarray(value).tobytes()).hexdigest()[:16]


def main(name: str) -> None:
    """Write NAME.tar.xz and NAME.json beside this file."""
    from paddle_cls.system import runtime
    runtime.prepare()
    import paddle
    from fakes import rgb
    from PIL import Image

    from paddle_cls.formats import safe_pickle
    from paddle_cls.programs import infer, train
    save = paddle.save

    def save_rounded(state, path):
        for key, value in state.items():
            if isinstance(value, np.ndarray):
                state[key] = rounded(key, value)
            elif isinstance(value, paddle.Tensor):
                value.set_value(rounded(key, value.numpy()))
        save(state, path)

    folder = Path(tempfile.mkdtemp())
    os.chdir(folder)
    os.environ["PADDLE_CLS_CACHE"] = str(folder / "cache")
    Image.fromarray(rgb(7)).save("picture.png")
    made = {"paddle": paddle.__version__, "numpy": np.__version__}
    for run, flags in SETTINGS.items():
        paddle.save = save_rounded
        with paddle.utils.unique_name.guard():
            train.main(f"{BOTH} {flags} --max-steps 4 --output-dir {run}".split())
        paddle.save = save
        made[run] = {file.name: {key: digest(value[1] if isinstance(value, tuple) else value)
                                 for key, value in safe_pickle.load(file).items()} for file in sorted(Path(run).glob("*.pd*"))}
        infer.main(f"--image picture.png --checkpoint {run} --format json --output answer.json --device cpu".split())
        made[run]["answer"] = json.loads(Path("answer.json").read_text())
    with tarfile.open(HERE / f"{name}.tar.xz", "w:xz") as tar:
        for file in sorted(file for run in SETTINGS for file in Path(run).glob("*.*") if file.suffix != ".png"):
            entry, content = tarfile.TarInfo(str(file)), file.read_bytes()
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    for run in SETTINGS:
        with paddle.utils.unique_name.guard():
            train.main(f"--resume --nproc 1 --max-steps 6 --output-dir {run}".split())
        lines = [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]
        made[run]["resumed"] = lines[-1]
    (HERE / f"{name}.json").write_text(json.dumps(made, indent=0) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
