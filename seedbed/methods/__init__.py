"""The published methods: CAM, seeds and saliency, and a package for each published system."""
