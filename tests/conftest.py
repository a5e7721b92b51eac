"""The notebooks share one fresh cache a run, share the cores fairly between pytest's workers, and stay offline."""

import os
import shutil
import tempfile

import pytest


def pytest_configure(config):
    if hasattr(config, "workerinput"): return  # a worker of pytest-xdist inherits what is set here
    workers = max(1, len(getattr(config.option, "tx", None) or []))
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))
    os.environ["SAC_SEIC_CACHE"] = config.cache_folder = tempfile.mkdtemp(prefix="sac_seic_tests_")
    os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_unconfigure(config):
    if hasattr(config, "cache_folder"): shutil.rmtree(config.cache_folder, ignore_errors=True)


@pytest.fixture(scope="session")
def browser():
    "Headless Chromium, the one installed on this machine: none is downloaded."
    if (chromium := shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")) is None:
        pytest.skip("no Chromium here: install Debian's package chromium to run the tests in the browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        window = driver.chromium.launch(executable_path=chromium)
        yield window
        window.close()


@pytest.fixture(scope="module")
def one_thread():
    "For modules whose matrices are so small that more threads only wait for each other."
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1): yield
    torch.set_num_threads(before)
