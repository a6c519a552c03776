"""The networks as rows of a table: what `python -m paddle_cls.models` prints, and the README's."""

from ..formats.markdown import head, line
from . import facts, model_arguments

HEADER = ("name", "command", "paper", "parameters in millions: ours / the paper's", "test")


def row(name: str, image_size: int | None = None, **kwargs: object) -> dict:
    """Return what is known of model `name`, as JSON-able values.

    image_size, kwargs: with which the parameters and multiply-adds are counted; the paper's size and the model's defaults
    unless given. Raises UserError as `build_model` does.
    """
    from .profile import profile
    about, counted = facts(name), profile(name, image_size, **kwargs)
    return {
        "name": name, "paper": about.paper, "parameters": counted.parameters, "classes": about.classes,
        "published": published(name), "multiply_adds": counted.multiply_adds, "image_size": image_size or about.image_size,
        "smallest_image": about.smallest, "features": counted.features, "command": command(name),
        "model_args": [str(argument) for argument in model_arguments(name).values()]}


def command(name: str) -> str:
    """Return the shortest command that trains model `name`: on CIFAR-10, enlarged where the network needs it."""
    smallest = facts(name).smallest
    return f"python train.py --model {name}" + (f" --image-size {smallest}" if smallest > 32 else "")


def published(name: str) -> str:
    """Return the published parameters of model `name` in millions, who published them, and why ours are others."""
    about = facts(name)
    if not about.published:
        return "not published"
    who = f" ({about.source})" if about.source != "the paper" else ""
    return f"{about.published}{who}" + (f": {about.differs}" if about.differs else "")


def text(row: dict) -> str:
    """Return the line of the list about a network."""
    operations = "-" if row["multiply_adds"] is None else f"{row['multiply_adds'] / 1e9:.3f} G"
    return (f"{row['name']:20} {row['parameters'] / 1e6:8.2f} M {operations:>13} {row['image_size'] or '-':>5}  "
            f"{row['paper']}")


def markdown(name: str, parameters: int) -> str:
    """Return the line of the README's table about a network."""
    about = facts(name)
    digits = max(2, len(about.published.partition(".")[2]))
    return line([f"`{name}`", f"`{command(name)}`", about.paper, f"{parameters / 1e6:.{digits}f} / {published(name)}",
                 f"`tests/models/test_zoo.py::test_network[{name}]`"])


def markdown_header() -> str:
    """Return the first two lines of the README's table."""
    return head(HEADER)
