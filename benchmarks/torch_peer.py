"""PyTorch's side of the benchmarks, eager float32 as a user would write it. Needs torch and NumPy, no Paddle.

See rounds.py for how it is asked. The networks have the layers and the names of those in paddle_cls/models.
"""

import json
import math
import os
import random
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.timing import median_seconds

MEAN, STD = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])


def conv_bn(ch_in, ch_out, size, stride, padding, relu=True, bias=False):
    """Return convolution, batch norm and, where wanted, ReLU."""
    layers = nn.Sequential()
    layers.add_module("conv", nn.Conv2d(ch_in, ch_out, size, stride, padding, bias=bias))
    layers.add_module("bn", nn.BatchNorm2d(ch_out))
    if relu:
        layers.add_module("relu", nn.ReLU())
    return layers


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, ch_in, ch_out, stride):
        super().__init__()
        self.conv1 = conv_bn(ch_in, ch_out, 3, stride, 1)
        self.conv2 = conv_bn(ch_out, ch_out, 3, 1, 1, relu=False, bias=True)
        self.shortcut = nn.Identity() if ch_in == ch_out else conv_bn(ch_in, ch_out, 1, stride, 0, relu=False)

    def forward(self, x):
        return F.relu(self.conv2(self.conv1(x)) + self.shortcut(x))


