"""Seeded region growing of a batch against the paper's loops: `python -m benchmarks.growing`.

The loops visit cells and their neighbours one by one and, as DSRG's own layer does, number the
components of each class and of what is not of the class. 20 grids of 41 x 41 cells and 21 classes;
both ways are checked to give the same seeds.
"""

import numpy as np
import torch

from benchmarks.pairs import Comparison, compare
from benchmarks.targets import Target
from seedbed.methods.dsrg.growing import grow_seeds

BATCH, CLASSES, SIDE = 20, 21, 41
FOREGROUND, BACKGROUND = 0.85, 0.99
TURNS = 5
TARGET = Target(100)
SEED = 0


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cues, probabilities and labels of a batch, blobs of two classes on background."""
    rng = np.random.default_rng(SEED)
    labels = np.zeros((BATCH, CLASSES), dtype=bool)
    labels[:, 0] = True
    coarse = rng.normal(0, 1, (BATCH, CLASSES, 6, 6)).astype(np.float32)
    logits = torch.nn.functional.interpolate(
        torch.from_numpy(coarse), size=(SIDE, SIDE), mode="bilinear"
    )
    for image in range(BATCH):
        labels[image, rng.choice(np.arange(1, CLASSES), 2, replace=False)] = True
    logits[torch.from_numpy(~labels)] -= 10
    probs = (8 * logits).softmax(1)
    present = torch.from_numpy(labels)
    sure = torch.from_numpy(rng.random((BATCH, CLASSES, SIDE, SIDE)) < 0.05)
    cues = sure & (probs > 0.5) & present[:, :, None, None]
    return cues, probs, present


def grow_by_loops(cues: np.ndarray, probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Grow one image's cues (C, H, W) cell by cell."""
    present = [c for c in range(len(labels)) if labels[c]]
    _, height, width = cues.shape
    region = np.full((height, width), -1)
    for row in range(height):
        for column in range(width):
            for c in range(len(cues)):
                if cues[c, row, column]:
                    region[row, column] = c
            best = max(present, key=lambda c: probs[c, row, column])
            value = probs[best, row, column]
            if value > FOREGROUND and (best != 0 or value > BACKGROUND):
                region[row, column] = best
    grown = cues.copy()
    for c in present:
        mine = region == c
        for component in components(mine):
            if mine[component[0]] and any(cues[c, row, column] for row, column in component):
                for row, column in component:
                    owners = cues[:, row, column]
                    if owners.sum() != 1 or owners[c]:
                        grown[c, row, column] = True
    return grown


def components(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """Cells of each 8-connected component of equal values."""
    height, width = mask.shape
    seen = np.zeros_like(mask)
    found = []
    for start in np.ndindex(mask.shape):
        if seen[start]:
            continue
        seen[start] = True
        component, waiting = [], [start]
        while waiting:
            row, column = waiting.pop()
            component.append((row, column))
            for r in range(max(0, row - 1), min(height, row + 2)):
                for c in range(max(0, column - 1), min(width, column + 2)):
                    if mask[r, c] == mask[start] and not seen[r, c]:
                        seen[r, c] = True
                        waiting.append((r, c))
        found.append(component)
    return found


def measure() -> Comparison:
    """Both ways in turns, on one thread."""
    torch.set_num_threads(1)
    cues, probs, labels = batch()
    arrays = [each.numpy() for each in (cues, probs, labels)]
    options = {"foreground_threshold": FOREGROUND, "background_threshold": BACKGROUND}

    def ours() -> torch.Tensor:
        return grow_seeds(cues, probs, labels, **options, prefill_seeds=True)

    def loops() -> np.ndarray:
        return np.stack([grow_by_loops(*image) for image in zip(*arrays, strict=True)])

    if not np.array_equal(ours().numpy(), loops()):
        raise AssertionError("the two ways differ")
    return compare(ours, loops, TURNS)


if __name__ == "__main__":
    found = measure()
    title = f"growing, {BATCH} x {CLASSES} x {SIDE} x {SIDE}, one thread, seed {SEED}"
    print(f"{title}: {found}; target {TARGET.verdict(found.ratio)}")
