"""The version of this package, for `paddle_cls`, the wheel and every checkpoint. A module of its own: it imports nothing."""

__version__ = "0.2.0"
