"""This package's side of the benchmarks; what is measured is its own code. See rounds.py for how it is asked."""

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import cv2
import numpy as np

from benchmarks.timing import median_seconds
from paddle_cls.system import runtime


def network(model: str, file: str) -> dict:
    """Write weights, images, and the logits of dygraph for them to `file`; return the number of parameters."""
    runtime.prepare()
    import paddle

    from paddle_cls.models import build_model, count_parameters
    from paddle_cls.paddle_internals import forget_statistics, norms
    paddle.seed(0)
    net = build_model(model, 10)
    for _, norm in norms(net):                     # statistics that fit the weights, as after training
        forget_statistics(norm)
    images = np.random.default_rng(0).standard_normal((8, 3, 32, 32), np.float32)
    with paddle.no_grad():
        net(paddle.randn([32, 3, 32, 32]))
        net.eval()
        logits = net(paddle.to_tensor(images)).numpy()
    np.savez(file, images=images, logits=logits, **{f"weights/{name}": value.numpy() for name, value in net.state_dict().items()})
    return {"parameters": count_parameters(net)}


def infer(model: str, file: str, seconds: float) -> dict:
    """Return images/s in batches of 128 and ms for one image: median, uint8 images of 32x32 to logits, by Predictor."""
    runtime.prepare()
    import paddle

    from paddle_cls.data.images.transforms import CIFAR10
    from paddle_cls.inference import cached
    from paddle_cls.inference.predictor import Predictor
    from paddle_cls.models import build_model
    net = build_model(model, 10)
    with np.load(file) as data:
        net.set_state_dict({name: data[f"weights/{name}"] for name in net.state_dict()})
    pictures = np.random.default_rng(0).integers(0, 256, (128, 32, 32, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        engine = cached.make(Path(folder, "export"), net, CIFAR10, 32)
        predictor = Predictor(lambda: net, "0123456789", 32, CIFAR10, engine=engine)
        many = median_seconds(lambda: predictor.logits(pictures, batch_size=128), seconds)
        one = median_seconds(lambda: predictor.logits(pictures[:1]), seconds)
    return {"many": 128 / many, "one": 1000 * one, "version": f"Paddle {paddle.__version__}"}


def reader(file: str, passes: int) -> dict:
    """Return images/s of the training reader with crop and flip, batches of 128, on one core; file: .npz of images, labels."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    runtime.prepare()
    from paddle_cls.data import CIFAR10, Data, Split, transforms
    from paddle_cls.data.reader import batches
    with np.load(file) as data:                    # in the order in memory that data.cifar gives them
        split = Split(np.ascontiguousarray(data["images"].transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1), data["labels"])
    transform, _ = transforms(Data(split, split, tuple("0123456789"), 32, CIFAR10), None, "crop_flip")
    for _ in batches(split, 128, transform, seed=0, stop=20)():
        pass
    start = time.perf_counter()
    count = sum(batch.total for epoch in range(passes) for batch in batches(split, 128, transform, seed=0, epoch=epoch)())
    return {"reader": count / (time.perf_counter() - start), "version": f"NumPy {np.__version__}"}


def folder(folder: str, passes: int) -> dict:
    """Return images/s of the training reader on a folder of JPEGs: random resized crop to 224, flip, batches of 128."""
    runtime.prepare()
    from paddle_cls.data import load_data, transforms
    from paddle_cls.data.reader import batches, prefetch
    data = load_data("folder", Path(folder), 224)
    transform, _ = transforms(data, None, "standard")

    def read(epoch: int) -> int:
        return sum(len(batch.labels) for batch in prefetch(batches(data.train, 128, transform, seed=0, epoch=epoch))())

    read(0)
    start = time.perf_counter()
    count = sum(read(epoch) for epoch in range(1, passes + 1))
    return {"folder": count / (time.perf_counter() - start), "version": f"NumPy {np.__version__}, OpenCV {cv2.__version__}"}


def first_batch(dataset: str, **places: str) -> dict:
    """Return the seconds until the data is checked, those until there is a first batch of 128, and the peak of memory in GB."""
    from paddle_cls.data import load_data, transforms
    from paddle_cls.data.reader import batches, prefetch
    start = time.perf_counter()
    data = load_data(dataset, image_size=224, **{name: Path(place) for name, place in places.items()})
    ready = time.perf_counter() - start
    reader = prefetch(batches(data.train, 128, transforms(data, None, "standard")[0], seed=0))()
    next(reader)
    first = time.perf_counter() - start
    for _ in zip(range(20), reader, strict=False):           # so that what is read ahead is there
        pass
    reader.close()
    return {"ready": ready, "first": first, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
            "images": len(data.train) + len(data.val)}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
