"""The documents hold what they say: links lead somewhere, the make targets and the version are real."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [target for target in targets if target and "://" not in target]
    missing = [target for target in local if not (page.parent / target).exists()]
    assert not missing, f"{page.name} links to what is not there: {missing}"


def test_make_targets_in_the_readme_exist() -> None:
    named = set(re.findall(r"\bmake ([a-z]+)", (ROOT / "README.md").read_text()))
    defined = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert named <= defined, f"the README names targets that the Makefile lacks: {sorted(named - defined)}"


def test_the_changelog_has_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_help_is_what_make_says_first() -> None:
    said = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=20).stdout
    for target in ("train", "test", "lint", "bench", "effects"):
        assert f"make {target}" in said


def test_the_task_in_the_guide_passes_the_conformance_test(tmp_path: Path) -> None:
    """The example of docs/adding-a-task.md, as a module of a user's own."""
    page = (ROOT / "docs" / "adding-a-task.md").read_text()
    program = re.search(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert program is not None
    (tmp_path / "guide_task.py").write_text(program[1])
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/test_conformance.py", "-k", "tick-box", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env={**os.environ, "HANDEYE_IMPORT": "guide_task", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) > 10
