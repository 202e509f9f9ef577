"""What the site adds: pages from the top of the repository, links to its files, formulas as MathML."""

import html
import posixpath
import re
from pathlib import Path

from latex2mathml import converter
from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent

# A page of the site, and the file of the repository that it shows.
PAGES = {
    "results.md": "RESULTS.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "benchmarks.md": "benchmarks/README.md",
}

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")


def on_files(files, config):
    for page, source in PAGES.items():
        content = (ROOT / source).read_text()
        files.append(File.generated(config, page, content=content))
    for image in sorted((ROOT / "benchmarks" / "results").glob("*.png")):
        files.append(
            File.generated(config, f"benchmarks/results/{image.name}", content=image.read_bytes())
        )
    return files


def on_page_markdown(markdown, page, config, files):
    """Points links at the page of the site that shows the file, else at the file in the repository."""
    name = page.file.src_uri
    folder = posixpath.dirname(PAGES.get(name, posixpath.join("docs", name)))
    shown = {source: target for target, source in PAGES.items()}

    def rewrite(match):
        target, hash_, anchor = match[2].partition("#")
        if not target or "://" in target or target.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        inside = shown.get(path, posixpath.relpath(path, "docs"))
        if files.get_file_from_path(inside) is None:
            if not (ROOT / path).exists():
                return match[0]  # Left as it is, so that the strict build names it.
            kind = "tree" if (ROOT / path).is_dir() else "blob"
            return f"{match[1]}{config.repo_url}/{kind}/main/{path}{hash_}{anchor}{match[3]}"
        link = posixpath.relpath(inside, posixpath.dirname(name) or ".")
        return f"{match[1]}{link}{hash_}{anchor}{match[3]}"

    return _LINK.sub(rewrite, markdown)


def on_page_content(content, page, config, files):
    """Formulas as MathML, which browsers draw without a script."""

    def convert(match):
        display = "block" if match[1] == "div" else "inline"
        return converter.convert(html.unescape(match[2]), display=display)

    return _FORMULA.sub(convert, content)
