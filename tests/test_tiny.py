"""The tiny models have the files of the real repositories, and load through the same libraries."""

import hashlib
import json
import random

import numpy as np
import open_clip
import pytest
import sentence_transformers
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file
from tiny import HUB_FILES, STAND_IN, UNREAD, tiny_models
from torch.nn.functional import normalize

TIMM = ["timm/vit_base_patch32_clip_224.openai", "timm/vit_base_patch16_clip_224.openai",
        "timm/vit_large_patch14_clip_224.openai"]
OPENAI, LAION = "openai/clip-vit-base-patch32", "laion/CLIP-ViT-g-14-laion2B-s12B-b42K"
DINOV2, MPNET = "facebook/dinov2-base", "sentence-transformers/all-mpnet-base-v2"
BLIP, BLIP2 = "Salesforce/blip-image-captioning-base", "Salesforce/blip2-opt-2.7b"
SMOLVLM = "HuggingFaceTB/SmolVLM-256M-Instruct"
SENTENCES = ["a dog", "A red CAR, it's 3 o'clock"]
ASCII = "".join(map(chr, range(33, 127)))
LOCAL = dict(local_files_only=True)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory): return tiny_models(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def images():
    "Eight pictures of coloured squares, not two of one shape."
    rng = np.random.default_rng(0)
    squares = (Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)) for _ in range(8))
    return [square.resize((80 + 8 * i, 120), Image.Resampling.NEAREST) for i, square in enumerate(squares)]


def files(folder): return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def digests(folder):
    return {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in files(folder)}


def load(*paths): # the tensors of all these files
    read = {".safetensors": load_file, ".bin": lambda file: torch.load(file, weights_only=True)}
    return {name: tensor for path in paths for name, tensor in read[path.suffix](path).items()}


def same(a, b): return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def different(features): # n×d, that differ from image to image: a model deaf to them has a mean cosine of 1
    v = normalize(features, dim=-1)
    return ((v @ v.T).sum() - len(v)).item() / (len(v) * (len(v) - 1)) < 0.97


# Files

@pytest.mark.parametrize("name", HUB_FILES)
def test_files_are_those_of_the_hub(tiny, name):
    assert files(tiny[name]) == set(HUB_FILES[name]["files"]) and len(HUB_FILES[name]["read"][0]) > 20
    text = STAND_IN.format(name=name).encode()
    stand_ins = {file for file in files(tiny[name]) if (tiny[name] / file).read_bytes() == text}
    assert stand_ins == {file for file in files(tiny[name]) if file.startswith(UNREAD)}


def test_two_repositories_hold_pickles_only(tiny):
    kinds = {name: {file.suffix[1:] for file in tiny[name].glob("*")} for name in tiny}
    assert {name for name in tiny if "safetensors" not in kinds[name]} == {OPENAI, BLIP}
    assert {name for name in tiny if "bin" not in kinds[name]} == {SMOLVLM}


@pytest.mark.parametrize("index", ["model.safetensors.index.json", "pytorch_model.bin.index.json"])
def test_shards_and_their_index(tiny, index):
    places = json.loads((tiny[BLIP2] / index).read_text())["weight_map"]
    stem, kind = index.removesuffix(".index.json").split(".")
    assert set(places.values()) == {f"{stem}-0000{i}-of-00002.{kind}" for i in (1, 2)}
    for shard in set(places.values()):
        assert set(load(tiny[BLIP2] / shard)) == {name for name, place in places.items() if place == shard}


def test_all_weight_files_of_a_repository_agree(tiny):
    def all_of(name, pattern): return load(*sorted(tiny[name].glob(pattern)))
    for name in TIMM:
        first = load(tiny[name] / "open_clip_model.safetensors")
        assert same(first, load(tiny[name] / "open_clip_pytorch_model.bin"))
        assert same(first, load(tiny[name] / "pytorch_model.bin"))
    assert same(all_of(LAION, "open*.safetensors"), all_of(LAION, "open*.bin"))
    for name in (LAION, DINOV2, MPNET): assert same(all_of(name, "model*"), all_of(name, "pytorch*"))
    pickled, words = all_of(BLIP2, "*.bin"), "language_model.model.decoder.embed_tokens.weight"
    assert torch.equal(pickled.pop("language_model.lm_head.weight"), pickled[words])
    assert same(pickled, all_of(BLIP2, "*.safetensors"))


def test_pickles_hold_what_old_ones_do(tiny):
    "The same memory under two names, which safetensors refuse, and integers."
    blip, clip = load(tiny[BLIP] / "pytorch_model.bin"), load(tiny[OPENAI] / "pytorch_model.bin")
    words = blip["text_decoder.bert.embeddings.word_embeddings.weight"]
    assert blip["text_decoder.cls.predictions.decoder.weight"].data_ptr() == words.data_ptr()
    assert clip["vision_model.embeddings.position_ids"].tolist() == [list(range(50))]


# Seeds, and what is there already

