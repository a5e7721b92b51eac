"""Names of clusters on captions of every kind, and the words that are kept off them."""

import gzip
from importlib.resources import files

import numpy as np
import pytest
from score_names import MEANT, is_right, meaning

from sac_seic.tool import names as module
from sac_seic.tool.names import SURE, ClusterName, cluster_words, name_clusters, polite

GROUPS = {
    "horse": ["a man riding a brown horse on a beach", "two horses standing in a field", "a white horse"],
    "kitchen": ["a kitchen with a stove", "a white kitchen with wooden cabinets", "a kitchen with a sink"],
    "boat": ["a lifeboat on the ocean", "a motorboat", "two rowboats in a harbor"],
    "turtle": ["a photo of a loggerhead, leatherback turtle or terrapin", "a photo of a mud turtle or box turtle",
               "a photo of a leatherback turtle or mud turtle"]}
CAPTIONS, LABELS = sum(GROUPS.values(), []), np.repeat(np.arange(4), 3)


def test_sentences_and_lists_get_the_word_that_they_share():
    named = name_clusters(LABELS, CAPTIONS, 4)
    assert [x.name for x in named] == list(GROUPS)
    assert all(x.sure and SURE <= x.score <= 1 for x in named)
    assert all(len(x.keywords) == len(set(x.keywords)) for x in named)
    assert not any(set(x.name.split()) & set(" ".join(x.keywords).split()) for x in named)


def test_order_of_rows_and_numbers_of_clusters_do_not_matter():
    named, order = name_clusters(LABELS, CAPTIONS, 4), np.random.default_rng(0).permutation(12)
    mixed = name_clusters(LABELS[order], [CAPTIONS[i] for i in order], 4)
    assert [x.name for x in mixed] == [x.name for x in named]
    assert [x.score for x in mixed] == pytest.approx([x.score for x in named])
    turned = name_clusters(3 - LABELS, CAPTIONS, 4)
    assert [x.name for x in turned] == [x.name for x in named][::-1]


def test_confidence_and_nouns_count():
    captions = ["a canoe", "a violin", "a canoe", "a violin"]
    labels = np.zeros(4, int)
    assert "canoe" in name_clusters(labels, captions, 1, confidence=np.array([1, 0, 1, 0]))[0].name
    assert "violin" in name_clusters(labels, captions, 1, confidence=np.array([0, 1, 0, 1]))[0].name
    nouns = ["violin; fiddle"] * 4
    assert name_clusters(labels, captions, 1, nouns=nouns)[0].name == "violin"
    assert name_clusters(labels, [], 1, nouns=nouns)[0].name == "violin"


def test_no_two_clusters_share_a_sure_name():
    rng = np.random.default_rng(0)
    words = ["dog, poodle", "dog, terrier", "car, minivan", "car, jeep", "cup", "turtle, mud turtle"]
    for _ in range(20):
        captions = [words[i] for i in rng.integers(0, 6, 60)]
        named = name_clusters(rng.integers(0, 12, 60), captions, 12)
        sure = [x.name for x in named if x.sure]
        assert len(sure) == len(set(sure)) and len(named) == 12


@pytest.mark.parametrize("captions", [[], [""] * 3, ["a photo of the"] * 3, ["\n", "…", "😀"]])
def test_captions_that_say_nothing(captions):
    *silent, empty = name_clusters(np.array([0, 0, 1]), captions, 3)
    assert all(x.name.startswith("unnamed") and not x.sure and x.score == 0 for x in silent)
    assert empty == ClusterName("empty", [], False, 0.)


def test_edges():
    assert name_clusters(np.array([], int), [], 0) == []
    assert [x.name for x in name_clusters(np.array([], int), [], 2)] == ["empty", "empty"]
    assert name_clusters(np.array([0]), ["a dog"], 1)[0].name == "dog"
    assert name_clusters(np.array([0, 1]), ["a dog", "a dog"], 2)[0].score <= .5
    zero = name_clusters(np.array([0, 0]), ["a dog", "a dog"], 1, confidence=np.zeros(2))[0]
    assert zero.name == "dog"  # confidences of 0 are no reason to know nothing


def test_names_are_words_that_people_use():
    insects = ["dragonfly, damselfly", "damselfly, dragonfly"] * 2 + ["cup", "mug"]
    name = name_clusters(np.array([0, 0, 0, 0, 1, 1]), insects, 2)[0].name
    assert name in ("dragonfly", "damselfly", "insect")  # WordNet's own word for the two is "odonate"


