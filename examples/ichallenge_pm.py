"""The eye-disease tutorial with this package: python -m examples.ichallenge_pm --data-dir DIR [--model lenet]

DIR holds PALM-Training400, PALM-Validation400 and labels.csv. Writes output/palm/palm.pdparams and palm.pdopt.
"""

if __name__ == "__main__":
    import warnings
    warnings.filterwarnings("ignore", module=r"paddle\.")      # such as that it found no ccache

import io
from pathlib import Path

import numpy as np
import paddle

from paddle_cls.data.reader import Reader
from paddle_cls.data.sets.ichallenge_pm import data_loader, valid_data_loader
from paddle_cls.errors import UserError
from paddle_cls.evaluation import metrics
from paddle_cls.models import build_model
from paddle_cls.programs.settings.command_line import Parser
from paddle_cls.system.entry import reported
from paddle_cls.system.files import write_bytes
from paddle_cls.training.optimizers import build_optimizer

OUTPUT = Path("output/palm")                       # git ignores output/
# In the tutorial LeNet does not learn: its weights start where the sigmoids are flat, and its fc1 takes steps 300 times
# too large. Elsewhere the learning rate and the optimizer are the tutorial's.
RECIPES: dict[str, tuple[dict, dict]] = {
    "alexnet": ({}, {"name": "momentum"}),
    "lenet": ({"init": "zero_mean"}, {"name": "adam", "lr_scale": {"fc1": 0.003}}),
}


def evaluation(model: paddle.nn.Layer, reader: Reader) -> dict[str, float]:
    """Return loss, accuracy, AUC and more over all samples of `reader`."""
    model.eval()
    logits, labels = [], []
    with paddle.no_grad():
        for x_data, y_data in reader():
            logits.append(model(paddle.to_tensor(x_data)).numpy())
            labels.append(y_data)
    return metrics.classification(np.concatenate(logits), np.concatenate(labels)[:, 0].astype(int)).flat()


def train(model: paddle.nn.Layer, optimizer: paddle.optimizer.Optimizer, reader: Reader, valid: Reader, epochs: int) -> None:
    """Train for `epochs` passes, validate after each, and save the weights and the optimizer's state at the end."""
    for epoch in range(1, epochs + 1):
        model.train()
        for batch_id, (x_data, y_data) in enumerate(reader()):
            logits = model(paddle.to_tensor(x_data))
            loss = paddle.nn.functional.binary_cross_entropy_with_logits(logits, paddle.to_tensor(y_data))
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
            if batch_id % 20 == 0:
                print(f"epoch {epoch}, batch {batch_id}: loss {float(loss):.4f}", flush=True)
        figures = evaluation(model, valid)
        print("[validation] loss {loss:.4f}, accuracy {acc1:.4f}, AUC {auc:.4f}".format(**figures), flush=True)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for name, state in (("palm.pdparams", model.state_dict()), ("palm.pdopt", optimizer.state_dict())):
        paddle.save(state, content := io.BytesIO())
        write_bytes(OUTPUT / name, content.getvalue())         # whole or not at all


def main() -> None:
    """Read the arguments, train, and evaluate what was saved."""
    parser = Parser(prog="ichallenge_pm.py", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--model", choices=RECIPES, default="alexnet")
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    if not 1 <= options.epochs <= 1000:
        raise UserError(f"--epochs: {options.epochs} must be from 1 to 1000")
    paddle.seed(0)
    train_reader = data_loader(options.data_dir / "PALM-Training400", batch_size=10, mode="train")
    valid_reader = valid_data_loader(options.data_dir / "PALM-Validation400", options.data_dir / "labels.csv")
    arguments, recipe = RECIPES[options.model]
    model = build_model(options.model, num_classes=1, **arguments)
    optimizer = build_optimizer(model=model, **recipe)
    optimizer.set_lr(0.001)
    train(model, optimizer, train_reader, valid_reader, options.epochs)
    model.set_state_dict(paddle.load(str(OUTPUT / "palm.pdparams")))
    print("[evaluation]", evaluation(model, valid_reader))


if __name__ == "__main__":
    with reported("ichallenge_pm.py"):
        main()
