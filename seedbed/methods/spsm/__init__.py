"""SPSM: selecting high-quality pixels and masks, a reconstruction.

The text of "Weakly Supervised Semantic Segmentation by Selecting High-quality Pixels and Masks" was
not available. The algorithm is reconstructed from its author's public code: training lists named
after a score between 0 and 1 (0.8 for ResNet-101, 0.55 for VGG-16), three candidate masks per image
in the successor's code, saliency as a second source. The thresholds are this project's, except for
those that other published systems use for the same purpose.

`pixels` proposes a training mask for one image, `masks` scores it and selects images.
"""
