"""`python -m paddle_cls.models`, another name of `paddle-cls models`."""

from ..__main__ import run

if __name__ == "__main__":
    run("models", "python -m paddle_cls.models")
