"Stage 2 off the page: checkpoints of other runs, small memory, worker processes, the caller's random numbers, devices."

from collections import Counter

import numpy as np
import pytest
import torch
from fake_device import fake_cuda
from torch._subclasses.fake_tensor import FakeTensorMode

from sac_seic.data.files import no_progress
from sac_seic.data.images import ImageArray
from sac_seic.enhance import ConfidenceWeight, Enhancer, self_enhancement_loss
from sac_seic.models.adapters import _Squares, _Student
from sac_seic.sac import ClusterHead
from sac_seic.seic import AlignmentHead

N, SIZE, K = 24, 32, 3
ONE = 3 * SIZE**2  # bytes of an image


class Encoder:
    "Four 1×1 convolutions, of which two get adapters; making them draws random numbers, as timm does."
    mean, std, fingerprint = (0.5,) * 3, (0.25,) * 3, "four convolutions"

    def network(self):
        network = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 4, 4), torch.nn.ReLU(), *(torch.nn.Conv2d(8, 8, 1) for _ in range(4)),
            torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        generator = torch.Generator().manual_seed(0)
        for x in network.parameters(): torch.nn.init.normal_(x, std=0.3, generator=generator)
        return network


class OtherEncoder(Encoder):
    fingerprint = "other weights"


class Counted(ImageArray):
    "Says how often each image was decoded."
    decoded = Counter()

    def read(self, i):
        self.decoded[i] += 1
        return super().read(i)


def pictures(seed=0, kind=ImageArray):
    return kind(np.random.default_rng(seed).integers(0, 256, (N, 40, 40, 3), dtype=np.uint8))


def head_and_p():
    generator, head = torch.Generator().manual_seed(1), ClusterHead(8, K)
    for x in head.parameters(): torch.nn.init.normal_(x, generator=generator)
    return head, torch.randn(N, K, generator=generator).mul(3).softmax(1).numpy()


def fitted(images=None, encoder=None, checkpoint=None, progress=no_progress, **settings):
    settings = {"steps": 4, "batch_size": 8, "size": SIZE, "lr": 1e-2, "head_lr": 1e-2, "device": "cpu"} | settings
    head, p = head_and_p()
    return Enhancer(**settings).fit(images or pictures(), encoder or Encoder(), head, p, checkpoint, progress)


class Watched(no_progress):
    "Which steps were trained, and not taken from a checkpoint."
    steps = []

    def __init__(self, total, desc): self.steps = Watched.steps if desc == "Enhancing encoder" else []
    def update(self, n): self.steps.append(n)


def trained_steps(**how) -> int:
    Watched.steps.clear()
    fitted(progress=Watched, **how)
    assert sum(Watched.steps) == 4
    return len(Watched.steps) - 1  # the first update is for the checkpoint's steps


def test_checkpoint_is_of_this_very_run(tmp_path):
    file = tmp_path / "state"
    assert trained_steps(checkpoint=file) == 4 and trained_steps(checkpoint=file) == 0
    assert trained_steps(checkpoint=file, workers=1, micro_batch=3) == 0  # neither decides the result
    assert trained_steps(checkpoint=file, images=pictures(seed=1)) == 4
    assert trained_steps(checkpoint=file) == 4 and trained_steps(checkpoint=file, encoder=OtherEncoder()) == 4
    named = pictures()
    named.names = [f"photo {i}" for i in range(N)]
    assert trained_steps(checkpoint=file) == 4 and trained_steps(checkpoint=file, images=named) == 4
    assert trained_steps(checkpoint=file) == 4 and trained_steps(checkpoint=file, random_state=1) == 4


def test_memory_is_bounded():
    images = pictures(kind=Counted)
    squares = _Squares(images, SIZE, 5 * ONE + 1, no_progress)
    assert len(squares) == N and squares.kept.nbytes == 5 * ONE
    images.decoded.clear()
    for i in range(N): squares[i]
    assert images.decoded == {i: 1 for i in range(5, N)}  # the kept ones are not read again
    assert _Squares(images, SIZE, 0, no_progress).kept.nbytes == 0
    whole = fitted(images)
    images.decoded.clear()
    small = fitted(images, cache_bytes=5 * ONE)
    assert [images.decoded[i] for i in range(5)] == [1] * 5 and min(images.decoded[i] for i in range(5, N)) > 1
    np.testing.assert_array_equal(small.p_, whole.p_)
    assert small.history_ == whole.history_
    np.testing.assert_array_equal(small.predict_proba(images), whole.p_)


