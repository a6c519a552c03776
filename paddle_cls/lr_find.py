"""`python -m paddle_cls.lr_find`, another name of `paddle-cls lr-find`."""

from .__main__ import run

if __name__ == "__main__":
    run("lr-find", "python -m paddle_cls.lr_find")
