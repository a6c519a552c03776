"""Fine-tuning against training from scratch, on CIFAR-10: python -m benchmarks.transfer --data-dir DIR

Pre-trains a ResNet-20 on every second class of CIFAR-10 (25,000 images), then trains on 100 images a class of the others,
once from those weights and once from scratch, with the same settings but the learning rate, which is the best that was found
for each. Validates on all 5,000 test images of those classes. Each seed draws other training images. Everything is done by
train.py on folders of pictures that are made first, below --work; a second call goes on where the first stopped. Markdown.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from benchmarks.runs import last_epoch, table
from paddle_cls.data.reader import Split
from paddle_cls.data.sets import cifar10
from paddle_cls.system.entry import reported

ROOT = Path(__file__).resolve().parent.parent
BASE, NEW = cifar10.CLASSES[::2], cifar10.CLASSES[1::2]
IMAGES = 100                                       # of each class, to fine-tune on
NETWORK = ["--model", "resnet", "--depth", "20", "--dataset", "folder", "--image-size", "32"]
PRETRAIN = ["--config", "configs/cifar10_resnet32.yaml", "--epochs", "10"]
TUNE = ["--config", "configs/finetune.yaml"]
SCRATCH_LR = "0.05"


def write_class(split: Split, name: str, folder: Path, images: np.ndarray | None = None) -> None:
    """Write the images of a class, or those at the places `images` among them, as PNG files into folder/name."""
    places = np.flatnonzero(split.labels == cifar10.CLASSES.index(name))
    (folder / name).mkdir(parents=True)
    for place in places if images is None else places[images]:
        (folder / name / f"{place:05d}.png").write_bytes(cv2.imencode(".png", split.images[place][:, :, ::-1])[1].tobytes())


def prepare(data_dir: Path, work: Path, seeds: int) -> None:
    """Write base/ and new0/, new1/, ... below `work`, each with train/CLASS/*.png and val/CLASS/*.png."""
    if (work / "ready").exists():
        return
    train, test = cifar10.load("train", data_dir), cifar10.load("test", data_dir)
    for name in BASE:
        write_class(train, name, work / "base" / "train")
        write_class(test, name, work / "base" / "val")
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        for name in NEW:
            count = int((train.labels == cifar10.CLASSES.index(name)).sum())
            write_class(train, name, work / f"new{seed}" / "train", rng.permutation(count)[:IMAGES])
            write_class(test, name, work / f"new{seed}" / "val")
    (work / "ready").touch()


def train(folder: Path, data: Path, *flags: str) -> Path:
    """Call train.py, or go on with a run that was stopped; return the run folder."""
    resume = ["--resume"] if folder.exists() else []
    subprocess.run([sys.executable, "train.py", *NETWORK, "--data-dir", data, "--output-dir", folder, *flags, *resume], cwd=ROOT,
                   check=True)
    return folder


def main() -> None:
    """Run what the arguments ask for and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="folder of CIFAR-10 (default: as in train.py)")
    parser.add_argument("--work", type=Path, default=Path("output/transfer"), help="folder of pictures and runs")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--max-steps", type=int, help="stop every run after so many steps, for a quick try")
    given = parser.parse_args()
    work = given.work.resolve()
    quick = ["--max-steps", str(given.max_steps)] if given.max_steps else []
    prepare(given.data_dir, work, given.seeds)
    base = train(work / "runs" / "base", work / "base", *PRETRAIN, *quick)
    ways = {"fine-tuned": ["--pretrained", str(base)], "from scratch": ["--lr", SCRATCH_LR]}
    runs = {way: [train(work / "runs" / f"{way.replace(' ', '_')}{seed}", work / f"new{seed}", *TUNE, *flags, "--seed", str(seed),
                        *quick) for seed in range(given.seeds)] for way, flags in ways.items()}
    print(f"\npre-training on {', '.join(BASE)}:\n\n{table([base])}\n")
    for way, folders in runs.items():
        print(f"{way}, {IMAGES} images of each of {', '.join(NEW)}:\n\n{table(folders)}\n")
    means = [statistics.mean(last_epoch(folder)["val/acc1"] for folder in folders) for folders in runs.values()]
    print(f"mean accuracy {means[0]:.4f} fine-tuned, {means[1]:.4f} from scratch: {100 * (means[0] - means[1]):+.1f} points")


if __name__ == "__main__":
    with reported("transfer.py"):
        main()
