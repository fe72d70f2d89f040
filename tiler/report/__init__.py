"""Results as a table for the terminal and as one static HTML page."""

from tiler.report.page import page, write_page
from tiler.report.pictures import ShownSlice, Viewer, make_viewer
from tiler.report.scores import SCORES, Score, score_table

__all__ = ["SCORES", "Score", "ShownSlice", "Viewer", "make_viewer", "page", "score_table", "write_page"]
