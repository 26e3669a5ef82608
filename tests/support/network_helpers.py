"""For tests of networks: build them without memory or always alike."""

import torch


def on_meta(make, *args, **options):
    """Build on the meta device: shapes and names, no numbers."""
    with torch.device("meta"):
        return make(*args, **options)


def seeded(make, *args, **options):
    """Build from the same random state each time."""
    torch.manual_seed(0)
    return make(*args, **options)
