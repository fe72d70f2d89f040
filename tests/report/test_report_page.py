"""The page as a file: whole, safe, bounded; its pictures and errors are those that were scored."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

import tiler
from tiler.errors import PlanError, SinkError
from tiler.evaluation.opening import open_comparison
from tiler.evaluation.request import EvaluationRequest
from tiler.evaluation.scoring import report
from tiler.metrics import THRESHOLDS, Mismatch, warp
from tiler.metrics.isbi2012_result import HEADLINES
from tiler.report import SCORES, ShownSlice, Viewer, make_viewer, page, pictures
from tiler.report.clusters import clusters_of
from tiler.report.curves import Scale
from tiler.report.leaderboard import BOARD
from tiler.report.page import write_page
from tiler.report.pictures import KINDS, encode_slice, grey_of_proposal
from tiler.report.png import encode_palette
from tiler.running.perform import Silent

SAMPLES = Path(__file__).parents[2] / "data_samples"
VOID = {"meta", "input", "br"}


@pytest.fixture(scope="module")
def stack():
    labels = tifffile.imread(SAMPLES / "sstem_labels.tif")[2:5, :120, :140]
    image = tifffile.imread(SAMPLES / "sstem.tif")[2:5, :120, :140]
    noise = np.random.default_rng(3).normal(0, 0.2, labels.shape)
    return image, np.clip(labels / 255 * 0.7 + 0.1 + noise, 0, 1).astype(np.float32), labels


@pytest.fixture(scope="module")
def made(stack, tmp_path_factory):
    """The text of a page, and the evaluation that it shows."""
    path = tmp_path_factory.mktemp("report") / "r.html"
    image, cells, labels = stack
    found = tiler.evaluate(cells, labels, report=path, image=image)
    return path.read_text(encoding="utf-8"), found


class Tags(HTMLParser):
    """Checks that tags close in order, and gathers texts, attributes and ids."""

    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.attributes, self.ids = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.attributes += attributes
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def stored(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def test_the_page_is_well_formed_and_asks_for_nothing(made):
    text, _ = made
    tags = Tags(text)
    assert tags.open == []
    assert len(tags.ids) == len(set(tags.ids))
    links = [value for name, value in tags.attributes if name in ("src", "href", "action", "data")]
    assert links == []
    assert not re.search(r"url\(|@import|https?://|\bfetch\(|XMLHttpRequest", text)
    policy = next(value for _, value in tags.attributes if value and "default-src" in value)
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy


def test_every_score_and_every_published_row_is_there(made):
    text, found = made
    shown = "".join(Tags(text).text)
    for name, value in found.scores.items():
        assert SCORES[name].title in shown
        assert name in shown
        assert f"{value:.6f}" in shown
    for entry in BOARD:
        assert f"{entry.group}{entry.warping:.6f}{entry.rand:.4f}{entry.pixel:.4f}" in shown
    own = [found.official[name] for name in ("warping_min_splits_mergers_r20", "rand_error_2012", "pixel_error")]
    assert f"This proposal{own[0]:.6f}{own[1]:.4f}{own[2]:.4f}" in shown
    assert text.count('<figure class="curve">') == len(HEADLINES)
    assert "hidden test slices" in shown
    assert 'class="card doubtful"' not in text


def test_a_proposal_of_one_colour_does_not_lead_the_leader_board(stack, tmp_path):
    _, cells, labels = stack
    noise = np.random.default_rng(2).uniform(0.05, 0.85, cells.shape).astype(np.float32)  # above 0.85 all is black
    for proposal, said in ((noise, None), (noise * 0, "This proposal---")):
        found = tiler.evaluate(proposal, labels, report=tmp_path / "r.html")
        assert found.official["warping_min_splits_mergers_r20"] == 0, "this is the evaluator's own score"
        page = (tmp_path / "r.html").read_text()
        shown = "".join(Tags(page).text)
        assert '<div class="card doubtful"><span>Warping error' in page, "a headline that means nothing is grey"
        assert shown.index("IDSIA-SCI0.0") < shown.index("This proposal")
        assert said is None or said in shown
    best, reached = tiler.evaluate(noise, labels).result.sound_best("warping_min_splits_mergers_r20")
    assert best > 0
    assert reached < 0.85


def test_every_control_has_a_name(made):
    text, _ = made
    for control in re.findall(r"<(?:button|input|select)\b[^>]*>[^<]*", text):
        named = "aria-label=" in control or re.search(r">\s*\S", control)
        inside = re.search(r"<label[^>]*>[^/]*" + re.escape(control), text)
        assert named or inside, control
    assert text.count("<canvas") == text.count('role="img" aria-label="Image"') + \
        text.count('role="img" aria-label="Proposal"') + text.count('role="img" aria-label="Truth"') == 3


def test_names_of_files_are_text_and_nothing_else(stack, tmp_path):
    image, cells, labels = stack
    bad = tmp_path / "a<script>alert(1)</script>&\"'{{style}}.npy".replace("/s", "_s")
    np.save(bad, cells[:1])
    tiler.evaluate(bad, labels[:1], report=tmp_path / "r.html", image=image[:1])
    text = (tmp_path / "r.html").read_text()
    assert "<script>alert" not in text
    assert bad.name in "".join(Tags(text).text)


def test_no_text_in_the_data_ends_their_element(made):
    text, found = made
    viewer = Viewer(0.5, (4, 4), 1, ({"z": 0, "image": "</script><script>alert(1)", "mismatches": 0},), (), 0)
    made = page(found.result, found.to_dict(), (), viewer)
    assert made.count("</script") == text.count("</script") == 2
    assert stored(made)["slices"][0]["image"] == "</script><script>alert(1)"


def test_the_pictures_are_the_data(made, stack):
    text, found = made
    image, cells, labels = stack
    data = stored(text)
    threshold = found.thresholds_reached["warping_min_splits_mergers_r20"]
    assert (data["threshold"], data["width"], data["height"]) == (threshold, 140, 120)
    for z, entry in enumerate(data["slices"]):
        kinds = warp(labels[z], cells[z], threshold).kinds
        assert entry["mismatches"] == np.count_nonzero(kinds)
        decoded = {name: imagecodecs.imread(base64.b64decode(entry[name].partition(",")[2]))
                   for name in ("image", "proposal", "truth", "kinds")}
        assert np.abs(decoded["image"].astype(int) - image[z]).mean() < 4  # JPEG
        assert (decoded["proposal"] == np.rint(cells[z] * 255)).all()
        assert (decoded["truth"][..., 0] == labels[z]).all()
        assert ((decoded["kinds"][..., 3] > 0) == (kinds > 0)).all()
        for kind, (_, _, colour) in KINDS.items():
            assert (decoded["kinds"][kinds == kind][:, :3] == colour).all()


def test_the_errors_are_the_clusters_that_are_counted(made, stack):
    text, found = made
    _, cells, labels = stack
    data = stored(text)
    place = THRESHOLDS.index(data["threshold"])
    for z, scores in enumerate(found.result.slices):
        clusters, pixels = scores.clusters[place], scores.mismatches[place]
        for number, kind in enumerate(KINDS):
            here = [error for error in data["errors"] if error[:2] == [z, number]]
            assert len(here) == getattr(clusters, kind.name.lower())
            assert sum(error[2] for error in here) == getattr(pixels, kind.name.lower())
    sizes = [error[2] for error in data["errors"]]
    assert sizes == sorted(sizes, reverse=True)
    z, kind, _, x, y, radius = data["errors"][0]
    around = warp(labels[z], cells[z], data["threshold"]).kinds[
        max(0, int(y - radius)):int(y + radius) + 1, max(0, int(x - radius)):int(x + radius) + 1]
    assert (around == list(KINDS)[kind]).any()


def test_clusters_count_like_the_clustered_score():
    random = np.random.default_rng(0)
    for _ in range(20):
        labels, proposal = (random.random((24, 31)) < 0.6 for _ in range(2))
        warping = warp(labels, proposal.astype(np.float32))
        found = list(clusters_of(warping))
        for kind in Mismatch:
            assert sum(cluster.kind == kind for cluster in found) == getattr(warping.clusters, kind.name.lower())
            assert sum(cluster.pixels for cluster in found if cluster.kind == kind) == \
                getattr(warping.pixels, kind.name.lower())


@pytest.mark.parametrize("width", [1, 2, 7, 64])
def test_palette_pictures_are_read_as_they_were_written(width):
    palette = [(k * 16, 255 - k * 16, k, 255 if k else 0) for k in range(16)]
    indices = np.random.default_rng(width).integers(0, 16, (5, width), dtype=np.uint8)
    decoded = imagecodecs.png_decode(encode_palette(indices, palette))
    assert (decoded == np.array(palette, np.uint8)[indices]).all()


def test_integers_are_shown_as_what_they_are():
    assert grey_of_proposal(np.array([[0, 1]], np.uint8)).tolist() == [[0, 255]]
    assert grey_of_proposal(np.array([[0, 128, 255]], np.uint8)).tolist() == [[0, 128, 255]]
    assert grey_of_proposal(np.array([[0, 65535]], np.uint16)).tolist() == [[0, 255]]
    assert grey_of_proposal(np.array([[0, 0.5, 1]], np.float32)).tolist() == [[0, 128, 255]]


def shown_slices(count, shape=(16, 16)):
    """Slices with more mismatches the higher their number."""
    for z in range(count):
        labels = np.ones(shape, np.uint8)
        labels[:, 8] = 0
        proposal = labels.astype(np.float32)
        proposal[:z, 8] = 1
        yield ShownSlice(z, proposal, labels, None, warp(labels, proposal))


def test_the_worst_slices_are_kept_where_all_are_too_many(monkeypatch):
    one = sum(len(value) for value in encode_slice(next(shown_slices(1))).values() if isinstance(value, str))
    monkeypatch.setattr(pictures, "BUDGET", 4 * one + 200)
    viewer = make_viewer(0.5, shown_slices(9))
    kept = [entry["z"] for entry in viewer.slices]
    assert 1 <= len(kept) <= 4
    assert kept == sorted(kept)
    worst = sorted(range(9), key=lambda z: warp(*[getattr(s, n) for s in [list(shown_slices(9))[z]]
                                                 for n in ("labels", "proposal")]).pixels.total)[-1]
    assert worst in kept
    assert viewer.depth == 9
    assert {error[0] for error in viewer.errors} <= set(range(len(kept)))


def test_large_slices_are_shown_smaller_without_losing_errors(monkeypatch):
    monkeypatch.setattr(pictures, "PIXELS", 64)
    shown = list(shown_slices(6, (33, 30)))[5]
    made = encode_slice(shown)
    kinds = imagecodecs.png_decode(base64.b64decode(made["kinds"].partition(",")[2]))
    truth = imagecodecs.png_decode(base64.b64decode(made["truth"].partition(",")[2]))
    assert kinds.shape[:2] == truth.shape[:2] == (9, 8)
    assert shown.warping.pixels.total
    assert (kinds[..., 3] > 0).any()


def test_charts_show_what_lies_around_the_best():
    scale = Scale.of([0.0, 0.9, 0.95, 0.97, 0.96, 0.95, 0.0], 0.97)
    assert 0.5 < scale.low < 0.95
    assert scale.high > 0.97
    assert len(scale.ticks()) > 2
    for flat in ([0.0] * 5, [1.0] * 5, [float("nan")] * 3):
        scale = Scale.of(flat, 0.0)
        assert scale.low < scale.high
        assert scale.ticks()


def test_other_protocols_have_a_page_of_tables(tmp_path):
    labels = np.arange(24).reshape(1, 4, 6) // 8
    tiler.evaluate(labels % 2, labels, "semantic", report=tmp_path / "r.html", classes=["a", "<b>", "c"])
    text = (tmp_path / "r.html").read_text()
    tags = Tags(text)
    assert tags.open == []
    shown = "".join(tags.text)
    assert "<b>" in shown
    assert "Mean IoU" in shown
    assert "<canvas" not in text
    assert "leader board" not in shown
    tiler.evaluate(labels + 1, labels + 1, "cremi", report=tmp_path / "r.html")
    assert "CREMI score" in "".join(Tags((tmp_path / "r.html").read_text()).text)


def test_an_image_must_lie_on_the_labels(stack, tmp_path):
    image, cells, labels = stack
    compared = open_comparison(EvaluationRequest(proposal=cells, labels=labels, slices="1:2"))
    assert compared.beside(image, "image").box.start == (1, 0, 0)
    assert compared.beside(image[:1], "image").box.start == (0, 0, 0)
    with pytest.raises(PlanError, match=r"\(2, 120, 140\).*\(image=\)"):
        tiler.evaluate(cells, labels, slices="1:2", report=tmp_path / "r.html", image=image[:2])
    assert not (tmp_path / "r.html").exists()


def test_float_images_are_stretched(stack, tmp_path):
    image, cells, labels = stack
    tiler.evaluate(cells[:1], labels[:1], report=tmp_path / "r.html", image=image[:1] / 1000 - 3)
    entry = stored((tmp_path / "r.html").read_text())["slices"][0]
    grey = imagecodecs.imread(base64.b64decode(entry["image"].partition(",")[2]))
    assert grey.min() < 10
    assert grey.max() > 245
    assert np.corrcoef(grey.ravel(), image[0].ravel())[0, 1] > 0.95


def test_a_page_that_cannot_be_written_is_one_line(made, tmp_path):
    (tmp_path / "r.html").mkdir()
    with pytest.raises(SinkError, match=r"cannot write .*report="):
        write_page(tmp_path / "r.html", made[1].result, made[1].to_dict())


def test_the_report_can_be_written_later(stack, tmp_path):
    _, cells, labels = stack
    request = EvaluationRequest(proposal=cells, labels=labels)
    report(tiler.evaluate(cells, labels), open_comparison(request), tmp_path / "r.html", None, Silent())
    assert "<figcaption>Image</figcaption>" not in (tmp_path / "r.html").read_text()
