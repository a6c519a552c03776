"""The eye-disease tutorial's AlexNet."""

import paddle
from paddle import nn

from ..errors import UserError
from .about import about

SIDE = 224                                         # pixels; fc1 fits no other size


@about("Krizhevsky et al. 2012, NIPS 25", published="60", smallest=SIDE,
       differs="the tutorial pads the first layer by 5, so that fc1 is wider, and has no groups")
class AlexNet(nn.Layer):
    """AlexNet of the iChallenge-PM tutorial, after Krizhevsky et al. 2012.

    Input float32 (N, 3, 224, 224); output logits float32 (N, num_classes). Raises UserError for another image_size.
    Deviations from the paper, all the tutorial's: no groups, no local response normalization, 2x2 pooling, and a padding
    of 5 in the first layer, by which fc1 is 256 * 7 * 7 = 12544 wide.
    Initialization: He normal for the convolutions, Xavier uniform for the linear layers (Paddle's defaults).
    """

    def __init__(self, num_classes: int = 1, image_size: int = SIDE):
        super().__init__()
        if image_size != SIDE:
            raise UserError(f"alexnet: image_size={image_size}, but its first linear layer fits {SIDE}x{SIDE} images only; "
                            f"use --image-size {SIDE}")
        self.conv1 = nn.Conv2D(3, 96, 11, stride=4, padding=5)
        self.conv2 = nn.Conv2D(96, 256, 5, padding=2)
        self.conv3 = nn.Conv2D(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2D(384, 384, 3, padding=1)
        self.conv5 = nn.Conv2D(384, 256, 3, padding=1)
        self.pool = nn.MaxPool2D(2, 2)
        self.relu = nn.ReLU()
        self.fc1 = nn.Linear(12544, 4096)
        self.drop1 = nn.Dropout(0.5)
        self.fc2 = nn.Linear(4096, 4096)
        self.drop2 = nn.Dropout(0.5)
        self.fc3 = nn.Linear(4096, num_classes)

    def forward_features(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the features before the head, float32 (N, 4096)."""
        if list(images.shape[2:]) != [SIDE, SIDE]:
            raise UserError(f"alexnet takes {SIDE}x{SIDE} images and was given {images.shape[2]}x{images.shape[3]}")
        x = self.pool(self.relu(self.conv1(images)))          # (N, 96, 28, 28)
        x = self.pool(self.relu(self.conv2(x)))               # (N, 256, 14, 14)
        x = self.relu(self.conv3(x))
        x = self.relu(self.conv4(x))
        x = self.pool(self.relu(self.conv5(x)))               # (N, 256, 7, 7)
        x = self.drop1(self.relu(self.fc1(paddle.flatten(x, 1))))
        return self.drop2(self.relu(self.fc2(x)))

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        return self.fc3(self.forward_features(images))
