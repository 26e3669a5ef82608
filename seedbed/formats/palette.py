"""VOC's colours of class ids."""

import numpy as np

VOID = 255  # class id of pixels without a label


def _voc_palette() -> np.ndarray:
    """VOC's colours (256, 3): bit 3j + c of an id is bit 7 - j of channel c (VOC devkit)."""
    index = np.arange(256)[:, None]
    channel = np.arange(3)
    return sum(((index >> (3 * j + channel)) & 1) << (7 - j) for j in range(3)).astype(np.uint8)


VOC_PALETTE = _voc_palette()
