"""With device="cuda", what trains and what embeds stays on one device, and in a step nobody waits for it.

The device is the one in fake_device.py, so this needs no GPU. How fast a real one is, it can't tell."""

import contextlib
import inspect
import textwrap
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fake_device import fake_cuda
from tiny import tiny_models
from torch import nn

from sac_seic import enhance, sac, sac_losses, seic_losses
from sac_seic.data.images import ImageArray
from sac_seic.enhance import Enhancer
from sac_seic.models import adapters
from sac_seic.models.backends import torch_backend
from sac_seic.models.captioners import HubCaptioner
from sac_seic.models.clip import ImageTower, SentenceEncoder, TextTower
from sac_seic.models.encoders import embed_images
from sac_seic.models.mini import MiniImageEncoder, MiniTextEncoder
from sac_seic.sac import SAC, ClusterHead
from sac_seic.seic import SEIC, AlignmentHead

# The test device itself ------------------------------------------------------------------------------------


def train(device: str, **adam) -> torch.Tensor:
    "A few steps with an embedding bag, batch norm and two kinds of loss; the weights after them."
    torch.manual_seed(0)
    x, near = torch.randn(12, 6), torch.randint(0, 12, (12, 3))
    network = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    x, near, network = x.to(device), near.to(device), network.to(device)
    adam = torch.optim.Adam(network.parameters(), lr=0.1, **adam)
    for _ in range(3):
        p = network(x).softmax(1)
        mean = F.embedding_bag(near, p, mode="mean")
        loss = F.cross_entropy(mean, torch.arange(12, device=device) % 4) - (p * mean).sum(1).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return network[0].weight.detach()


@pytest.mark.parametrize("adam", [{}, {"foreach": False}, {"fused": True}], ids=str)
def test_it_computes_as_the_cpu_does(adam):
    with fake_cuda() as happened: weight = train("cuda", **adam)
    assert weight.device == torch.device("cuda", 0) and not happened["waits"]
    torch.testing.assert_close(weight.cpu(), train("cpu"))


SAME, INDICES = "Expected all tensors to be on the same device", "indices should be either on cpu or on"
GENERATOR, NUMPY = "Expected a 'cuda' device type for generator", "can't convert cuda:0 device type tensor"
REFUSED = {"x + torch.ones(3)": SAME, "torch.cat([x, torch.ones(1, 3)])": SAME, "x @ torch.ones(3, 2)": SAME,
           "x.index_select(0, torch.tensor([1]))": SAME, "F.cross_entropy(x, torch.arange(4))": SAME,
           "F.embedding_bag(torch.zeros(2, 2).long(), x)": SAME, "nn.Linear(3, 2)(x)": SAME,
           "torch.stack([x[0, 0], torch.tensor(1.0)])": SAME, "torch.ones(4)[x.argmax(1)]": INDICES,
           "torch.randperm(4, generator=torch.Generator(), device='cuda')": GENERATOR,
           "x.uniform_(generator=torch.Generator())": GENERATOR, "x.numpy()": NUMPY, "np.asarray(x)": NUMPY}


@pytest.mark.parametrize("code", REFUSED)
def test_it_refuses_what_cuda_refuses(code):
    with fake_cuda():
        x = torch.rand(4, 3, device="cuda")
        with pytest.raises((RuntimeError, TypeError), match=REFUSED[code]): eval(code, globals(), {"x": x})


WAITS = ["x.sum().item()", "bool(x.sum() > 1)", "int(x.sum())", "f'{x.sum():.2f}'", "x.tolist()", "x.cpu()",
         "x.to('cpu')", "torch.ones(4, 3).copy_(x)", "x.nonzero()", "x[x > 0.5]", "x.masked_select(x > 0.5)",
         "x.unique()", "torch.equal(x, x)", "x.argmax(1).bincount()", "torch.cuda.synchronize()"]
UPLOADS = ["torch.ones(3).to('cuda')", "torch.tensor([1, 2], device='cuda')", "x.copy_(torch.ones(4, 3))",
           "x[[0, 2]]", "x[torch.tensor([0, 2])]"]