class ResNet32(nn.Module):
    """The tutorial's resnet_cifar10 of 32 layers."""

    def __init__(self):
        super().__init__()
        self.conv1 = conv_bn(3, 16, 3, 1, 1)
        self.res1, self.res2, self.res3 = (
            nn.Sequential(Block(ch_in, ch_out, stride), *(Block(ch_out, ch_out, 1) for _ in range(4)))
            for ch_in, ch_out, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2)))
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = self.res3(self.res2(self.res1(self.conv1(x))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def conv_block(ch_in, ch_out, dropouts):
    """Return convolutions with batch norm, ReLU and dropout, and a pooling."""
    layers = nn.Sequential()
    for i, dropout in enumerate(dropouts, 1):
        layers.add_module(f"conv{i}", nn.Conv2d(ch_in, ch_out, 3, padding=1))
        layers.add_module(f"bn{i}", nn.BatchNorm2d(ch_out))
        layers.add_module(f"relu{i}", nn.ReLU())
        if dropout:
            layers.add_module(f"drop{i}", nn.Dropout(dropout))
        ch_in = ch_out
    layers.add_module("pool", nn.MaxPool2d(2, 2))
    return layers


class VGG(nn.Module):
    """The tutorial's vgg_bn_drop."""

    def __init__(self):
        super().__init__()
        self.conv1 = conv_block(3, 64, [0.3, 0])
        self.conv2 = conv_block(64, 128, [0.4, 0])
        self.conv3 = conv_block(128, 256, [0.4, 0.4, 0])
        self.conv4 = conv_block(256, 512, [0.4, 0.4, 0])
        self.conv5 = conv_block(512, 512, [0.4, 0.4, 0])
        self.drop1, self.fc1, self.bn = nn.Dropout(0.5), nn.Linear(512, 512), nn.BatchNorm1d(512)
        self.drop2, self.fc2, self.fc3 = nn.Dropout(0.5), nn.Linear(512, 512), nn.Linear(512, 10)

    def forward(self, x):
        x = self.conv5(self.conv4(self.conv3(self.conv2(self.conv1(x)))))
        x = F.relu(self.bn(self.fc1(self.drop1(torch.flatten(x, 1)))))
        return self.fc3(self.fc2(self.drop2(x)))


MODELS = {"resnet": ResNet32, "vgg": VGG}


def build(model, file):
    """Return the network with the weights that ours wrote."""
    net = MODELS[model]()
    with np.load(file) as data:
        weights = {name.removeprefix("weights/"): data[name] for name in data if name.startswith("weights/")}
    state = {}
    for name, value in weights.items():
        name = name.replace("._mean", ".running_mean").replace("._variance", ".running_var")
        state[name] = torch.from_numpy(value.T.copy() if value.ndim == 2 else value)     # Paddle keeps (in, out)
    for name, value in net.state_dict().items():
        if name.endswith("num_batches_tracked"):   # PyTorch's own
            state[name] = value
    net.load_state_dict(state)
    return net


def network(model, file):
    """Return the number of parameters and the logits for ours's images."""
    net = build(model, file).eval()
    with np.load(file) as data, torch.inference_mode():
        logits = net(torch.from_numpy(data["images"]))
    return {"parameters": sum(p.numel() for p in net.parameters()), "logits": logits.tolist()}


class Images(torch.utils.data.Dataset):
    """Images with crop and flip, one after the other, as torchvision's transforms do it (there is none in every build)."""

    def __init__(self, file):
        with np.load(file) as data:
            self.images = torch.from_numpy(np.ascontiguousarray(data["images"].transpose(0, 3, 1, 2)))
            self.labels = data["labels"].tolist()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        image = F.pad(self.images[index].float().div(255), (4, 4, 4, 4), mode="reflect")
        y, x = torch.randint(0, 9, (2,)).tolist()
        image = image[:, y:y + 32, x:x + 32]
        if torch.rand(1).item() < 0.5:
            image = image.flip(2)
        return (image - MEAN[:, None, None]) / STD[:, None, None], self.labels[index]


def train(model, file, images, epochs):
    """Return images/s of each epoch but the first: Adam, batches of 128 from a DataLoader with one worker.

    One worker reads far faster than the network trains; more would only take cores from it.
    """
    net = build(model, file)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    loader = torch.utils.data.DataLoader(Images(images), batch_size=128, shuffle=True, num_workers=1, persistent_workers=True)
    net.train()
    speeds = []
    for _ in range(epochs):
        start, total = time.perf_counter(), 0.0
        for batch, labels in loader:
            loss = F.cross_entropy(net(batch), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
        speeds.append(len(loader.dataset) / (time.perf_counter() - start))
    return {"speed": float(np.median(speeds[1:]))}


def infer(model, file, seconds):
    """Return images/s in batches of 128 and ms for one image: median, uint8 images of 32x32 to logits."""
    net = build(model, file).eval()
    pictures = np.random.default_rng(0).integers(0, 256, (128, 32, 32, 3), np.uint8)

    def logits(part):
        images = torch.from_numpy(part).permute(0, 3, 1, 2).float().div(255)
        return net((images - MEAN[:, None, None]) / STD[:, None, None]).numpy()

    with torch.inference_mode():
        return {"many": 128 / median_seconds(lambda: logits(pictures), seconds),
                "one": 1000 * median_seconds(lambda: logits(pictures[:1]), seconds)}


def reader(file, passes):
    """Return images/s of a DataLoader with crop and flip, batches of 128, on one core and in this process."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    dataset = Images(file)
    dataset = torch.utils.data.Subset(dataset, range(min(len(dataset), 10_000)))         # enough: each takes as long
    loader = torch.utils.data.DataLoader(dataset, batch_size=128, shuffle=True)
    next(iter(loader))
    start = time.perf_counter()
    count = sum(len(labels) for _ in range(passes) for _, labels in loader)
    return {"reader": count / (time.perf_counter() - start)}


class Pictures(torch.utils.data.Dataset):
    """JPEGs in a folder a class, by OpenCV: random resized crop to 224 as torchvision draws it, and flip."""

    def __init__(self, folder):
        self.files = [str(file) for file in sorted(Path(folder).glob("*/*.jpg"))]
        classes = sorted({Path(file).parent.name for file in self.files})
        self.labels = [classes.index(Path(file).parent.name) for file in self.files]
        self.scale, self.shift = (1 / 255 / STD)[:, None, None], (-MEAN / STD)[:, None, None]

    def __len__(self):
        return len(self.files)

    def box(self, height, width):
        """Return (top, left, height, width) of a part."""
        for _ in range(10):
            pixels = height * width * random.uniform(0.08, 1)
            ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
            rows, columns = round(math.sqrt(pixels / ratio)), round(math.sqrt(pixels * ratio))
            if 0 < rows <= height and 0 < columns <= width:
                return random.randint(0, height - rows), random.randint(0, width - columns), rows, columns
        side = min(height, width)
        return (height - side) // 2, (width - side) // 2, side, side

    def __getitem__(self, index):
        import cv2
        image = cv2.cvtColor(cv2.imread(self.files[index]), cv2.COLOR_BGR2RGB)
        top, left, rows, columns = self.box(*image.shape[:2])
        how = cv2.INTER_AREA if rows >= 224 and columns >= 224 else cv2.INTER_LINEAR     # as ours
        image = cv2.resize(image[top:top + rows, left:left + columns], (224, 224), interpolation=how)
        if random.random() < 0.5:
            image = cv2.flip(image, 1)
        image = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        return image.float().mul_(self.scale).add_(self.shift), self.labels[index]


def one_thread(worker):
    """Have a worker process compute in one thread."""
    import cv2
    cv2.setNumThreads(0)


def folder(folder, passes, workers):
    """Return images/s of a DataLoader with that many workers, batches of 128."""
    import cv2
    loader = torch.utils.data.DataLoader(Pictures(folder), batch_size=128, shuffle=True, num_workers=workers,
                                         persistent_workers=True, worker_init_fn=one_thread)
    for _ in loader:
        pass
    start = time.perf_counter()
    count = sum(len(labels) for _ in range(passes) for _, labels in loader)
    return {"folder": count / (time.perf_counter() - start), "opencv": cv2.__version__}


if __name__ == "__main__":
    answer = globals()[sys.argv[1]](**json.loads(sys.argv[2]))
    print(json.dumps({**answer, "version": f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads"}))
