"""For tests of networks: build them without memory or always alike, gather while they train."""

import torch


def on_meta(make, *args, **options):
    """Build on the meta device: shapes and names, no numbers."""
    with torch.device("meta"):
        return make(*args, **options)


def seeded(make, *args, **options):
    """Build from the same random state each time."""
    torch.manual_seed(0)
    return make(*args, **options)


class Gatherer:
    """What an objective is given to keep of each step; that is its state."""

    def __init__(self):
        self.found, self.kept = [], []

    def keep(self, found):
        self.kept.append(found)

    def state_dict(self):
        return {"kept": self.kept}

    def load_state_dict(self, state):
        self.kept = state["kept"]
