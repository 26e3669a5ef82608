"""Confusion matrix of masks, and mean IoU as each published evaluator computes it."""

import numpy as np

from seedbed.formats.palette import VOID

VARIANTS = ("voc", "dsrg", "psa", "seam", "tf")


class ConfusionMatrix:
    """Pixel counts of truth × prediction over a whole data set.

    `counts` is int64 (C, C + 1): rows are true classes, columns predicted classes, the last column
    counts pixels predicted as void. Pixels whose truth is void are not counted.
    """

    def __init__(self, num_classes: int) -> None:
        if not 1 <= num_classes <= VOID:
            raise ValueError(f"num_classes must be in 1..{VOID}, not {num_classes}")
        self.num_classes = num_classes
        self.counts = np.zeros((num_classes, num_classes + 1), dtype=np.int64)

    def update(self, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Count the pixels of a mask: integer arrays of one shape, class ids and 255 = void.

        Raises:
            ValueError: if the shapes differ or an array holds another value; nothing is counted.

        """
        truth, prediction = _as_mask(truth, "truth"), _as_mask(prediction, "prediction")
        if truth.shape != prediction.shape:
            raise ValueError(f"prediction is {prediction.shape}, but truth is {truth.shape}")
        pairs = (truth.astype(np.uint16) << 8 | prediction).ravel()
        table = np.bincount(pairs, minlength=1 << 16).reshape(256, 256)
        unknown = slice(self.num_classes, VOID)
        for name, pixels in (("truth", table[unknown]), ("prediction", table[:, unknown])):
            if pixels.any():
                raise ValueError(f"{name} has a class id that is not below {self.num_classes}")
        self.counts += table[: self.num_classes, [*range(self.num_classes), VOID]]

    def merge(self, other: "ConfusionMatrix") -> None:
        """Add the counts of another matrix with the same number of classes."""
        if other.num_classes != self.num_classes:
            raise ValueError(f"other has {other.num_classes} classes, not {self.num_classes}")
        self.counts += other.counts

    def __add__(self, other: "ConfusionMatrix") -> "ConfusionMatrix":
        total = ConfusionMatrix(self.num_classes)
        total.merge(self)
        total.merge(other)
        return total

    def without_void(self) -> "ConfusionMatrix":
        """A copy that leaves out the pixels predicted as void."""
        matrix = ConfusionMatrix(self.num_classes)
        matrix.counts[:, :-1] = self.counts[:, :-1]
        return matrix

    def iou(self) -> np.ndarray:
        """IoU by class, (C,) in [0, 1]; predicted void is a miss; NaN where the union is empty."""
        return _ratio(self._true_positives(), self._union())

    def precision(self) -> np.ndarray:
        """Precision by class, (C,) in [0, 1]; NaN for a class that is never predicted."""
        return _ratio(self._true_positives(), self._predicted())

    def recall(self) -> np.ndarray:
        """Recall by class, (C,) in [0, 1]; NaN for a class that the truth lacks."""
        return _ratio(self._true_positives(), self._true())

    def dice(self) -> np.ndarray:
        """Dice coefficient (F1) by class, (C,) in [0, 1]; NaN where the union is empty.

        Exact, as is `frequency_weighted_iou`: DSRG-tensorflow's tool adds 0.001 to each divisor.
        """
        return _ratio(2 * self._true_positives(), self._union() + self._true_positives())

    def frequency_weighted_iou(self) -> float:
        """Mean IoU weighted by each class's share of the truth, in [0, 1]; NaN without truth."""
        true = self._true()
        return float(_ratio((true * np.nan_to_num(self.iou())).sum(), true.sum()))

    def coverage(self) -> float:
        """Share of the pixels whose prediction is not void; NaN if there are no pixels."""
        return float(_ratio(self.counts[:, :-1].sum(), self.counts.sum()))

    def miou(self, variant: str = "voc") -> float:
        """Mean IoU in [0, 1] as a published evaluator computes it.

        TP, T and P are a class's true positives, true pixels (those predicted as void included)
        and predicted pixels; its union is T + P − TP.

        - "voc": mean of TP / union over the classes with a non-empty union.
        - "dsrg": speedinghzl/DSRG, evaluate.py: the same over the classes with TP > 0; never
          below "voc".
        - "psa": peihan-miao/ResNet38-Semantic-Segmentation, evaluation.py, used with PSA's masks:
          mean of TP / (union + 1e-10) over all C classes, 0 for an absent one; pixels predicted
          as void are left out.
        - "seam": YudeWang/SEAM, evaluation.py: as "psa", but a pixel predicted as void is a miss.
        - "tf": xtudbxk/semantic-segmentation-metrics, DSRG-tensorflow's tool: as "seam" with 1e-3
          in place of 1e-10. (That tool knows no void.)

        Raises:
            ValueError: if `variant` is unknown.

        """
        if variant == "voc":
            return _mean(self.iou())
        if variant == "dsrg":
            return _mean(self.iou()[self._true_positives() > 0])
        if variant == "psa":
            return self.without_void()._miou_over_all(1e-10)
        if variant == "seam":
            return self._miou_over_all(1e-10)
        if variant == "tf":
            return self._miou_over_all(1e-3)
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, not {variant!r}")

    def foreground_errors(self) -> dict[str, float]:
        """Means over the foreground classes that evaluation.py of SEAM prints beside mIoU.

        With T, P, TP and union as in `miou`: "t_tp" is T / TP and "p_tp" P / TP, both at least 1;
        "fp_all" is (P − TP) / union and "fn_all" (T − TP) / union; with "miou_foreground" they
        sum to 1. 1e-10 is added to each divisor: one class with TP = 0 makes "t_tp" huge. A pixel
        predicted as void is a miss; the tool used with PSA's masks leaves it out, as
        `without_void().foreground_errors()` does.
        """
        true_positives, union = self._true_positives(), self._union() + 1e-10
        true, predicted = self._true(), self._predicted()
        ratios = {
            "t_tp": true / (true_positives + 1e-10),
            "p_tp": predicted / (true_positives + 1e-10),
            "fp_all": (predicted - true_positives) / union,
            "fn_all": (true - true_positives) / union,
            "miou_foreground": true_positives / union,
        }
        return {name: _mean(ratio[1:]) for name, ratio in ratios.items()}

    def _true_positives(self) -> np.ndarray:
        return self.counts.diagonal()

    def _true(self) -> np.ndarray:
        return self.counts.sum(axis=1)

    def _predicted(self) -> np.ndarray:
        return self.counts[:, :-1].sum(axis=0)

    def _union(self) -> np.ndarray:
        return self._true() + self._predicted() - self._true_positives()

    def _miou_over_all(self, epsilon: float) -> float:
        """Mean of TP / (union + epsilon) over all classes: 0 for a class with an empty union."""
        return float((self._true_positives() / (self._union() + epsilon)).mean())


def confusion_matrix(
    truth: np.ndarray, prediction: np.ndarray, num_classes: int
) -> ConfusionMatrix:
    """Confusion matrix of one image; see `ConfusionMatrix.update`."""
    matrix = ConfusionMatrix(num_classes)
    matrix.update(truth, prediction)
    return matrix


def _as_mask(mask: np.ndarray, name: str) -> np.ndarray:
    """An integer array as uint8; ValueError if its values do not fit."""
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