@pytest.mark.parametrize("teacher", ["frozen", "ema"])
def test_workers_change_nothing(teacher):
    here, others = (fitted(workers=workers, teacher=teacher, cache_bytes=5 * ONE) for workers in (0, 2))
    np.testing.assert_array_equal(here.p_, others.p_)
    assert here.history_ == others.history_


@pytest.mark.parametrize("workers", [0, 1])
def test_random_numbers_stay(workers, monkeypatch):
    given, images = head_and_p(), pictures()
    seeded = []
    for name in ("manual_seed", "manual_seed_all"): monkeypatch.setattr(torch.cuda, name, seeded.append)
    before, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()
    model = Enhancer(steps=2, batch_size=8, size=SIZE, device="cpu", workers=workers, random_state=5)
    model.fit(images, Encoder(), *given, progress=no_progress).predict(images, progress=no_progress)
    model.merged()
    assert torch.equal(torch.get_rng_state(), before) and (np.random.get_state()[1] == numpys).all()
    assert not seeded  # no GPU's generator was touched


def test_two_devices_in_one_program():
    "A fit on a GPU, then one on the CPU: neither knows of the other. No step waits for the GPU."
    alone, waits = fitted(teacher="ema"), []
    for steps in (1, 4):
        with fake_cuda() as happened: there = fitted(teacher="ema", device="cuda", micro_batch=3, steps=steps)
        waits.append(happened["waits"])
    assert waits[0] == waits[1] > 0  # the history and the final probabilities are read at the end
    assert {x.device.type for x in there.student_.parameters()} == {"cuda"}
    here = fitted(teacher="ema")
    np.testing.assert_allclose(there.p_, alone.p_, atol=1e-5)
    np.testing.assert_array_equal(here.p_, alone.p_)
    assert {x.device.type for x in here.student_.parameters()} == {"cpu"}


def test_weight_is_not_looked_at():
    "Eq. 12 without a wait for the GPU: tensors that have no values are enough."
    with FakeTensorMode(): assert ConfidenceWeight()(torch.rand(8, 3).softmax(1)).shape == (8,)


def test_names_of_what_moves_are_gathered_once(monkeypatch):
    calls, plain = [], _Student.trained
    monkeypatch.setattr(_Student, "trained", lambda self: calls.append(1) or plain(self))
    fitted(teacher="ema", steps=6)
    assert len(calls) == 1


def test_the_average_is_of_the_student():
    "Without memory it is the student; with nothing but memory it stays what the student was at the start."
    student, start = fitted(teacher="self", lr=0.1, head_lr=0.1), fitted(teacher="ema", ema=1.0, lr=0.1, head_lr=0.1)
    np.testing.assert_array_equal(fitted(teacher="ema", ema=0.0, lr=0.1, head_lr=0.1).p_, student.p_)
    assert not np.array_equal(start.p_, student.p_)


def test_pieces_add_up():
    whole, pieces = fitted(), fitted(micro_batch=3)
    np.testing.assert_allclose(pieces.p_, whole.p_, atol=1e-4)
    for one, other in zip(whole.history_, pieces.history_, strict=True): assert one == pytest.approx(other, abs=1e-4)


def test_numpys_numbers_are_numbers(tmp_path):
    numbers = {"rank": 8, "lora_alpha": 16.0, "batch_size": 8, "micro_batch": 5, "steps": 3, "size": SIZE, "lr": 1e-2,
               "checkpoint_every": 2, "cache_bytes": 7 * ONE, "workers": 0, "random_state": 3, "ema": 0.9}
    plain = fitted(**numbers, teacher="ema", checkpoint=tmp_path / "plain")
    kinds = {int: np.int64, float: np.float64}
    numpys = {name: kinds[type(x)](x) for name, x in numbers.items()}
    other = fitted(**numpys, teacher="ema", checkpoint=tmp_path / "numpy")
    np.testing.assert_array_equal(plain.p_, other.p_)
    other.save(tmp_path / "model")
    loaded = Enhancer.load(tmp_path / "model", Encoder())
    np.testing.assert_array_equal(loaded.predict_proba(pictures()), plain.p_)
    np.testing.assert_array_equal(loaded.labels_, plain.labels_)
    assert loaded.history_ == plain.history_ and loaded.seed_ == 3 and loaded.get_params() == other.get_params()


