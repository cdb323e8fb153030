"""What several test files share: masking pixel by pixel, and a judge's answer for one image."""

import torch

CODES = 6
CPU = torch.device("cpu")


def painted_by_hand(image, grid, codes):
    """The image with every 4×4 patch whose token is in ``codes`` black, pixel by pixel."""
    painted = image.copy()
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if grid[y // 4][x // 4] in codes:
                painted[y, x] = 0
    return painted


def label_probability(judge, image, label):
    return judge.logits(torch.from_numpy(image)[None]).softmax(1)[0, label].item()
