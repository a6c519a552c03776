"""Train a network on images: python train.py --model resnet --depth 32. The program is paddle_cls/programs/train.py."""

from paddle_cls.__main__ import run

if __name__ == "__main__":
    run("train", "train.py")
