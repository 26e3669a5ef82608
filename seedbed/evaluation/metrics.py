"""Confusion matrix of masks, and mean IoU as each published evaluator computes it."""

from collections.abc import Iterable, Mapping

import numpy as np

VOID = 255
VARIANTS = ("voc", "dsrg", "psa", "seam", "tf")


class ConfusionMatrix:
    """Pixel counts of truth × prediction over a whole data set.

    `counts` is int64 (C, C + 1): a row a true class, a column a predicted class, the last column
    for pixels predicted as void. Pixels whose truth is void are not counted.
    """

    def __init__(self, num_classes: int) -> None:
        if not 1 <= num_classes <= VOID:
            raise ValueError(f"num_classes must be in 1..{VOID}, not {num_classes}")
        self.num_classes = num_classes
        self.counts = np.zeros((num_classes, num_classes + 1), dtype=np.int64)

    def update(self, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Count a mask against its truth: integer arrays of one shape, class ids and 255 = void.

        Raises:
            ValueError: if the shapes differ or an array holds another value; nothing is counted.

        """
        truth, prediction = _as_mask(truth, "truth"), _as_mask(prediction, "prediction")
        if truth.shape != prediction.shape:
            raise ValueError(f"prediction is {prediction.shape}, but truth is {truth.shape}")
        pairs = (truth.astype(np.uint16) << 8 | prediction).ravel()
        table = np.bincount(pairs, minlength=1 << 16).reshape(256, 256)
        unknown = slice(self.num_classes, VOID)
        for name, beyond in (("truth", table[unknown]), ("prediction", table[:, unknown])):
            if beyond.any():
                raise ValueError(f"{name} has a class id that is not below {self.num_classes}")
        self.counts += table[: self.num_classes, [*range(self.num_classes), VOID]]

    def merge(self, other: "ConfusionMatrix") -> None:
        """Add the counts of another matrix of as many classes."""
        if other.num_classes != self.num_classes:
            raise ValueError(f"other has {other.num_classes} classes, not {self.num_classes}")
        self.counts += other.counts

    def __add__(self, other: "ConfusionMatrix") -> "ConfusionMatrix":
        both = ConfusionMatrix(self.num_classes)
        both.merge(self)
        both.merge(other)
        return both

    def labelled(self) -> "ConfusionMatrix":
        """Make a matrix of the pixels alone whose prediction is not void."""
        matrix = ConfusionMatrix(self.num_classes)
        matrix.counts[:, :-1] = self.counts[:, :-1]
        return matrix

    def iou(self) -> np.ndarray:
        """IoU of each class, (C,) in [0, 1], void counted as a miss; NaN for a class nowhere."""
        return _ratio(self._hits(), self._union())

    def precision(self) -> np.ndarray:
        """Share of the pixels predicted as each class that are of it; NaN if none is predicted."""
        return _ratio(self._hits(), self._predicted())

    def recall(self) -> np.ndarray:
        """Share of the pixels of each class that are found; NaN if the truth has none."""
        return _ratio(self._hits(), self.counts.sum(axis=1))

    def dice(self) -> np.ndarray:
        """Dice coefficient (F1) of each class, (C,) in [0, 1]; NaN for a class nowhere.

        Exact, as `frequency_weighted_iou`: DSRG-tensorflow's tool adds 0.001 to each divisor.
        """
        return _ratio(2 * self._hits(), self._union() + self._hits())

    def frequency_weighted_iou(self) -> float:
        """Mean IoU in [0, 1], each class weighted by its share of the truth; NaN without truth."""
        true = self.counts.sum(axis=1)
        return float(_ratio((true * np.nan_to_num(self.iou())).sum(), true.sum()))

    def coverage(self) -> float:
        """Share of the pixels whose prediction is not void; NaN if there are no pixels."""
        return float(_ratio(self.counts[:, :-1].sum(), self.counts.sum()))

    def miou(self, variant: str = "voc") -> float:
        """Mean IoU in [0, 1] as an evaluator of the field computes it.

        "voc": over the classes in truth or prediction; one that is never hit counts 0.
        "dsrg": evaluate.py of DSRG, over the classes hit at least once: never lower than "voc".
        "psa": evaluation.py used with PSA's masks: pixels predicted as void are not scored, a
        class nowhere counts 0. "seam": the same of SEAM, where void is a miss. "tf": the metrics
        of DSRG-tensorflow, as "seam" with 0.001 added to each union (that tool has no void).

        Raises:
            ValueError: if `variant` is unknown.

        """
        if variant == "voc":
            return _mean(self.iou())
        if variant == "dsrg":
            return _mean(self.iou()[self._hits() > 0])
        if variant == "psa":
            return self.labelled()._mean_over_all(1e-10)
        if variant == "seam":
            return self._mean_over_all(1e-10)
        if variant == "tf":
            return self._mean_over_all(1e-3)
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, not {variant!r}")

    def foreground_errors(self) -> dict[str, float]:
        """Means over the classes but background, as the evaluation.py used with PSA and SEAM has.

        "t_tp" is truth / hits and "p_tp" prediction / hits, both at least 1; "fp_all" and "fn_all"
        are the false and the missed pixels / union, and with "miou_foreground" they sum to 1. One
        class never hit makes "t_tp" astronomic: 1e-10 is added to what is divided by. The tool of
        PSA's masks does not score pixels predicted as void: there, ask `labelled()`.
        """
        hits, union = self._hits(), self._union() + 1e-10
        true, predicted = self.counts.sum(axis=1), self._predicted()
        ratios = {
            "t_tp": true / (hits + 1e-10),
            "p_tp": predicted / (hits + 1e-10),
            "fp_all": (predicted - hits) / union,
            "fn_all": (true - hits) / union,
            "miou_foreground": hits / union,
        }
        return {name: _mean(ratio[1:]) for name, ratio in ratios.items()}

    def _hits(self) -> np.ndarray:
        return self.counts.diagonal()

    def _predicted(self) -> np.ndarray:
        return self.counts[:, :-1].sum(axis=0)

    def _union(self) -> np.ndarray:
        return self.counts.sum(axis=1) + self._predicted() - self._hits()

    def _mean_over_all(self, epsilon: float) -> float:
        """Mean of hits / (union + epsilon): a class nowhere counts 0."""
        return float((self._hits() / (self._union() + epsilon)).mean())


def background_curve(
    images: Iterable[tuple[Mapping[int, np.ndarray], np.ndarray]],
    num_classes: int,
    variant: str = "voc",
) -> tuple[np.ndarray, np.ndarray]:
    """Mean IoU of class maps at every constant background score: 0.00, 0.01 … 0.59.

    At a threshold t an image is labelled as `pseudo_labels.argmax_labels(maps, t)` does, background
    winning ties; each image is read once. The best point of the curve is chosen with the truth: an
    upper bound of the maps, no result of a weakly supervised method.

    Args:
        images: pairs of maps, class id (1..C − 1) → (H, W), at least one, and truth, integer
            (H, W), class ids and 255 = void.
        num_classes: C, with background.
        variant: of `ConfusionMatrix.miou`.

    Returns:
        Thresholds (60,) and the mean IoU at each, (60,) in [0, 1]. Source: the curve of SEAM's
        evaluation.py (Wang et al., CVPR 2020).

    Raises:
        ValueError: if there is no map, shapes differ, or a class id is not below C.

    """
    thresholds = np.arange(60) / 100
    # Pixels by truth, by strongest class, and by how many thresholds that class is above.
    pixels = np.zeros((num_classes, num_classes, len(thresholds) + 1), dtype=np.int64)
    for maps, truth in images:
        winner, best = _strongest(maps, num_classes)
        if truth.shape != winner.shape:
            raise ValueError(f"truth is {truth.shape}, but its maps are {winner.shape}")
        known = truth != VOID
        above = np.searchsorted(thresholds, best[known])
        try:
            bins = np.ravel_multi_index((truth[known], winner[known], above), pixels.shape)
        except ValueError as error:
            raise ValueError(f"truth has a class id that is not below {num_classes}") from error
        pixels += np.bincount(bins, minlength=pixels.size).reshape(pixels.shape)
    foreground = pixels[..., :0:-1].cumsum(axis=-1)[..., ::-1]
    background = pixels.sum(axis=(1, 2))[:, None] - foreground.sum(axis=1)
    matrix = ConfusionMatrix(num_classes)
    curve = np.empty(len(thresholds))
    for t in range(len(thresholds)):
        matrix.counts[:, :-1] = foreground[..., t]
        matrix.counts[:, 0] = background[:, t]
        curve[t] = matrix.miou(variant)
    return thresholds, curve


def _strongest(maps: Mapping[int, np.ndarray], num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Id and score of the strongest class of each pixel, (H, W) each; of equals the lowest id."""
    ids = sorted(maps)
    if not ids or ids[0] < 1 or ids[-1] >= num_classes:
        raise ValueError(f"maps must be of classes 1..{num_classes - 1}, not {ids}")
    scores = np.stack([maps[c] for c in ids])
    return np.array(ids)[scores.argmax(axis=0)], scores.max(axis=0)


def _as_mask(mask: np.ndarray, name: str) -> np.ndarray:
    """Check that an integer array fits uint8 and convert it."""
    mask = np.asarray(mask)
    if mask.dtype == np.uint8:
        return mask
    if mask.dtype.kind not in "iu" or (mask.size and not 0 <= mask.min() <= mask.max() <= VOID):
        raise ValueError(f"{name} must hold integers in 0..{VOID}")
    return mask.astype(np.uint8)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide elementwise, NaN where `whole` is 0."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _mean(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
