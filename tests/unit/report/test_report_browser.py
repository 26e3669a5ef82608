"""The report's page in a real browser: Chromium, without a screen."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from stages.report import report
from stages.settings import ReportSettings
from tests.support.report_helpers import CLASSES, IDS, report_arguments, write_run

torch.set_num_threads(1)
MANY = 1449  # as many as VOC's val has
PER_PAGE = 20
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
# WCAG 2: relative luminance of colours, contrast of two of them.
CONTRAST = """
const light = (colour) => {
  const [r, g, b] = colour.match(/[\\d.]+/g).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const paper = light(getComputedStyle(document.body).backgroundColor);
return [...document.querySelectorAll('body, .note, .legend, th, td, a, h1, .headline, .caption')]
  .map((e) => light(getComputedStyle(e).color))
  .map((l) => (Math.max(l, paper) + 0.05) / (Math.min(l, paper) + 0.05));
"""
# Time from a change of a control until the page is laid out again, in milliseconds.
TIMED_CHANGE = """
const control = document.querySelector(arguments[0]), start = performance.now();
control.value = arguments[1];
control.dispatchEvent(new Event('change'));
document.body.getBoundingClientRect();
return performance.now() - start;
"""


@pytest.fixture(scope="module")
def chromium():
    paths = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in paths:
        message = "no chromium and chromedriver: apt-get install chromium chromium-driver"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    options = webdriver.ChromeOptions()
    options.binary_location, driver_path = paths
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report of the small run, in a folder with a space."""
    folder = tmp_path_factory.mktemp("a run")
    output, files = folder / "results/report.html", folder / "results/report_files"
    where = {"workers": 1, "output": output, "files": files}
    report(**report_arguments(**write_run(folder), **where, settings=ReportSettings()))
    return output


@pytest.fixture
def browser(chromium, page):
    show(chromium, page)
    yield chromium
    messages = [entry["message"] for entry in chromium.get_log("browser")]
    assert messages == []  # no script errors, no missing pictures


def show(driver, page: Path, width: int = 1280, scheme: str = "light") -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    driver.get(page.as_uri())


def find(driver, selector: str):
    return driver.find_element(By.CSS_SELECTOR, selector)


def texts(driver, selector: str) -> list[str]:
    return [element.text for element in driver.find_elements(By.CSS_SELECTOR, selector)]


def shown(driver) -> list[str]:
    return texts(driver, ".row h3 b")


def choose(driver, control: str, text: str) -> None:
    Select(find(driver, control)).select_by_visible_text(text)


def tile(driver, image: int, title: str):
    row = driver.find_elements(By.CSS_SELECTOR, ".row")[image]
    tiles = row.find_elements(By.CSS_SELECTOR, ".tile")
    return next(t for t in tiles if t.text.split("\n")[0] == title)


def press(driver, key: str) -> str:
    """Press a key in the viewer; returns its heading."""
    driver.switch_to.active_element.send_keys(key)
    return find(driver, "#viewer-title").text


def set_range(driver, selector: str, value: int) -> None:
    slider = find(driver, selector)
    slider.send_keys(Keys.HOME, *[Keys.ARROW_RIGHT] * value)


def test_the_first_screen_shows_the_result(browser):
    assert find(browser, ".headline strong").text == "0.500"
    assert texts(browser, "#quality tbody th") == [
        *("cam", "round 0: predictions", "round 1: targets"),  # train
        "round 0: predictions",  # val
    ]
    bar, track = (find(browser, f"#quality .track{part}").rect for part in (" .bar", ""))
    assert bar["width"] == pytest.approx(track["width"] / 2, abs=2)
    assert len(browser.find_elements(By.CSS_SELECTOR, "#curves polyline")) == 2
    assert not find(browser, "#viewer").is_displayed()


def test_pictures_load_with_any_id(browser):
    assert shown(browser) == list(IDS)
    loaded = browser.execute_async_script(
        "const done = arguments[0], images = [...document.querySelectorAll('.tile img')];"
        "Promise.all(images.map((i) => (i.loading = 'eager', i.decode())))"
        ".then(() => done(images.map((i) => i.naturalWidth)), (e) => done(String(e)))"
    )
    assert len(loaded) > 40 and all(width >= 32 for width in loaded)


def test_each_tile_shows_its_part_of_the_strip(browser):
    # The last mask of image c has no pixel of the object, unlike its ground truth.
    for title, place in {"round 0": 0, "round 1 + CRF": 3, "truth": 4, "error": 5}.items():
        layer = tile(browser, 2, title).find_element(By.CSS_SELECTOR, ".layer")
        box = tile(browser, 2, title).find_element(By.CSS_SELECTOR, ".picture").rect
        assert layer.rect["width"] == pytest.approx(6 * box["width"], abs=1)
        assert layer.rect["x"] == pytest.approx(box["x"] - place * box["width"], abs=1)


def test_names_from_data_are_shown_as_text(browser):
    options = [option.text for option in Select(find(browser, "#class")).options]
    assert options == ["all", *CLASSES]
    assert CLASSES[0] in texts(browser, "#quality thead .class")
    assert browser.execute_script("return document.scripts.length") == 2


def test_images_are_filtered_by_split_and_class(browser):
    choose(browser, "#split", "val")
    assert shown(browser) == ["c", "d"]
    choose(browser, "#class", CLASSES[1])
    assert shown(browser) == ["d"] and "1–1 of 1 images" in texts(browser, ".pager output")
    choose(browser, "#split", "train")
    assert shown(browser) == [IDS[1]]
    choose(browser, "#class", "all")
    assert shown(browser) == list(IDS[:2])


def test_images_are_sorted_by_the_iou_of_a_step(browser):
    choose(browser, "#order", "worst IoU first")
    assert shown(browser) == ["c", IDS[1], "d", IDS[0]]
    choose(browser, "#order", "best IoU first")
    assert shown(browser) == [IDS[0], IDS[1], "d", "c"]
    for order in ("best IoU first", "worst IoU first"):
        choose(browser, "#order", order)
        choose(browser, "#by", "pseudo label")  # which val lacks
        assert shown(browser) == list(IDS)
    choose(browser, "#order", "as listed")
    assert shown(browser) == list(IDS)


def test_the_slider_changes_the_opacity_of_masks_only(browser):
    set_range(browser, "#opacity", 20)
    opacity = "return getComputedStyle(document.querySelector(arguments[0])).opacity"
    assert browser.execute_script(opacity, ".layer") == "0.2"
    assert browser.execute_script(opacity, ".photo") == "1"
    assert find(browser, "#large-opacity").get_attribute("value") == "20"


def test_a_click_enlarges_and_keys_move_through_steps_and_images(browser):
    small = tile(browser, 2, "round 1 + CRF")
    width = small.rect["width"]
    small.click()
    assert find(browser, "#viewer-title").text == "c · round 1 + CRF · IoU 0.242"
    assert find(browser, "#large .picture").rect["width"] > 3 * width
    assert press(browser, Keys.ARROW_RIGHT) == "c · truth"
    assert press(browser, Keys.ARROW_RIGHT) == "c · error"
    assert press(browser, Keys.ARROW_RIGHT) == "c · photo"  # wraps around
    assert press(browser, Keys.ARROW_LEFT) == "c · error"
    assert press(browser, Keys.ARROW_DOWN) == "d · error"
    assert press(browser, Keys.ARROW_UP) == "c · error"
    press(browser, Keys.ESCAPE)
    assert not find(browser, "#viewer").is_displayed()
    assert browser.switch_to.active_element.text == "error"


def test_buttons_of_the_viewer_work_as_its_keys(browser):
    tile(browser, 1, "photo").click()
    find(browser, "[data-step='1']").click()
    find(browser, "[data-image='1']").click()  # c has no CAM: its photo instead
    assert find(browser, "#viewer-title").text == "c · photo"
    find(browser, "[data-image='-1']").click()
    find(browser, "[data-step='-1']").click()
    assert find(browser, "#viewer-title").text == f"{IDS[1]} · error"
    set_range(browser, "#large-opacity", 3)  # keys move the focused slider, not the pictures
    assert find(browser, "#viewer-title").text == f"{IDS[1]} · error"
    assert find(browser, "#opacity").get_attribute("value") == "3"
    find(browser, "#close").click()
    assert not find(browser, "#viewer").is_displayed()


def test_columns_stay_aligned_where_an_image_lacks_a_step(browser):
    titles = [texts(row, ".tile") for row in browser.find_elements(By.CSS_SELECTOR, ".row")[:2]]
    first, second = ([text.split("\n")[0] for text in row] for row in titles)
    assert first[8] == "round 1 target" and second[8] == "no round 1 target"
    assert first[:8] + first[9:] == second[:8] + second[9:]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_text_has_contrast_and_nothing_overflows(browser, page, width, scheme):
    show(browser, page, width, scheme)
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    contrasts = browser.execute_script(CONTRAST)
    assert len(contrasts) > 50 and min(contrasts) >= 4.5
    tile(browser, 0, "truth").click()
    box = find(browser, "#viewer").rect
    assert box["width"] <= width and box["height"] <= 900


def test_pictures_and_controls_have_accessible_names(browser):
    alts = browser.execute_script(
        "return [...document.querySelectorAll('.tile')].filter((t) => t.querySelector('img'))"
        ".map((t) => [...t.querySelectorAll('img')].map((i) => i.getAttribute('alt')).join(''))"
    )
    assert alts[0] == f"photo of {IDS[0]}" and alts[-1] == "error of d"
    assert len(set(alts)) == len(alts)
    assert not browser.find_elements(By.CSS_SELECTOR, "img:not([alt])")
    for picture in browser.find_elements(By.CSS_SELECTOR, "main svg[role], .track"):
        assert len(picture.accessible_name) > 10
    for place, count in (("main", 40), ("dialog[open]", 6)):
        controls = browser.find_elements(By.CSS_SELECTOR, f"{place} :is(select, input, button)")
        assert len(controls) >= count and all(control.accessible_name for control in controls)
        if place == "main":
            tile(browser, 0, "truth").click()


@pytest.fixture(scope="module")
def long_page(page):
    """The same page with as many images as VOC's val has."""
    text = page.read_text()
    start, end = re.search(r'id="content">(.*?)</script>', text).span(1)
    content = json.loads(text[start:end])
    rows = content["rows"][2:]
    for k in range(MANY):
        masks = [[c, iou and (k * 37 % 1000) / 1000] for c, iou in rows[k % 2]["masks"]]
        content["rows"].append({**rows[k % 2], "masks": masks})
    del content["rows"][:4]
    long = page.with_name("long.html")
    escaped = json.dumps(content).replace("<", "\\u003c")
    long.write_text(text[:start] + escaped + text[end:])
    return long


def test_many_images_stay_usable(browser, long_page):
    assert long_page.stat().st_size < 1e6
    paints = []
    for _ in range(3):
        show(browser, long_page)
        paints.append(
            browser.execute_async_script(
                "const done = arguments[0], look = () => {"
                "const [paint] = performance.getEntriesByName('first-contentful-paint');"
                "paint ? done(paint.startTime) : setTimeout(look, 10); }; look();"
            )
        )
    assert min(paints) < 1000  # ms
    assert len(shown(browser)) == PER_PAGE
    for change in [("#order", "worst"), ("#class", "1"), ("#order", "best"), ("#class", "")]:
        times = [browser.execute_script(TIMED_CHANGE, *change) for _ in range(3)]
        assert min(times) < 100  # ms
    loading = "return [...document.images].map((i) => i.loading)"
    assert set(browser.execute_script(loading)) == {"lazy"}


def test_pages_of_the_gallery(browser, long_page):
    show(browser, long_page)
    buttons = browser.find_elements(By.CSS_SELECTOR, "[data-page]")
    assert [button.is_enabled() for button in buttons] == [False, True] * 2
    buttons[3].click()
    assert texts(browser, ".pager output") == ["21–40 of 1449 images"] * 2
    covered = (
        "const box = document.querySelector('.pager').getBoundingClientRect();"
        "return document.elementFromPoint(box.x + 20, box.y + 5).closest('.pager') === null;"
    )
    assert not browser.execute_script(covered)  # by the sticky controls
    choose(browser, "#class", CLASSES[0])
    assert texts(browser, ".pager output") == ["1–20 of 725 images"] * 2
    tile(browser, 0, "photo").click()
    assert press(browser, Keys.ARROW_UP).startswith("c")  # wraps around to the last image
    press(browser, Keys.ESCAPE)
    assert (
        texts(browser, ".pager output") == ["721–725 of 725 images"] * 2
    )  # the page of that image