def test_equal_seeds_give_equal_bytes(tiny, tmp_path):
    def states(): return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    torch.rand(1)  # wherever the caller's random numbers stand
    before = states()
    again = tiny_models(tmp_path / "again")
    assert states() == before
    assert all(digests(tiny[name]) == digests(again[name]) for name in HUB_FILES)
    some = tiny_models(tmp_path / "other", seed=7, names=[BLIP2, OPENAI])
    assert set(some.values()) == set((tmp_path / "other").glob("*/*")) and list(some) == [BLIP2, OPENAI]
    for name, folder in some.items():
        mine, theirs = digests(folder), digests(tiny[name])
        changed = {file for file in mine if mine[file] != theirs[file]}
        assert changed == {file for file in mine if file.endswith((".bin", ".safetensors"))}


def test_what_is_there_is_left_alone(tmp_path):
    (tmp_path / BLIP2).mkdir(parents=True)
    (tmp_path / BLIP2 / "model.safetensors").write_text("fifteen gigabytes")
    with pytest.raises(FileExistsError): tiny_models(tmp_path, names=[BLIP2])
    assert files(tmp_path / BLIP2) == {"model.safetensors"}


# Each folder loads the way the real one does

def openclip(folder, images): # features of images and sentences
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(SENTENCES)
    pixels = torch.stack([preprocess(image) for image in images])
    with torch.no_grad(): return pixels, model.encode_image(pixels), model.encode_text(tokens)


@pytest.mark.parametrize("name", TIMM[1:])
def test_openclip(tiny, images, name):
    assert different(openclip(tiny[name], images)[1])


@pytest.mark.parametrize("name, other", [(TIMM[0], OPENAI), (LAION, LAION)], ids=["ViT-B/32", "ViT-g/14"])
def test_both_layouts_give_the_same_features(tiny, images, name, other):
    pixels, *ours = openclip(tiny[name], images)
    clip, found = transformers.CLIPModel.from_pretrained(tiny[other], output_loading_info=True, **LOCAL)
    tokens = transformers.AutoProcessor.from_pretrained(tiny[other], **LOCAL).tokenizer(
        SENTENCES, padding=True, return_tensors="pt")
    with torch.no_grad(): theirs = clip(pixel_values=pixels, **tokens)
    assert not found["missing_keys"] and different(theirs.image_embeds)
    for mine, embeds in zip(ours, (theirs.image_embeds, theirs.text_embeds)):  # theirs have length 1
        torch.testing.assert_close(normalize(mine, dim=-1), embeds, atol=1e-5, rtol=0)


def test_dinov2(tiny, images):
    model, found = transformers.AutoModel.from_pretrained(tiny[DINOV2], output_loading_info=True, **LOCAL)
    processor = transformers.AutoImageProcessor.from_pretrained(tiny[DINOV2], **LOCAL)
    with torch.no_grad(): features = model(**processor(images, return_tensors="pt")).pooler_output
    assert not found["missing_keys"] and different(features)


def test_sbert_hears_every_letter(tiny):
    sbert = sentence_transformers.SentenceTransformer(str(tiny[MPNET]), device="cpu", **LOCAL)
    t = sbert.encode(["a photo of a dog", "a photo of a zebra", "A Photo of a DOG"])
    assert t.shape == (3, 32) and np.allclose(np.linalg.norm(t, axis=1), 1, atol=1e-5)
    assert t[0] @ t[1] < 0.99 and np.allclose(t[0], t[2], atol=1e-5)  # only the case is lost
    assert "[UNK]" not in sbert.tokenizer.tokenize(ASCII + " " + " ".join(ASCII))


@pytest.mark.parametrize("name", [BLIP2, BLIP, SMOLVLM])
def test_captioners_talk(tiny, images, name):
    "Nonsense, but different nonsense for different images: that is what a test of batching needs."
    model, found = transformers.AutoModelForImageTextToText.from_pretrained(
        tiny[name], output_loading_info=True, **LOCAL)
    processor = transformers.AutoProcessor.from_pretrained(tiny[name], **LOCAL)
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}]
    asked = {}
    if processor.chat_template:
        asked["text"] = [processor.apply_chat_template(chat, add_generation_prompt=True)] * len(images)
        asked["padding"], processor.tokenizer.padding_side = True, "left"
    pictures = [[image] for image in images] if asked else images
    inputs = processor(images=pictures, return_tensors="pt", **asked)
    tokens = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    if asked: tokens = tokens[:, inputs["input_ids"].shape[1]:]
    said = processor.batch_decode(tokens, skip_special_tokens=True)
    assert not found["missing_keys"] and len(set(said)) >= 5


@pytest.mark.parametrize("name", [BLIP2, SMOLVLM])
def test_byte_pairs_spell_all_of_ascii(tiny, name):
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny[name], **LOCAL)
    text = f"a young dog sitting next to a zebra; {ASCII}"
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True).strip() == text
