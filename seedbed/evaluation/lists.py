"""The lists of images on which masks are scored."""

from collections.abc import Collection, Sequence

from seedbed.data.index import ImageEntry


def scored_lists(
    split: str, entries: Sequence[ImageEntry], voc_train_list: Collection[str]
) -> dict[str, list[ImageEntry]]:
    """A split's images by list name: all, and those of VOC's own train list if they are fewer.

    VOC's train list (1 464 images) is scored apart from the augmented one (10 582 images), whose
    masks by SBD are coarser.
    """
    ids = set(voc_train_list)
    own = [entry for entry in entries if entry.id in ids] if split == "train" else []
    apart = {"train (VOC's own list)": own} if 0 < len(own) < len(entries) else {}
    return {split: list(entries), **apart}