def test_a_name_needs_half_of_the_images():
    mixed = name_clusters(np.zeros(4, int), ["dog", "cup", "tree", "anchor"], 1)[0]
    assert not mixed.sure and mixed.score < 0.15
    assert name_clusters(np.zeros(4, int), ["anchor", "cup", "tree", "anchor"], 1)[0].name == "anchor"


def test_plurals_and_short_words_of_other_languages():
    assert module._things("two snowmen, torches, ponies and knives on un lit") == [
        "snowman", "torch", "pony", "knife"]


def test_other_meanings_of_a_word_count_less():
    above, names, _ = module._candidates(["bat"])
    counts = dict(zip(names, above.toarray()[0]))
    assert counts["mammal"] == 1 and counts["racket"] == 0.5 and counts["sports equipment"] == 0.25


@pytest.mark.parametrize("labels", [[0, 1, 4], [-1, 0, 1], [0., 1., 2.]])
def test_labels_that_are_no_cluster_numbers(labels):
    with pytest.raises(ValueError, match="whole numbers from 0 to 3"): name_clusters(labels, ["a"] * 3, 4)


def test_impolite_words_stay_off_unless_asked_for():
    captions = ["a photo of an assault rifle, revolver or holster"] * 3 + ["a photo of a canoe or paddle"] * 3
    labels = np.repeat([0, 1], 3)
    assert name_clusters(labels, captions, 2)[0] == ClusterName("unnamed", [], False, 0.)
    frank = name_clusters(labels, captions, 2, polite=False)[0]
    assert frank.sure and "rifle" in frank.name
    swimmers = ["a woman in a bikini"] * 3 + ["a man in a suit"] * 3
    assert "bikini" not in str(name_clusters(labels, swimmers, 2))
    assert "bikini" in str(name_clusters(labels, swimmers, 2, polite=False))


@pytest.mark.parametrize("text, shown", [
    ("a photo of a nipple, coffee mug or bikini", "a photo of a coffee mug"),
    ("a photo of an ape", "a photo"), ("Gorillas; chimpanzee; tree", "tree"), ("REVOLVER, canoe", "canoe"),
    ("a boy with a toy gun in a garden", "a boy with a toy … in a garden"),
    ("a photo of a man who holds a rifle, smiling", "a photo of a man who holds a …, smiling"),
    ("", ""), ("a photo of a cannon, beaver, grape, cockatoo or titmouse",) * 2, ("guns", "")])
def test_polite(text, shown): assert polite(text) == shown


def test_every_impolite_word_is_found_and_polite_changes_nothing_twice():
    lines = (files("sac_seic")/"impolite_words.txt").read_text(encoding="utf-8").splitlines()
    words = [line for line in lines if line and not line.startswith("#")]
    assert len(words) == len(set(words)) > 100 and all(word == word.lower().strip() for word in words)
    for word in words:
        assert polite(word) == "" and polite(f"one two three four five {word.upper()}") == "one two three four five …"
        assert polite(polite(f"a photo of a {word}, cup or tree")) == "a photo of a cup or tree"


def test_wordnet_file():
    lines = gzip.decompress((files("sac_seic")/"wordnet_tree.txt.gz").read_bytes()).decode().splitlines()
    net = module._wordnet()
    assert len(net.above) == sum(not line.startswith(">") for line in lines) == 40432
    assert net.information[0] == 0 and (net.information[1:] > 0).all() and net.information.max() == 1
    for word, above in {"minivan": "car", "leatherback turtle": "turtle", "poodle": "dog", "pizza": "food"}.items():
        over = {w for s in net.senses[word][:3] for a in module._lineage(s) for w, _ in net.words[a]}
        assert above in over


def test_cluster_words_of_one_cluster_and_none():
    assert cluster_words(["a red cup", "a red cup"], np.array([1, 1]), 2) == [[], ["red cup"]]


def test_what_counts_as_right():
    assert is_right("cougar", "cougar_body") and is_right("wildcat", "cougar_body")
    assert is_right("poodle", "dog") and is_right("canine", "dog") is is_right("domestic animal", "dog") is True
    assert is_right("car", "automobile") and is_right("sports car", "automobile")
    assert not is_right("animal", "cat") and not is_right("terrapin", "dog") and not is_right("", "dog")
    assert is_right("yin", "yin_yang") and not is_right("disk", "yin_yang")
    assert all(meaning(label) is not None for label in MEANT if label != "yin_yang")
