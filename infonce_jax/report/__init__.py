"""From the numbers and arrays of one or several runs on disk to one page and one table.

Reads run folders, and embedding files with what their evaluation found: nothing is trained here, and
matplotlib is imported when the first figure is drawn.
"""

from infonce_jax.report.embedding import write_embedding_figures, write_embedding_report
from infonce_jax.report.page import write_report
from infonce_jax.report.runs import load_runs
from infonce_jax.report.table import build_table
from infonce_jax.report.text import format_terminal

__all__ = [
    "build_table",
    "format_terminal",
    "load_runs",
    "write_embedding_figures",
    "write_embedding_report",
    "write_report",
]
