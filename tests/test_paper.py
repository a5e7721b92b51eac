"""The paper preset through the command, offline, on small random weights; and weights fetched from a hub that runs here."""

import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sac_seic.data.images import fashion_mnist_sample
from sac_seic.tiny import tiny_models

COMMAND = """import functools
from sac_seic import evaluate, nouns
every = nouns.wordnet_nouns()
nouns.wordnet_nouns = lambda vocabulary: every[::300]  # a quicker vocabulary, and fewer steps in stage 2; all else is what a user gets
evaluate.Enhancer = functools.partial(evaluate.Enhancer, steps=4)
from sac_seic.tool.command import main; main()"""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    "A folder to work in: tiny weights in models/, 24 images of three kinds in photos/, a cache for all tests."
    work, sample = tmp_path_factory.mktemp("paper"), fashion_mnist_sample()
    tiny_models(work / "models")
    for kind in (1, 7, 8):
        (work / "photos" / sample.classes[kind]).mkdir(parents=True)
        for i in [i for i in range(len(sample)) if sample.labels[i] == kind][:8]:
            sample[i].resize((64, 48)).save(work / "photos" / sample.classes[kind] / f"{i}.png")
    return work


def sac_seic(work, *args, **more):
    environment = {**os.environ, "SAC_SEIC_CACHE": str(work / "cache"), "HF_HOME": str(work / "hub"), "COLUMNS": "200", **more}
    done = subprocess.run([sys.executable, "-c", COMMAND, *args], cwd=work, env=environment, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


PAPER = ["cluster", "photos", "-k", "3", "--labels", "--preset", "paper", "--models-dir", "models"]


def record(work, out): return json.loads((work / out / "run.json").read_text(encoding="utf-8"))


def test_sac_with_captions(work):
    done = sac_seic(work, *PAPER, "--out", "sac")
    assert done.returncode == 0, done.stderr
    assert "24 of 24 images clustered" in done.stdout and "Captioning images: 24" in done.stderr
    run = record(work, "sac")
    assert set(run["models"]) == {"image", "captioner", "text"} and run["settings"]["preset"] == "paper"
    again = sac_seic(work, *PAPER, "--out", "again")
    assert "Captioning images" not in again.stderr and "Embedding" not in again.stderr  # everything was kept
    assert (work / "again/assignments.csv").read_bytes() == (work / "sac/assignments.csv").read_bytes()


def test_seic_with_nouns_and_lora(work):
    done = sac_seic(work, *PAPER, "--method", "seic", "--out", "seic")
    assert done.returncode == 0, done.stderr
    run = record(work, "seic")
    assert set(run["models"]) == {"image", "nouns"} and "Enhancing encoder" in run["seconds"] and run["settings"]["text"] == "nouns"


@pytest.mark.parametrize("options", [["--captioner", "Salesforce/blip-image-captioning-base"], ["--image-encoder", "facebook/dinov2-base"],
                                     ["--image-encoder", "ViT-L/14", "--text", "nouns"]], ids=lambda options: options[1])
def test_variants(work, options):
    done = sac_seic(work, *PAPER, "--method", "kmeans-both", *options, "--out", "variant")
    assert done.returncode == 0, done.stderr


def test_human_captions(work):
    rows = [f"{path.relative_to(work / 'photos').as_posix()},a {path.parent.name.lower()}" for path in (work / "photos").rglob("*.png")]
    (work / "captions.csv").write_text("\n".join(["file,caption", *rows]))
    done = sac_seic(work, "cluster", "photos", "-k", "3", "--labels", "--captions", "captions.csv", "--method", "kmeans-text", "--out", "human")
    assert done.returncode == 0, done.stderr
    assert record(work, "human")["metrics"]["ACC"] == 1  # three different sentences, a class each
    (work / "short.csv").write_text("\n".join(["file,caption", *rows[1:]]))
    done = sac_seic(work, "cluster", "photos", "-k", "3", "--captions", "short.csv", "--out", "human")
    assert done.returncode == 2 and done.stderr.count("Error:") == 1 and "short.csv" in done.stderr


def test_missing_weights_are_named_at_once(work):
    (work / "none").mkdir(exist_ok=True)
    done = sac_seic(work, "cluster", "photos", "-k", "3", "--preset", "paper", "--models-dir", "none", "--out", "missing")
    assert done.returncode == 2 and "15 GB" in done.stderr and done.stderr.count("hf download") == 3 and "Embedding" not in done.stderr
    done = sac_seic(work, "cluster", "photos", "-k", "3", "--preset", "paper", "--out", "missing", HF_HUB_OFFLINE="1")
    assert done.returncode == 2 and "HF_HUB_OFFLINE" in done.stderr


def test_embedding_without_captions_needs_one_model(work):
    shutil.copytree(work / "models/facebook", work / "vision/facebook")
    done = sac_seic(work, "embed", "photos", "shards", "--no-captions", "--preset", "paper", "--models-dir", "vision", "--image-encoder", "facebook/dinov2-base")
    assert done.returncode == 0 and "24 images embedded" in done.stdout, done.stderr


class Hub(http.server.BaseHTTPRequestHandler):
    "As much of the hub as a download needs: what a repository holds, and its files."
    models, served = None, []

    def do_HEAD(self): self.answer(body=False)

    def do_GET(self): self.answer(body=True)

    def answer(self, body):
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            folder = self.models / parts[2] / parts[3]
            files = [p for p in sorted(folder.rglob("*")) if p.is_file()] if folder.is_dir() else []
            if "tree" in parts: content = [{"type": "file", "path": p.relative_to(folder).as_posix(), "size": p.stat().st_size, "oid": "0" * 40} for p in files]
            else: content = {"id": "/".join(parts[2:4]), "sha": "a" * 40, "siblings": [{"rfilename": p.relative_to(folder).as_posix()} for p in files]}
            return self.send(json.dumps(content).encode() if files else None, {"Content-Type": "application/json"}, body)
        file = self.models / parts[0] / parts[1] / "/".join(parts[4:])
        if body and file.is_file(): self.served.append(file.name)
        content = file.read_bytes() if file.is_file() else None
        self.send(content, {"ETag": f'"{hashlib.sha256(content or b"").hexdigest()}"', "X-Repo-Commit": "a" * 40}, body)

    def send(self, content, headers, body):
        self.send_response(200 if content is not None else 404)
        for name, value in {**headers, "Content-Length": str(len(content or b""))}.items(): self.send_header(name, value)
        self.end_headers()
        if body and content: self.wfile.write(content)

    def log_message(self, *_): pass


def test_weights_come_from_the_hub_once(work, tmp_path):
    Hub.models = tmp_path / "hub"
    shutil.copytree(work / "models/timm", Hub.models / "timm")
    clip = Hub.models / "timm/vit_base_patch32_clip_224.openai"
    (clip / "pytorch_model.bin").write_bytes(b"a pickle")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}
    command = ["cluster", "photos", "-k", "3", "--preset", "paper", "--text", "nouns", "--method", "kmeans-image", "--out", "hub"]
    done = sac_seic(work, *command, **hub)
    assert done.returncode == 0, done.stderr
    assert sorted(Hub.served) == ["open_clip_config.json", "open_clip_model.safetensors"]  # no pickle
    server.shutdown()
    assert sac_seic(work, *command, **hub).returncode == 0  # the hub is gone, the weights are here
    assert len(Hub.served) == 2
