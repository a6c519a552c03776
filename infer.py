"""Classify pictures with a trained network: python infer.py --image dog.png. The program is paddle_cls/programs/infer.py."""

from paddle_cls.__main__ import run

if __name__ == "__main__":
    run("infer", "infer.py")
