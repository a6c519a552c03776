"""`python -m paddle_cls.data.check FOLDER_OR_TABLE`, another name of `paddle-cls check`."""

from ..__main__ import run

if __name__ == "__main__":
    run("check", "python -m paddle_cls.data.check")
