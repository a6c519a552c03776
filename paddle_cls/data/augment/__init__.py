"""Augmentation: random changes of training images, and recipes of them."""
