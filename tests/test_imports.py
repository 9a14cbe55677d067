"""The directions of imports: minds and worlds never meet, and what is light stays light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("episode", "perception", "policy", "sims", "gui_env", "training", "assets")
MAY_IMPORT: dict[str, set[str]] = {
    "episode": set(),
    "assets": set(),
    "perception": {"episode"},
    "policy": {"episode", "perception", "assets"},
    "sims": {"episode", "assets"},
    "gui_env": {"episode", "assets"},
    "training": {"episode", "perception", "policy", "sims", "gui_env", "assets"},
}
"""What each package may import of the project, itself apart. ``policy`` may open the shipped base in ``assets``."""
FOREIGN: dict[str, set[str]] = {
    "episode": {"numpy"},
    "sims": {"numpy", "gymnasium", "mujoco", "cv2", "PIL"},
    "gui_env": {"numpy", "gymnasium", "cv2", "PIL"},
}
"""All that these may import from outside the standard library: worlds run without torch or transformers."""


def sources(package: str) -> list[Path]:
    single = ROOT / f"{package}.py"
    return [single] if single.exists() else sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and first name of every absolute import in a file, at any depth of nesting."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.split(".")[0]


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(package)
        for line, name in imported(path)
        if name in PACKAGES and name not in allowed
    ]
    assert not wrong, f"{package} may import only {sorted(allowed)}:\n" + "\n".join(wrong)


@pytest.mark.parametrize("package", FOREIGN)
def test_worlds_and_vocabulary_stand_on_little(package: str) -> None:
    allowed = FOREIGN[package] | set(PACKAGES) | set(sys.stdlib_module_names)
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(package)
        for line, name in imported(path)
        if name not in allowed
    ]
    assert not wrong, f"{package} may use only {sorted(FOREIGN[package])} beyond the standard library:\n" + "\n".join(
        wrong
    )


def test_no_module_hides_the_standard_library() -> None:
    hiding = [
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in sources(package)
        if path.stem == "types" or (path.parent == ROOT and path.stem in sys.stdlib_module_names)
    ]
    assert not hiding, f"a module called like one of Python's own: {hiding}"


def test_importing_vocabulary_and_worlds_is_light() -> None:
    """No torch, no transformers, no GL display: a fork after the parent opened GL would hang."""
    program = (
        "import sys, episode, gui_env, sims\n"
        "heavy = sorted({'torch', 'transformers'} & set(sys.modules))\n"
        "egl = sys.modules.get('mujoco.egl')\n"
        "opened = egl is not None and egl.EGL_DISPLAY is not None\n"
        "sys.exit(f'imported {heavy}, GL opened: {opened}' if heavy or opened else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
