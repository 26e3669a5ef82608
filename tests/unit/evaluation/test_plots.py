"""Figures as PNG files."""

import numpy as np

from seedbed.evaluation.plots import plot_confusion


def test_a_class_name_may_hold_any_text(tmp_path):
    names = ["background", r"$\frac$", "<script>", "größe 1"]
    plot_confusion(tmp_path / "confusion.png", np.eye(3, 4, dtype=int), names[:3])
    assert (tmp_path / "confusion.png").stat().st_size
