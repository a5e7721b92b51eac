"""The captioner of `mini` on networks made up for it, and the corners of the noise in captions."""

import math

import numpy as np
import pytest

from sac_seic.captioning import _delete_words, _mix, noisy_captions
from sac_seic.data.images import ImageArray
from sac_seic.models.mini import MiniCaptioner

NAMES = ["apple", "leaf", "sky"]
CAPTIONS = [f"a photo of a {a} {b}" for a in ("red", "blue", "small", "old") for b in ("cat", "dog", "hen", "bus", "tree")] * 10


class MeanColour:
    "Features: the mean red, green and blue, divided by 100. The last layer hands them on."
    name, dim, fingerprint, class_names = "mean colour", 3, "mean-colour", NAMES
    def preprocess(self, image): return np.asarray(image, dtype=np.float32).transpose(2, 0, 1)
    def encode(self, batch): return batch.mean(axis=(2, 3)) / 100
    def classifier(self): return np.eye(3, dtype=np.float32), np.zeros(3, dtype=np.float32)


class RandomNetwork(MeanColour):
    dim, class_names = 5, ["ant", "bee", "cat", "dog", "eel", "fox", "hen", "imp"]
    def __init__(self, rng): self.layer = rng.normal(size=(8, 5)), rng.normal(size=8)
    def classifier(self): return self.layer


def coloured(*colours): return ImageArray(np.ones((len(colours), 4, 4, 1), dtype=np.uint8) * np.array(colours, dtype=np.uint8)[:, None, None, :])


def loops(v, W, b, names, top):
    scores = [sum(W[j][m] * v[m] for m in range(len(v))) + b[j] for j in range(len(names))]
    chosen = [names[j] for j in sorted(range(len(names)), key=lambda j: -scores[j])[:top]]
    return "a photo of " + ("an " if chosen[0][0] in "aei" else "a ") + ", ".join(chosen[:-1]) + " or " + chosen[-1]


def test_the_largest_scores_make_the_sentence():
    three = coloured((200, 100, 0), (0, 90, 200), (0, 200, 90), (9, 9, 9))  # the last: a tie goes to the earlier name
    assert MiniCaptioner(MeanColour(), top=2).caption(three) == [f"a photo of {w}" for w in ("an apple or leaf", "a sky or leaf", "a leaf or sky", "an apple or leaf")]
    rng = np.random.default_rng(0)
    network, V = RandomNetwork(rng), rng.normal(size=(50, 5))
    assert MiniCaptioner(network, top=3).from_embeddings(V) == [loops(v, *network.layer, network.class_names, top=3) for v in V]


def test_more_of_a_colour_never_puts_its_name_back():
    colours = np.array([(200, 100, 0), (0, 90, 200), (0, 200, 90)])
    captioner = MiniCaptioner(MeanColour(), top=3)
    place = lambda name, caption: sum(caption.find(other) < caption.find(name) for other in NAMES)
    gained = []
    for i, name in enumerate(NAMES):
        stronger = np.minimum(colours + 120 * np.eye(3, dtype=int)[i], 255)
        gained += [place(name, a) - place(name, b) for a, b in zip(captioner.caption(coloured(*colours)), captioner.caption(coloured(*stronger)))]
    assert min(gained) == 0 < max(gained)


@pytest.mark.parametrize("top", [0, 4])
def test_a_caption_holds_as_many_names_as_there_are(top):
    with pytest.raises(ValueError, match=f"top is {top}: a caption can hold 1 to 3 class names"): MiniCaptioner(MeanColour(), top=top)


def test_deleting_words_leaves_some_and_takes_half():
    rng = np.random.default_rng(0)
    lengths = [len(_delete_words("a photo of a moped", rng).split()) for _ in range(2000)]
    assert min(lengths) == 1 and max(lengths) == 4 and abs(np.mean(lengths) - 2.5) < 0.1
    assert {_delete_words("red apple", rng) for _ in range(100)} == {"red", "apple"}


def test_mixing_two_sentences():
    rng = np.random.default_rng(0)
    mixtures = lambda a, b: {_mix(a, b, rng) for _ in range(50)}
    assert mixtures("a red apple", "two small green leaves") == {"a red green leaves", "two small apple"}
    assert mixtures("a cat or dog", "a hen or dog") == {"a hen or dog"}  # the second halves are equal
    assert mixtures("cat", "dog") == {"dog"} and mixtures("", "red dog") == {"red", "dog"} and mixtures("cat", "") == {""}


@pytest.mark.parametrize("rate", [0, 0.3, 0.6, 1])
def test_the_share_of_damaged_captions_is_met(rate):
    noisy, damaged = noisy_captions(CAPTIONS, rate, seed=1)
    assert damaged.sum() == rate * 200 and [a != b for a, b in zip(CAPTIONS, noisy)] == damaged.tolist()
    assert noisy_captions(CAPTIONS, rate, seed=1)[0] == noisy and (noisy_captions(CAPTIONS, rate, seed=2)[0] == noisy) == (rate == 0)


def test_more_noise_adds_damage_and_changes_none():
    (low, few), (high, many) = (noisy_captions(CAPTIONS, rate, seed=5) for rate in (0.3, 0.6))
    assert (many | ~few).all() and all(low[i] == high[i] for i in np.flatnonzero(few))
    turns = np.random.default_rng(5).permutation(200)[:120]  # words deleted, two mixed, in turn

    def is_part(short, long):
        words = iter(long.split())
        return all(word in words for word in short.split())

    left_over = np.array([is_part(high[i], CAPTIONS[i]) for i in range(200)])
    assert left_over[turns[::2]].all() and not left_over[turns[1::2]].any()
    assert sorted(turns) == np.flatnonzero(many).tolist()


def test_captions_that_leave_little_to_damage():
    assert noisy_captions([], 0.5, 0)[0] == []
    assert noisy_captions(["a red cat"], 1, 0)[1].all()  # n = 1: words are deleted
    assert not noisy_captions(["cat", "cat"], 1, 0)[1].any()
    swapped, mask = noisy_captions(["cat", "dog", "", "a dog"], 1, 0)
    assert mask.all() and all(a != b for a, b in zip(swapped, ["cat", "dog", "", "a dog"]))
    ten, mask = noisy_captions(["a photo of shoes"] * 10, 1, seed=0)  # no other sentence to mix with
    assert mask.all() and max(len(text.split()) for text in ten) < 4


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan])
def test_a_rate_is_a_share(rate):
    with pytest.raises(ValueError, match="it is a share of the captions, from 0 to 1"): noisy_captions(CAPTIONS, rate, 0)