RUNS_ON = ["x + 1", "x * torch.tensor(2.0)", "x[:2]", "x.to('cuda') @ x.T", "x.masked_fill(x > 0.5, 0)",
           "F.one_hot(x.argmax(1), 3)", "x.new_zeros(3) + x", "x.max() < 0",
           "x[torch.arange(2, device='cuda')]", "torch.ones(3).pin_memory().to('cuda', non_blocking=True)"]


@pytest.mark.parametrize("code", WAITS + UPLOADS + RUNS_ON)
def test_it_counts_where_the_host_waits(code):
    with fake_cuda() as happened:
        x = torch.rand(4, 3, device="cuda")
        eval(code, globals(), {"x": x})
        assert ((happened["waits"] > 0), (happened["uploads"] > 0)) == ((code in WAITS), (code in UPLOADS))


# The training steps ----------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
V, T = (RNG.normal(size=(80, d)) + 4 * np.repeat(np.eye(4, d), 20, axis=0) for d in (16, 12))
IMAGES, P = ImageArray(RNG.integers(0, 256, (12, 24, 24, 3), dtype=np.uint8)), RNG.dirichlet(np.ones(3), 12)
SHORT = dict(batch_size=10, patience=999) # eight steps an epoch: all that are compared lie in the first
SACS = {"bank": {}, "exact": dict(neighbors="exact", init="random"), "MLP": dict(hidden=8, init="random"),
        "dot": dict(init="random", objective=dict(similarity="dot", symmetric=True))}
SEICS = {"dynamic": {}, "entropy": dict(balance="entropy", init="random"),
         "mean": dict(balance="none", weighting="mean", init="random")}
STAGES = {"frozen": {}, "self": dict(teacher="self", weighting="fixmatch", threshold=0.4),
          "ema": dict(teacher="ema", weighting="none"), "pieces": dict(micro_batch=2),
          "bf16": dict(precision="bf16"), "fp16": dict(precision="fp16")}


