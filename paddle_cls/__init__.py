"""Image classification on PaddlePaddle: the Fluid tutorials as `paddle.nn.Layer`s, and what grew from them.

Importing this package loads no Paddle; import the part you need:
`paddle_cls.models`, `paddle_cls.data`, `paddle_cls.predictor`.
"""

__version__ = "0.1.0"
