"""`python -m paddle_cls.data.shapes FOLDER`, another name of `paddle-cls draw-shapes`."""

from ..__main__ import run

if __name__ == "__main__":
    run("draw-shapes", "python -m paddle_cls.data.shapes")
