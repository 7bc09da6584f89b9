"""The pages docs/plugins/*.md: the plug-in that each shows, and how it says to use it."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

DOCS = Path(__file__).parent.parent / "docs"
KINDS = {
    "methods": "Method",
    "engines": "Engine",
    "judges": "Judge",
    "benchmarks": "Benchmark",
    "schemes": "Scheme",
    "sources": "Source",
    "builders": "Builder",
    "importers": "Importer",
}


class Page(NamedTuple):
    """A whole plug-in, the name of its file, and the recipe's part that uses it (or a command)."""

    name: str
    code: str
    use: str

    def write(self, folder: Path) -> Path:
        """The plug-in's file in a folder."""
        file = folder / f"{self.name}.py"
        file.write_text(self.code, "utf-8")
        return file

    def recipe(self, by_path: bool) -> dict[str, Any]:
        """The part of a recipe, naming plug-ins by path as the page does, or by their names."""
        text = self.use if by_path else re.sub(r"\./(\w+)\.py", r"\1", self.use)
        part: dict[str, Any] = yaml.safe_load(text)
        return part


def page(role: str) -> Page:
    """The page on a role."""
    text = (DOCS / "plugins" / f"{role.lower()}.md").read_text("utf-8")
    name = re.search(r"^`(\w+)\.py`, the whole of it:$", text, re.MULTILINE)
    code = re.search(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    use = re.search(
        r"^```(?:yaml)?\n([^`]*?)^```$", text[code.end() :] if code else "", re.MULTILINE
    )
    assert name and code and use, f"the page on {role} is not whole"
    return Page(name[1], code[1], use[1])


def packaging() -> str:
    """The pyproject.toml that docs/plugins.md shows."""
    text = (DOCS / "plugins.md").read_text("utf-8")
    found = re.search(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]