def test_no_random_state():
    np.random.seed(0)
    one, two = (fitted(random_state=None) for _ in range(2))
    assert one.seed_ != two.seed_ and not np.array_equal(one.p_, two.p_)
    np.testing.assert_array_equal(fitted(random_state=one.seed_).p_, one.p_)


@pytest.mark.parametrize("teacher, weighting", [("self", "none"), ("ema", "fixmatch"), ("ema", "gaussian")])
def test_teachers_and_weights(teacher, weighting, tmp_path):
    "Each gives an answer of its own, and a run with a moving average goes on exactly where it was stopped."
    whole = fitted(teacher=teacher, weighting=weighting, threshold=0.5)
    assert np.isfinite(whole.p_).all() and not np.array_equal(whole.p_, fitted().p_)
    with pytest.raises(KeyboardInterrupt):
        fitted(teacher=teacher, weighting=weighting, threshold=0.5, checkpoint=tmp_path / "state", checkpoint_every=2, progress=Interrupt)
    resumed = fitted(teacher=teacher, weighting=weighting, threshold=0.5, checkpoint=tmp_path / "state", checkpoint_every=2)
    np.testing.assert_array_equal(resumed.p_, whole.p_)
    assert resumed.history_ == whole.history_


class Interrupt(no_progress):
    "Presses Ctrl-C in the third step."
    def __init__(self, total, desc): self.left = 3 if desc == "Enhancing encoder" else 10**9

    def update(self, n):
        self.left -= n
        if not self.left: raise KeyboardInterrupt


def test_mixed_precision_is_close():
    assert 0 < np.abs(fitted(precision="bf16").p_ - fitted().p_).max() < 0.2


def test_seics_head_is_trained_too():
    head = AlignmentHead(8, 5, K)
    with torch.no_grad():
        for x in head.parameters(): x.copy_(torch.linspace(-1, 1, x.numel()).view_as(x))
    model = Enhancer(steps=4, batch_size=8, size=SIZE, lr=1e-2, head_lr=1e-2, device="cpu").fit(
        pictures(), Encoder(), head, head_and_p()[1], progress=no_progress)
    assert {f"head.{part}.{what}" for part in ("project", "cluster") for what in ("weight", "bias")} == {
        name for name in model.student_.trained() if not name.startswith("encoder.")}
    assert not torch.equal(model.student_.head.project.weight, head.project.weight) and model.p_.shape == (N, K)


def test_weights_and_loss_refuse():
    for bad in ({"momentum": 1}, {"n_sigma": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(bad))} is"): ConfidenceWeight(**bad)
    with pytest.raises(ValueError, match="must be B×K, B×K and B"):
        self_enhancement_loss(torch.zeros(3, 2), torch.zeros(3, 2), torch.ones(2))


@pytest.mark.parametrize("name, value", [
    ("steps", -1), ("steps", 2.5), ("batch_size", 0), ("micro_batch", 0), ("rank", 0), ("rank", "8"), ("size", 0),
    ("lr", -1.0), ("lr", float("nan")), ("head_lr", 0), ("momentum", 1), ("n_sigma", 0), ("ema", 1.5), ("threshold", -0.1),
    ("checkpoint_every", 0), ("cache_bytes", -1), ("workers", -1), ("random_state", -1), ("random_state", 0.5),
    ("teacher", "mine"), ("weighting", None), ("precision", "no"), ("device", "tpu")])
def test_nonsense_is_refused(name, value):
    with pytest.raises(ValueError, match=name if name != "device" else "no device 'tpu'"): fitted(**{name: value})


def test_no_steps_is_stage_one():
    model = fitted(steps=0)
    assert model.history_ == [] and model.p_.shape == (N, K)
