"""What holds for the package as a whole: its version, quick imports, no development tools at run time."""

import ast
import os
import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

import sac_seic

ROOT = Path(__file__).parent.parent
MODULES = sorted(p for p in (ROOT / "sac_seic").glob("*.py") if p.name != "_modidx.py")


def loaded_by(code):
    "The top-level modules that are loaded after running `code` in a fresh Python."
    done = subprocess.run([sys.executable, "-c", f"{code}\nimport sys; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_version():
    config = ConfigParser()
    config.read(ROOT / "settings.ini")
    assert sac_seic.__version__ == config["DEFAULT"]["version"]


@pytest.mark.parametrize("code", ["import sac_seic", "import sac_seic.cli", "import sac_seic.data"])
def test_light_imports_load_no_heavy_library(code):
    heavy = {"torch", "torchvision", "timm", "onnxruntime", "sentence_transformers", "transformers", "sklearn", "scipy", "matplotlib", "seaborn", "faiss"}
    assert not loaded_by(code) & heavy


def test_help_is_quick():
    "Under a second of processor time, which a busy machine does not stretch as it does the clock's."
    before = os.times()
    done = subprocess.run([sys.executable, "-c", "from sac_seic.cli import main; main()", "--help"], capture_output=True, text=True)
    after = os.times()
    assert done.returncode == 0 and "demo" in done.stdout, done.stderr
    assert after.children_user + after.children_system - before.children_user - before.children_system < 1


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_modules_import_no_development_tool(path):
    imported = {name.split(".")[0] for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else [])}
    assert not imported & {"nbdev", "fastcore", "execnb", "IPython", "pytest", "pickle"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_modules_import_only_from_their_left(path):
    "Notebook 05 may import from the modules of notebooks 01 to 04 only."
    named = (re.search(r"#\| default_exp (\w+)", notebook.read_text(encoding="utf-8")) for notebook in sorted((ROOT / "nbs").glob("*.ipynb")))
    order = [name[1] for name in named if name]
    assert len(order) > 20
    if path.stem == "__init__": return
    used = re.findall(r"^\s*from (?:sac_seic)?\.(\w+) import|^\s*import sac_seic\.(\w+)", path.read_text(encoding="utf-8"), re.M)
    right = {a or b for a, b in used} & set(order[order.index(path.stem):])
    assert not right, f"sac_seic/{path.name} imports from {right}"
