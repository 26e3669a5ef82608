import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from seedbed.formats.overlay import overlay
from seedbed.formats.palette import VOC_PALETTE
from seedbed.training import previews
from seedbed.training.previews import GAP, Preview, contact_sheet

torch.set_num_threads(1)


class Halves(nn.Module):
    """Says of every image that its left half is class 1; remembers what it was shown."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.frozen = nn.Dropout().eval()
        self.seen, self.drawn = [], []

    def train(self, mode=True):
        super().train(mode)
        self.frozen.training = False
        return self

    def preprocess(self, images):
        return images

    def forward(self, images):
        grads = torch.is_grad_enabled()
        self.seen.append((tuple(images.shape), self.training, self.frozen.training, grads))
        self.drawn.append(torch.rand(()).item())
        scores = torch.zeros(len(images), 3, *images.shape[2:])
        scores[:, 1, :, : images.shape[3] // 2] = self.weight
        scores[:, 0] = 0.5
        return scores


def photo(height, width, level):
    return np.full((height, width, 3), level, np.uint8)


@pytest.fixture
def preview(tmp_path):
    photos = [photo(8, 12, 100), photo(12, 6, 50)]
    targets = [photo(8, 12, 1), photo(12, 6, 2)]
    return Preview(tmp_path / "new/preview.png", photos, targets, size=None)


def tile(sheet, row, column, height, width, side=12):
    top = GAP + row * (side + GAP) + (side - height) // 2
    left = GAP + column * (side + GAP) + (side - width) // 2
    return sheet[top : top + height, left : left + width]


def test_photo_target_and_classes_stand_below_each_other(preview):
    preview.write(Halves())
    with Image.open(preview.path) as picture:
        assert picture.format == "PNG" and picture.mode == "RGB"
        sheet = np.asarray(picture)
    assert sheet.shape == (3 * 12 + 4 * GAP, 2 * 12 + 3 * GAP, 3)
    covered = np.zeros(sheet.shape[:2], bool)
    for column, (image, target) in enumerate(zip(preview.photos, preview.targets, strict=True)):
        height, width = image.shape[:2]
        mask = np.zeros((height, width), np.uint8)
        mask[:, : width // 2] = 1
        for row, wanted in enumerate((image, target, overlay(image, mask))):
            assert np.array_equal(tile(sheet, row, column, height, width), wanted)
            tile(covered, row, column, height, width)[:] = True
    assert (sheet[~covered] == 255).all()
    assert (tile(sheet, 2, 0, 8, 12)[0, 5] == VOC_PALETTE[1]).all()  # the edge of the object
    assert [path.name for path in preview.path.parent.iterdir()] == ["preview.png"]


def test_large_pictures_are_shrunk_to_fit():
    sheet = contact_sheet([[photo(400, 800, 7), photo(800, 200, 9)]])
    assert sheet.shape == (192 + 2 * GAP, 2 * 192 + 3 * GAP, 3)
    assert (tile(sheet, 0, 0, 96, 192, side=192) == 7).all()
    assert (tile(sheet, 0, 1, 192, 48, side=192) == 9).all()
    assert (sheet != 255).any(2).sum() == 96 * 192 + 192 * 48


@pytest.mark.parametrize(("size", "shape"), [(None, (1, 3, 8, 12)), (20, (1, 3, 20, 20))])
def test_the_network_sees_photos_as_in_training(preview, size, shape):
    preview.size, model = size, Halves()
    preview.write(model)
    assert model.seen[0][0] == shape


@pytest.mark.parametrize("mode", [True, False])
def test_the_network_and_chance_are_left_as_they_were(preview, mode):
    model = Halves().train(mode)
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    preview.write(model)
    assert torch.equal(torch.rand(2), wanted)
    assert model.training == mode and not model.frozen.training
    assert {facts[1:] for facts in model.seen} == {(False, False, False)}
    first = model.drawn.copy()
    preview.write(model)
    assert model.drawn == first * 2  # a dropout that stays on draws the same


def test_the_mode_comes_back_after_an_error(preview):
    model = Halves().train()
    model.preprocess = lambda images: 1 / 0
    with pytest.raises(ZeroDivisionError):
        preview.write(model)
    assert model.training and not preview.path.exists()


def test_the_same_network_gives_the_same_bytes(preview):
    preview.write(Halves())
    first = preview.path.read_bytes()
    preview.write(Halves())
    assert preview.path.read_bytes() == first


@pytest.mark.parametrize(("takes", "pause"), [(0.1, 30), (0.6, 30), (1.0, 50), (10.0, 500)])
def test_it_is_refreshed_rarely_enough_for_what_it_costs(preview, monkeypatch, takes, pause):
    now, drawn = [0.0], []

    def write(model):
        now[0] += takes
        drawn.append(now[0])

    monkeypatch.setattr(preview, "write", write)
    monkeypatch.setattr(previews.time, "monotonic", lambda: now[0])
    preview.refresh(None)
    preview.refresh(None)
    now[0] += pause - 0.01
    preview.refresh(None)
    assert drawn == [takes]
    now[0] += 0.02
    preview.refresh(None)
    assert len(drawn) == 2
