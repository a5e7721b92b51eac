"""What holds for the package as a whole: its version, quick imports, no development tools at run time."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from pathlib import Path

import pytest

import sac_seic

ROOT = Path(__file__).parent.parent
MODULES = sorted(p for p in (ROOT / "sac_seic").rglob("*.py") if p.name != "_modidx.py")


def loaded_by(code):
    "The top-level modules that are loaded after running `code` in a fresh Python."
    done = subprocess.run([sys.executable, "-c", f"{code}\nimport sys; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_version():
    config = ConfigParser()
    config.read(ROOT / "settings.ini")
    assert sac_seic.__version__ == config["DEFAULT"]["version"]


def test_nbdev_finds_the_same_settings_in_both_files():
    "nbdev 2 reads settings.ini, nbdev 3 pyproject.toml."
    config = ConfigParser()
    config.read(ROOT / "settings.ini")
    old, new = config["DEFAULT"], tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["nbdev"]
    assert {"lib_path", "nbs_path", "doc_path", "tst_flags", "recursive"} <= set(new)
    for name, value in new.items():
        assert (old.getboolean(name) if isinstance(value, bool) else old[name]) == value, name


@pytest.mark.parametrize("code", ["import sac_seic", "import sac_seic.tool.command", "import sac_seic.tool.widgets", "import sac_seic.data.images"])
def test_light_imports_load_no_heavy_library(code):
    heavy = {"torch", "torchvision", "timm", "onnxruntime", "sentence_transformers", "transformers", "sklearn", "scipy", "matplotlib", "seaborn", "faiss"}
    assert not loaded_by(code) & heavy


def test_help_is_quick():
    "Under a second of processor time, which a busy machine does not stretch as it does the clock's."
    before = os.times()
    done = subprocess.run([sys.executable, "-c", "from sac_seic.tool.command import main; main()", "--help"], capture_output=True, text=True)
    after = os.times()
    assert done.returncode == 0 and "demo" in done.stdout, done.stderr
    assert after.children_user + after.children_system - before.children_user - before.children_system < 1


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_modules_import_no_development_tool(path):
    imported = {name.split(".")[0] for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else [])}
    assert not imported & {"nbdev", "fastcore", "execnb", "IPython", "pytest", "pickle"}


ORDER = """data.files data.images data.benchmarks data.shards data.neighbors data.sources
    models.devices models.encoders models.weights models.backends models.mini models.clip models.captioners
    models.captions models.classic models.rows models.heads models.wordnet captioning models.presets pairs smoothing sac_losses sac nouns seic_losses seic
    models.adapters enhance baselines rivals recipes evaluate simulate
    tool.names tool.choose_k tool.checks tool.map tool.page tool.apply tool.tables tool.saved tool.embed
    tool.doctor tool.widgets tool.experiments tool.report tool.cluster tool.runs tool.reproduce tool.command""".split()
FLOOR = set(ORDER[ORDER.index("tool.names"):ORDER.index("tool.report")])  # side by side: none imports another


def imports(path):
    "The modules of this package that a module imports, anywhere in it."
    package = path.relative_to(ROOT / "sac_seic").parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import): yield from (a.name.removeprefix("sac_seic.") for a in node.names if a.name.startswith("sac_seic."))
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else ()
            name = ".".join([*base, *([node.module] if node.module else [])])
            if node.level or name.startswith("sac_seic"):
                name = name.removeprefix("sac_seic").strip(".")
                yield from [name] if name in ORDER else [f"{name}.{a.name}".strip(".") for a in node.names]


def module_name(path): return ".".join(path.relative_to(ROOT / "sac_seic").with_suffix("").parts)


def test_the_order_names_every_module():
    assert sorted(ORDER) == sorted(module_name(path) for path in MODULES if path.stem != "__init__")


@pytest.mark.parametrize("path", [path for path in MODULES if path.stem != "__init__"], ids=module_name)
def test_modules_import_only_from_their_left(path):
    "Images go through the package once, from left to right; what stands side by side in `tool` stays apart."
    name = module_name(path)
    used = {module for module in imports(path) if module in ORDER}
    assert not used & set(ORDER[ORDER.index(name):]), f"{name} imports from its right"
    if name in FLOOR: assert not used & FLOOR, f"{name} imports from beside itself"
