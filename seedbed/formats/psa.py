"""`.npy` files of class maps: PSA's (Ahn & Kwak, CVPR 2018) and IRN's (Ahn et al., CVPR 2019).

Classes are the data set's own ids: 1..n, 0 is background.
"""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seedbed.formats.pickles import restricted
from seedbed.formats.weights.pytorch import TensorPickle
from seedbed.runtime.atomic import atomic
from seedbed.runtime.errors import UserError


def write_cam(path: Path, maps: Mapping[int, np.ndarray]) -> None:
    """Write class maps: source id (1..n) → (H, W), stored as float32 under source id - 1."""
    _write(path, {c - 1: values for c, values in maps.items()})


def read_cam(path: Path) -> dict[int, np.ndarray]:
    """Read class maps: source id (1..n) → float32 (H, W), sorted; UserError for other content.

    PSA's files hold a dict from class to map. IRN's hold `keys`, the classes of the image, and
    `high_res`, their maps of the image's size (step/make_cam.py of its code); its `cam`, of a
    quarter of the size, is not used. Both count classes from 0.
    """
    content = restricted.load(path, TensorPickle)
    if isinstance(content, dict) and "keys" in content:
        content = _of_irn(content, path)
    elif not isinstance(content, dict) or not content:
        raise UserError(f"{path} holds no dict from class to map: write it again as PSA does")
    return {c + 1: values for c, values in _checked(content, path).items()}


def write_scores(path: Path, scores: Mapping[int, np.ndarray]) -> None:
    """Write posteriors of the CRF: source id, 0 for background → (H, W), stored as float32."""
    _write(path, scores)


def read_scores(path: Path) -> dict[int, np.ndarray]:
    """Read posteriors of the CRF: source id, 0 for background → float32 (H, W).

    Raises:
        UserError: if the file has other content or no background.

    """
    content = restricted.load(path)
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path} holds no dict from class to map: write it again as PSA does")
    scores = _checked(content, path)
    if 0 not in scores:
        raise UserError(f"{path} holds no background (key 0): give the scores after PSA's CRF")
    return scores


def _write(path: Path, maps: Mapping[int, np.ndarray]) -> None:
    """Write a dict as np.save does, but so that NumPy 1 and Python 2 can read it too."""
    holder = np.empty((), dtype=object)
    holder[()] = {int(c): np.asarray(values, dtype=np.float32) for c, values in maps.items()}
    buffer = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": ()}
    np.lib.format.write_array_header_1_0(buffer, header)
    data = pickle.dumps(holder, protocol=2)
    # A pickle names a function once, before any data, so the first match is the name.
    buffer.write(data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n", 1))
    with atomic(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def _of_irn(content: Mapping[Any, Any], path: Path) -> dict[Any, Any]:
    """The maps of IRN's dict by class, counted from 0; none for an image without a class."""
    if "high_res" not in content:
        raise UserError(f"{path} has no high_res, the maps of the image's size: write it again")
    keys, maps = (_array(content, key, path) for key in ("keys", "high_res"))
    is_list = keys.ndim == 1 and not keys.dtype.hasobject
    if not is_list or len(set(keys.tolist())) < len(keys) or maps.shape[:1] != keys.shape:
        raise UserError(f"{path} has no map in high_res for each of its keys: write it again")
    return dict(zip(keys.tolist(), maps, strict=True))


def _array(content: Mapping[Any, Any], key: str, path: Path) -> np.ndarray:
    try:
        return np.asarray(content[key])
    except ValueError:
        raise UserError(f"{path} has parts of several sizes in {key}: write it again") from None


def _checked(content: Mapping[Any, Any], path: Path) -> dict[int, np.ndarray]:
    """Maps by class, sorted; raises UserError for other keys or values."""
    maps = {}
    for key, values in content.items():
        if not isinstance(key, int | np.integer) or key < 0:
            raise UserError(f"{path} has the key {key!r}, no class number: write it again")
        if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind not in "fiu":
            raise UserError(f"{path} has no (H, W) map of numbers for class {key}: write it again")
        if not np.isfinite(values).all():
            raise UserError(
                f"{path} has a value that is not a finite number for class {key}: correct it"
            )
        maps[int(key)] = np.asarray(values, dtype=np.float32)
    sizes = {values.shape for values in maps.values()}
    if len(sizes) > 1:
        raise UserError(f"{path} has maps of several sizes {sorted(sizes)}: write it again")
    return dict(sorted(maps.items()))
