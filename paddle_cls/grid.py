"""`python -m paddle_cls.grid`, another name of `paddle-cls grid`."""

from .__main__ import run

if __name__ == "__main__":
    run("grid", "python -m paddle_cls.grid")
