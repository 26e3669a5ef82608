"""Seedbed: weakly supervised semantic segmentation, from image-level labels to masks.

The public names below are imported when first accessed, so that `import seedbed` is fast and loads
no PyTorch. docs/library.md shows how to use each of them.
"""

from importlib import import_module

# Modules as text, because a stage's digest covers every module that it imports, this one included.
_MODULES = {
    "ConfusionMatrix": "seedbed.evaluation.metrics",
    "DenseCRF2D": "seedbed.crf.densecrf2d",
    "DenseCRFGrid": "seedbed.crf",
    "LearnedSaliency": "seedbed.inference.learned_saliency",
    "build": "seedbed.models",
    "dense_crf": "seedbed.crf",
    "grow_seeds": "seedbed.methods.dsrg.growing",
    "load_weights": "seedbed.models.weights",
    "make_cues": "seedbed.methods.seeds",
    "random_walk": "seedbed.methods.psa.walk",
    "saliency": "seedbed.methods.saliency",
    "saliency_guided": "seedbed.methods.group_wsss.pseudo_labels",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> object:
    """Import a public name (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
