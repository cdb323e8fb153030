"""What test_process_group runs by itself and by torchrun: an epoch of every extractor, by gradient descent.

Adam divides a gradient by its size: it would hide a wrong factor, and blow rounding errors up where a gradient is 0.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch

from cortex.core.weights import write_weights
from cortex.extractors.network import build_extractor
from cortex.extractors.process_group import join_process_group
from cortex.extractors.state import Training
from cortex.extractors.train import classify, train_epoch, validate
from tests.training import SMALL


def train_all(folder: Path, data: Path, batch: int) -> None:
    """Write every extractor's weights, mean loss, validation loss and top-1 accuracy to a file of its own."""
    team = join_process_group(torch.device("cpu"))
    packed = np.load(data)
    grids, labels = (torch.from_numpy(packed[name].astype("int64")) for name in ("grid", "label"))
    for name in SMALL:
        torch.manual_seed(0)
        model = build_extractor(name, channels=5, classes=3, grid=(8, 8), dropout=0.0, **SMALL[name])
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
        training = Training(model, optimizer, schedule, torch.Generator().manual_seed(5))
        read = partial(classify, team.share(model, seed=0), torch.eye(4, 5))
        told = [train_epoch(training, read, grids, labels, batch=batch, team=team)]
        model.eval()
        told += validate(read, grids, labels, batch=batch, team=team)
        if team.rank == 0:
            write_weights(folder / name, model.state_dict() | {"told": torch.tensor(told)}, {})


if __name__ == "__main__":
    for number in sys.argv[3:]:
        train_all(Path(sys.argv[1]) / number, Path(sys.argv[2]), int(number))
