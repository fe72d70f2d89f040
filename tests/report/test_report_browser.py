"""The page in a browser: controls work, clicks find their errors, and the console stays empty."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from browser import browsing, executable
from scipy import ndimage

import tiler

SAMPLES = Path(__file__).parents[2] / "data_samples"
DRAWN = "[...document.querySelectorAll('canvas')].every(c => c.dataset.slice === String({slice}))"
PIXELS = "[...document.querySelectorAll('canvas')].map(c => c.toDataURL()).join()"
WHERE = "document.getElementById('where').textContent"
CURRENT = "[...document.querySelectorAll('#errors button')].findIndex(b => b.hasAttribute('aria-current'))"

pytestmark = pytest.mark.skipif(executable() is None, reason="no chromium is installed (apt-get install chromium)")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    labels = tifffile.imread(SAMPLES / "sstem_labels.tif")[:5, :128, :160]
    noise = ndimage.gaussian_filter(np.random.default_rng(3).normal(0, 1, labels.shape), (0, 2, 2)) * 3
    cells = np.clip(labels / 255 * 0.5 + 0.25 + noise, 0, 1).astype(np.float32)
    path = tmp_path_factory.mktemp("browser") / "a & <b>.html"
    tiler.evaluate(cells, labels, report=path, image=tifffile.imread(SAMPLES / "sstem.tif")[:5, :128, :160])
    return path


@pytest.fixture(scope="module")
def browser():
    with browsing() as page:
        yield page


@pytest.fixture
def page(browser, file):
    """The page, freshly opened at slice 0; afterwards it must not have complained nor asked for anything."""
    browser.complaints.clear()
    browser.requests.clear()
    browser.emulate()
    browser.open(file)
    browser.press("0")
    slide(browser, 0)
    yield browser
    browser.run("new Promise(done => setTimeout(done, 50))")
    assert browser.complaints == []
    assert [url for url in browser.requests if not url.startswith(("file:", "data:"))] == []


def slide(page, slice):
    """Move the slider as a user does: its value changes and it tells so."""
    page.run(f"(s => {{ s.value = {slice}; s.dispatchEvent(new Event('input', {{bubbles: true}})) }})"
             "(document.getElementById('slider'))")
    page.wait(DRAWN.format(slice=slice))


def test_it_opens_at_the_worst_slice(browser, file):
    browser.open(file)
    worst = browser.run("(d => d.slices.reduce((w, s, k) => s.mismatches > d.slices[w].mismatches ? k : w, 0))"
                        "(JSON.parse(document.getElementById('data').textContent))")
    browser.wait(DRAWN.format(slice=worst))
    assert browser.run(WHERE).startswith(f"Slice {worst}:")


def test_the_slider_changes_every_picture(page):
    seen = set()
    for slice in range(5):
        slide(page, slice)
        assert page.run(WHERE).startswith(f"Slice {slice}:")
        pictures = page.run("[...document.querySelectorAll('canvas')].map(c => c.toDataURL())")
        assert len(pictures) == 3
        seen.update(pictures)
    assert len(seen) == 15


def test_the_keyboard_moves_the_slider_itself(page):
    page.run("document.getElementById('slider').focus()")
    page.press("ArrowRight")
    page.wait(DRAWN.format(slice=1))
    page.press("End")
    page.wait(DRAWN.format(slice=4))


def test_arrows_move_from_slice_to_slice_and_stop_at_the_ends(page):
    page.run("document.activeElement.blur()")
    for key, slice in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("ArrowLeft", 0), ("ArrowLeft", 0)):
        page.press(key)
        page.wait(DRAWN.format(slice=slice))
        assert page.run("document.getElementById('slider').value") == str(slice)
    assert page.run("document.getElementById('previous').disabled")


def test_buttons_move_too(page):
    page.click("#next")
    page.wait(DRAWN.format(slice=1))
    page.click("#previous")
    page.wait(DRAWN.format(slice=0))
    page.click("#strip i:nth-child(4)", y=0.95)
    page.wait(DRAWN.format(slice=3))


def test_a_click_in_the_list_jumps_to_slice_and_place(page):
    errors = page.run("JSON.parse(document.getElementById('data').textContent).errors")
    for place in (2, 0):
        slice, kind, size, x, y, _ = errors[place]
        before = page.run(PIXELS)
        page.click(f"#errors li:nth-child({place + 1}) button")
        page.wait(DRAWN.format(slice=slice))
        page.wait("document.querySelector('canvas').dataset.zoom === '4'")
        assert page.run(PIXELS) != before
        assert page.run(CURRENT) == place
        assert f"{size} px" in page.run(f"document.querySelectorAll('#errors button')[{place}].textContent")
        # The error is where the panel's middle is, or as near as the border of the slice allows.
        middle = min(max(x, 20), 140), min(max(y, 16), 112)
        colour = page.run("JSON.parse(document.getElementById('data').textContent)"
                          f".kinds[{kind}].colour")
        page.run("document.getElementById('rings').checked || document.getElementById('rings').click()")
        page.click("#rings")  # without rings only mismatches are coloured
        found = page.run(
            "(c => { const copy = new OffscreenCanvas(c.width, c.height)"
            ".getContext('2d', {willReadFrequently: true}); copy.drawImage(c, 0, 0);"
            "const s = c.width / 40, p = copy.getImageData(0, 0, c.width, c.height);"
            "const hits = []; for (let i = 0; i < p.data.length; i += 4)"
            f" if (Math.abs(p.data[i] - {colour[0]}) + Math.abs(p.data[i + 1] - {colour[1]})"
            f" + Math.abs(p.data[i + 2] - {colour[2]}) < 6)"
            " hits.push([i / 4 % c.width / s, Math.floor(i / 4 / c.width) / s]);"
            "return hits })(document.querySelector('canvas'))")
        target = 20 + x - middle[0], 16 + y - middle[1]
        assert min(abs(a - target[0]) + abs(b - target[1]) for a, b in found) < 6
        page.click("#rings")


def test_a_click_on_a_ring_finds_it_in_the_list(page):
    errors = page.run("JSON.parse(document.getElementById('data').textContent).errors")
    alone = next(place for place, e in enumerate(errors) if e[0] == 0 and all(
        other is e or other[0] != 0 or abs(other[3] - e[3]) + abs(other[4] - e[4]) > 12 + other[5] for other in errors))
    page.click("canvas[data-layer=truth]", errors[alone][3] / 160, errors[alone][4] / 128)
    page.wait(f"({CURRENT}) === {alone}")


def test_keys_belong_to_the_menu_while_it_has_the_focus(page):
    page.run("document.getElementById('order').focus()")
    page.press("n")
    assert page.run(CURRENT) == -1
    page.run("document.getElementById('order').blur()")
    page.press("n")
    page.wait(f"({CURRENT}) === 0")


def test_n_and_p_walk_the_list(page):
    page.press("n")
    page.wait(f"({CURRENT}) === 0")
    page.press("n")
    page.wait(f"({CURRENT}) === 1")
    page.press("p")
    page.wait(f"({CURRENT}) === 0")


def test_a_type_that_is_switched_off_is_neither_listed_nor_drawn(page):
    shown = "document.querySelectorAll('#errors button').length"
    page.click("#rings")
    slide(page, page.run("JSON.parse(document.getElementById('data').textContent).errors.find(e => e[1] === 1)[0]"))
    total, before = page.run(shown), page.run(PIXELS)
    count = int(page.run("document.querySelector('[data-count=\"1\"]').textContent"))
    assert count > 0
    page.click("input[data-kind='1']")
    title = page.run("document.getElementById('errors-title').textContent")
    page.wait(f"{PIXELS} !== {before!r}")
    assert page.run(shown) <= total
    everything = page.run("JSON.parse(document.getElementById('data').textContent).errors.length")
    assert title == f"{everything - count} errors"
    assert "Split" not in page.run("document.getElementById('errors').textContent")
    page.click("input[data-kind='1']")
    page.wait(f"{PIXELS} === {before!r}")


def test_the_order_can_be_chosen(page):
    places = "[...document.querySelectorAll('#errors .place')].map(p => Number(p.textContent.split(' ')[1]))"
    sizes = "[...document.querySelectorAll('#errors .size')].map(p => parseInt(p.textContent))"
    assert page.run(sizes) == sorted(page.run(sizes), reverse=True)
    page.run("(s => { s.value = 'slice'; s.dispatchEvent(new Event('change')) })(document.getElementById('order'))")
    assert page.run(places) == sorted(page.run(places))


def test_zoom_and_drag(page):
    fit = page.run(PIXELS)
    page.click("#larger")
    page.wait("document.querySelector('canvas').dataset.zoom === '2'")
    zoomed = page.run(PIXELS)
    page.click("canvas", 0.5, 0.5, to=(0.2, 0.3))
    page.wait(f"{PIXELS} !== {zoomed!r}")
    page.click("#fit")
    page.wait(f"{PIXELS} === {fit!r}")


def test_everything_can_be_reached_with_the_tab_key(page):
    page.run("document.activeElement.blur()")
    reached = set()
    for _ in range(24):
        page.press("Tab")
        reached.add(page.run("document.activeElement.id || document.activeElement.dataset.kind"))
    assert {"next", "slider", "smaller", "fit", "larger", "rings", "order", "0", "5"} <= reached


def contrast(page, selector):
    """Ratio of the luminances of a text and its background (WCAG 2.1)."""
    found = page.run(f"(e => {{ let b = e; while (getComputedStyle(b).backgroundColor === 'rgba(0, 0, 0, 0)' &&"
                     " b.parentElement) b = b.parentElement;"
                     "return [getComputedStyle(e).color, getComputedStyle(b).backgroundColor] })"
                     f"(document.querySelector({selector!r}))")
    light = []
    for colour in found:
        parts = [int(part) / 255 for part in colour.strip("rgb()").split(",")[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        light.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(light) + 0.05) / (min(light) + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_both_schemes(page, scheme):
    page.emulate(scheme=scheme)
    for selector in ("h1", ".card small", ".remarks, .facts dt", "tr.own td", "thead th", "#errors .place", ".keys"):
        assert contrast(page, selector) >= 4.5, (scheme, selector)
    paper = page.run("getComputedStyle(document.body).backgroundColor")
    assert (int(paper.strip("rgb()").split(",")[0]) > 128) == (scheme == "light")


def test_what_is_printed_is_what_can_be_read(page):
    page.emulate(media="print", width=720)
    seen = "getComputedStyle(document.querySelector({0!r})).display !== 'none'"
    for selector in ("canvas", "#errors li", "table", ".curve svg"):
        assert page.run(seen.format(selector)), selector
    for selector in ("#next", ".track", "#order", ".keys"):
        assert not page.run(f"document.querySelector({selector!r}).checkVisibility()"), selector
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize("width", [360, 800, 1440])
def test_nothing_overflows_to_the_side(page, width):
    page.emulate(width=width)
    page.run("new Promise(requestAnimationFrame)")
    assert page.run("document.documentElement.scrollWidth") <= width


def test_the_driver_hears_complaints(browser, tmp_path):
    (tmp_path / "bad.html").write_text("<script>console.error('a'); missing()</script><img src='http://127.0.0.1:9/a.png'>")
    browser.open(tmp_path / "bad.html")
    browser.run("new Promise(done => setTimeout(done, 50))")
    assert len(browser.complaints) >= 2
    assert any(url.startswith("http:") for url in browser.requests)
