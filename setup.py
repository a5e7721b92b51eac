"""Package metadata, read from settings.ini: requirements, extras, version and the sac-seic command."""

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
config = ConfigParser()
config.read(here / "settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]

extras = {name: cfg[f"{name}_requirements"].split() for name in ("mini", "paper", "cluster", "umap", "dev")}
for name in ("mini", "paper", "cluster", "umap"): extras["dev"] += extras[name]  # the notebooks, the tests, use all

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=cfg["git_url"],
    keywords=cfg["keywords"].split(),
    license_expression=cfg["license"],
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        f"Intended Audience :: {cfg['audience']}",
        f"Natural Language :: {cfg['language']}",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    packages=find_packages(include=["sac_seic", "sac_seic.*"]),
    package_data={"sac_seic": ["*.png", "*.json", "*.txt", "*.gz", "*LICENSE*", "data/*", "experiments/*"], "sac_seic.tool": ["*.js", "*.css", "*.html"]},
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg["requirements"].split(),
    extras_require=extras,
    entry_points={
        "console_scripts": cfg["console_scripts"].split(),
        "nbdev": [f"{cfg['lib_name']} = {cfg['lib_path']}._modidx:d"],  # the docs' links from a name to its page
    },
    zip_safe=False,
)