class Encoder:
    "As little of an image encoder as stage 2 can train."
    mean, std, fingerprint = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "two layers"

    def network(self):
        torch.default_generator.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1),
                             nn.ReLU(), nn.Conv2d(8, 16, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def fit_sac(steps, device, **more):
    return SAC(4, k=5, max_steps=steps, device=device, **SHORT, **more).fit(V, T)


def fit_seic(steps, device, **more):
    return SEIC(4, projection_dim=8, lr=1e-2, max_steps=steps, device=device, **SHORT, **more).fit(V, T)


def fit_enhancer(steps, device, head=(AlignmentHead, 16, 8, 3), files={}, **more):
    torch.default_generator.manual_seed(1)
    settings = dict(batch_size=4, size=24, lr=1e-2, workers=0) | more
    model = Enhancer(steps=steps, device=device, **settings)
    return model.fit(IMAGES, Encoder(), head[0](*head[1:]), P, **files)


def on_cuda(fit, **settings):
    "The model after three steps on the device, and how often the host waited in each of the last two."
    counts = []
    for steps in (1, 3):
        with fake_cuda() as happened: model = fit(steps, "cuda", **settings)
        assert not happened["seeded"] # the caller's random numbers on the device are left alone
        counts.append(happened["waits"] + happened["uploads"])
    return model, (counts[1] - counts[0]) / 2


@pytest.mark.parametrize("name", [*SACS, *SEICS])
def test_heads_on_cuda(name, tmp_path):
    "They become what they become on the CPU, can be asked and saved, and in a step nobody waits."
    fit, settings = (fit_sac, SACS[name]) if name in SACS else (fit_seic, SEICS[name])
    model, waits = on_cuda(fit, **settings)
    expected = fit(3, "cpu", **settings)
    assert waits == 0 and next(model.heads_.parameters()).is_cuda
    np.testing.assert_array_equal(model.labels_, expected.labels_)
    with fake_cuda():
        p = model.predict_proba(V[:7])
        model.save(tmp_path / "heads")
    np.testing.assert_allclose(p, expected.predict_proba(V[:7]), atol=1e-5)
    np.testing.assert_allclose(type(model).load(tmp_path / "heads").predict_proba(V[:7]), p, atol=1e-5)


@pytest.mark.parametrize("name", STAGES)
def test_stage_2_on_cuda(name, tmp_path):
    "It becomes what it becomes on the CPU, can be asked and saved; in a step nobody waits but fp16's scaler."
    model, waits = on_cuda(fit_enhancer, **STAGES[name])
    expected = fit_enhancer(3, "cpu", **{x: y for x, y in STAGES[name].items() if x != "precision"})
    assert waits == (name == "fp16") and next(model.student_.parameters()).is_cuda
    with fake_cuda():
        p = model.predict_proba(IMAGES)
        model.save(tmp_path / "enhancer")
        again = Enhancer.load(tmp_path / "enhancer", Encoder()).predict_proba(IMAGES)
    close = 0.02 if "precision" in STAGES[name] else 1e-4
    np.testing.assert_allclose(p, expected.predict_proba(IMAGES), atol=close)
    np.testing.assert_allclose(again, p, atol=1e-5)


def test_stage_2_goes_on_from_a_checkpoint_on_cuda(tmp_path):
    "With a head of SAC's, and a worker process."
    settings = dict(head=(ClusterHead, 16, 3), teacher="ema", checkpoint_every=1, workers=1)
    files = dict(checkpoint=tmp_path / "part")
    with fake_cuda():
        whole = fit_enhancer(3, "cuda", **settings)
        with pytest.raises(KeyboardInterrupt):
            fit_enhancer(3, "cuda", **settings, files=files | dict(progress=stop_after_two))
        again = fit_enhancer(3, "cuda", **settings, files=files)
    np.testing.assert_allclose(again.p_, whole.p_, atol=1e-6)
    assert [entry["step"] for entry in again.history_] == [1, 2, 3]


@contextlib.contextmanager
def stop_after_two(total, desc):
    updates = iter(range(100 if desc != "Enhancing encoder" else 3)) # the first says where training begins
    def update(n):
        if next(updates, None) is None: raise KeyboardInterrupt
    yield SimpleNamespace(update=update)


# Faults that must be found ---------------------------------------------------------------------------------


def plant(monkeypatch, function, old: str, new: str):
    "Put a fault into a function of the package, as an edit of its source."
    function, source = inspect.unwrap(function), textwrap.dedent(inspect.getsource(function))
    assert old in source, f"{function.__name__} no longer says {old!r}: plant this fault elsewhere"
    exec(source.replace(old, new), scope := dict(function.__globals__))
    monkeypatch.setattr(function, "__code__", inspect.unwrap(scope[function.__name__]).__code__)


MIXED = { # where it shows, the function, what it says, what the fault says, what CUDA says
    "neighbours on the CPU": (fit_sac, sac._fit_sac, "t, nbr_v, nbr_t)]", "t)] + [nbr_v, nbr_t]", INDICES),
    "targets on the CPU": (fit_sac, sac_losses._contrast, ", device=logits.device", "", SAME),
    "the CPU's generator": (fit_sac, sac._batches, "=generator", "=generator, device=device", GENERATOR),
    "weights on the CPU": (partial(fit_enhancer, weighting="none"), enhance._weights,
                           ", device=p_weak.device", "", SAME),
}
WAITING = { # likewise
    "a number": (fit_sac, sac._step, "adam.step()", "adam.step(); loss.total.item()"),
    "a copy": (fit_sac, sac._step, "(loss).detach()", "(loss).detach().cpu()"),
    "a look": (fit_sac, sac_losses.neighbor_mean, "return F", "assert nbr.min() >= 0; return F"),
    "a mask": (fit_seic, seic_losses.weighted_centers, "return weight.T", "return weight.T[p.sum(0) > 0]"),
    "a list": (fit_enhancer, enhance._enhance_step, "run.step += 1", "run.step += 1; sums.tolist()"),
    "an upload": (fit_enhancer, enhance._enhance_step, ", non_blocking=True", ""),
}


@pytest.mark.parametrize("fault", MIXED)
def test_a_planted_mixture_of_devices_is_found(monkeypatch, fault):
    fit, function, old, new, message = MIXED[fault]
    plant(monkeypatch, function, old, new)
    fit(1, "cpu") # which notices nothing
    with fake_cuda(), pytest.raises(RuntimeError, match=message): fit(1, "cuda")


@pytest.mark.parametrize("fault", WAITING)
def test_a_planted_wait_is_found(monkeypatch, fault):
    fit, *edit = WAITING[fault]
    assert on_cuda(fit)[1] == 0
    plant(monkeypatch, *edit)
    assert on_cuda(fit)[1] >= 1


def test_a_planted_seed_and_a_forgotten_cudnn_are_found(monkeypatch):
    plant(monkeypatch, adapters._Views.__getitem__, "torch.default_generator.manual_seed", "torch.manual_seed")
    with fake_cuda() as happened: fit_enhancer(1, "cuda")
    assert happened["seeded"]
    plant(monkeypatch, torch_backend, "enabled=True, ", "")
    pixels = np.ones((1, 3, 8, 8), np.float32)
    with fake_cuda() as happened: torch_backend(Encoder().network(), "cuda")(pixels)
    assert happened["cudnn off"]


# Encoders and captioners -----------------------------------------------------------------------------------

NAMES = ["timm/vit_base_patch32_clip_224.openai", "openai/clip-vit-base-patch32", "facebook/dinov2-base",
         "sentence-transformers/all-mpnet-base-v2", "Salesforce/blip-image-captioning-base",
         "Salesforce/blip2-opt-2.7b"]
B32, HF_B32, DINOV2, SBERT, BLIP, BLIP2 = NAMES
TOWERS = [(B32, "fp32"), (B32, "fp16"), (B32, "bf16"), (HF_B32, "fp16"), (DINOV2, "fp16")]
TEXTS = {"mini": lambda folder, device: MiniTextEncoder(device),
         "OpenCLIP": lambda *where: TextTower(B32, *where),
         "Hugging Face": lambda *where: TextTower(HF_B32, *where),
         "SBERT": lambda *where: SentenceEncoder(SBERT, *where)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tiny_models(folder, names=NAMES)
    return folder


def assert_alike(rows, expected):
    assert rows.dtype == np.float32 and rows.shape == expected.shape
    assert F.cosine_similarity(*map(torch.from_numpy, (rows, expected))).min() > 0.999


def look(encoder) -> np.ndarray:
    return encoder.encode(np.stack([encoder.preprocess(IMAGES[i]) for i in range(3)]))


def test_the_mini_encoder_on_cuda_waits_once_a_batch_and_uses_cudnn():
    expected = look(MiniImageEncoder("torch", "cpu"))
    with fake_cuda() as happened:
        encoder = MiniImageEncoder(device="cuda")
        assert_alike(look(encoder), expected)
        assert encoder.backend == "torch" and happened["waits"] == 1 and not happened["cudnn off"]


@pytest.mark.parametrize("name, precision", TOWERS)
def test_a_tower_on_cuda_waits_once_a_batch(folder, name, precision):
    expected = look(ImageTower(name, folder, "cpu"))
    with fake_cuda() as happened:
        assert_alike(look(ImageTower(name, folder, "cuda", precision)), expected)
        assert happened["waits"] == 1 and not happened["cudnn off"]


@pytest.mark.parametrize("make", TEXTS.values(), ids=TEXTS)
def test_text_on_cuda(folder, make):
    sentences = ["a dog", "two red shoes on the grass"]
    expected = make(folder, "cpu").encode(sentences)
    with fake_cuda(): assert_alike(make(folder, "cuda").encode(sentences), expected)


@pytest.mark.parametrize("name, beams", [(BLIP, 1), (BLIP2, 1), (BLIP2, 2)])
def test_captions_on_cuda(folder, name, beams):
    write = lambda device: HubCaptioner(name, folder, device=device, max_new_tokens=4, num_beams=beams,
                                        precision="fp32").caption(IMAGES.subset(range(3)))
    with fake_cuda(): captions = write("cuda")
    assert captions == write("cpu") and any(captions)


def test_everything_picks_the_gpu_by_itself(folder):
    with fake_cuda():
        encoders = [MiniImageEncoder(), *(kind(B32, folder) for kind in (ImageTower, TextTower)),
                    HubCaptioner(BLIP, folder)]
        trained = [fit_sac(1, "auto").heads_, fit_seic(1, "auto").heads_, fit_enhancer(1, "auto").student_]
        assert all(encoder.device.startswith("cuda") for encoder in encoders)
        assert all(next(model.parameters()).is_cuda for model in trained)


def test_images_are_embedded_on_cuda_with_worker_processes(folder):
    embed = lambda *how: embed_images(IMAGES, ImageTower(B32, folder, *how), batch_size=8, workers=1)[0]
    with fake_cuda(): rows = embed("cuda")
    assert_alike(rows, embed("cpu"))
