"""The lists of images on which masks are scored."""

from collections.abc import Collection, Sequence

from seedbed.data.index import ImageEntry, Index

OWN = "train (VOC's own list)"
TUNING = "train (for tuning)"
HELD_OUT = "train (held out)"  # the other train images


def scored_lists(
    split: str, entries: Sequence[ImageEntry], index: Index, tuning_every: int | None
) -> dict[str, list[ImageEntry]]:
    """Images by list name: all that are given, and parts of the train images.

    VOC's own train list (1 464 images) is scored apart from the augmented one (10 582 images),
    whose masks by SBD are coarser. With `tuning_every`, every n-th image of the index's train list
    is scored apart from the others: the one part for choosing settings by its masks, the other for
    telling what they are worth.
    """
    lists = {split: list(entries)}
    if split != "train":
        return lists
    parts = {OWN: _among(entries, index.audit_list)}
    if tuning_every:
        train = [entry.id for entry in index.split("train")]
        tuning = train[::tuning_every]
        parts |= {
            TUNING: _among(entries, tuning),
            HELD_OUT: _among(entries, set(train) - set(tuning)),
        }
    return lists | {name: part for name, part in parts.items() if 0 < len(part) < len(entries)}


def _among(entries: Sequence[ImageEntry], ids: Collection[str]) -> list[ImageEntry]:
    ids = set(ids)
    return [entry for entry in entries if entry.id in ids]
