"""`python -m paddle_cls.report`, another name of `paddle-cls report`."""

from .__main__ import run

if __name__ == "__main__":
    run("report", "python -m paddle_cls.report")
