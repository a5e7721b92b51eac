"""Small random weights in the model hub's files: for tests, and for notebooks that test loading code.

The same architectures as the papers' models, every dimension cut down, filled with random numbers. Names,
shards and index files are those of the real repositories, and pickles lie where they have pickles:
`hub_files.json` lists the main branch of each, and says where that was read (in copies of the pages, the
latest of 2026). Files that no loader here opens (ONNX, TensorFlow, Flax) hold a line of text. Features made
with these weights are noise, captions are gibberish.

A notebook gets at this file with

    import sys; from nbdev.config import get_config; sys.path.append(str(get_config().config_path/"tests"))
    from tiny import tiny_models
"""

import contextlib
import json
import logging
from functools import partial
from pathlib import Path

import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file

from sac_seic.models.clip import hugging_face_names

HUB_FILES = json.loads(Path(__file__).with_name("hub_files.json").read_text("utf-8"))  # name to read, files
STAND_IN = "In place of a file of {name}, beside random weights for tests: what they give means nothing.\n"
UNREAD = (".gitattributes", "README.md", "data_config.json", "train_script.py",
          "flax_model.msgpack", "tf_model.h5", "onnx/", "openvino/")  # no loader here opens these


def tiny_models(
    folder: Path,                    # where to write; each repository goes to folder/organisation/name
    seed: int = 0,                   # the same seed writes the same bytes
    names: list[str] | None = None,  # of repositories in HUB_FILES; None: all
) -> dict[str, Path]:                # name to the repository's folder
    "Write the repositories. Raises FileExistsError where one is: real weights are never replaced."
    written = {name: Path(folder)/name for name in (HUB_FILES if names is None else names)}
    with _quietly():
        for name, path in written.items():
            path.mkdir(parents=True)
            _WRITERS[name](path, seed)
            for file in HUB_FILES[name]["files"]:
                if file.startswith(UNREAD): _write(path/file, STAND_IN.format(name=name))
    return written


@contextlib.contextmanager
def _quietly():
    "Without the libraries' remarks and progress bars, and without moving the caller's random numbers."
    from transformers.utils import logging as theirs
    bars, before = theirs.is_progress_bar_enabled(), logging.root.manager.disable
    logging.disable(logging.WARNING)
    theirs.disable_progress_bar()
    try:
        with torch.random.fork_rng(devices=[]): yield
    finally:
        logging.disable(before)
        if bars: theirs.enable_progress_bar()


def _write(file: Path, content: str | dict | list):
    file.parent.mkdir(exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content, indent=2) + "\n", "utf-8")


# Weights

def _randomise(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Overwrite every weight: matrices double the size of what passes through, norms start as the identity.

    A freshly built network of width 32 answers every image with nearly the same vector: libraries start with
    small weights, made for widths near 1000, and the constant parts win. Doubled, the input drowns them."""
    dice = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 0: continue  # CLIP's logit scale keeps its value
            if p.ndim == 1 and name.endswith(("weight", "lambda1")): p.fill_(1)
            elif p.ndim == 1 and name.endswith("bias"): p.normal_(0, 0.1, generator=dice)
            else: p.normal_(0, 2 / p[0].numel() ** 0.5, generator=dice)
    return model.eval()


def _save_weights(folder: Path, weights: dict, *files: str, shards: int = 1, tied: tuple[str, ...] = ()):
    "The same tensors into each file, or into its shards and their index; safetensors leave out `tied` ones."
    size = sum(w.nbytes for name, w in weights.items() if name not in tied)
    for file in files:
        stem, _, kind = file.rpartition(".")
        save_torch_state_dict(dict(weights), folder, filename_pattern=stem + "{suffix}." + kind,
                              max_shard_size=size + 1 if shards == 1 else 2 * size // (shards + 1),
                              safe_serialization=kind != "bin", shared_tensors_to_discard=list(tied))


def _save_model(folder: Path, model, *files: str, shards: int = 1, integers: dict[str, int] | None = None):
    "Configuration and weights, beside them what old checkpoints hold: `integers` that count, name to length."
    model.save_pretrained(folder)  # knows the hub's names where the code has others by now
    weights = load_file(folder/"model.safetensors")
    (folder/"model.safetensors").unlink()
    tied = {name: weights[same] for name, same in model.all_tied_weights_keys.items()}  # in pickles twice
    counts = {name: torch.arange(length)[None] for name, length in (integers or {}).items()}
    _save_weights(folder, {**weights, **tied, **counts}, *files, shards=shards, tied=tuple(tied))


# Tokenizers and image processors

_LAYERS = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
_MEAN, _STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]  # OpenAI's
_WORDS = """a an the of in on at with and or two three some photo picture image dog cat bird fish horse car
    truck ship plane train boat man woman child people person tree flower grass field sky sea street house
    room table chair cup bag shoe shirt dress coat red green blue white black brown yellow grey small large
    old young sitting standing walking running flying holding next to""".split()


def _word_pieces(special: list[str]) -> dict[str, int]: # a WordPiece vocabulary that can spell all of ASCII
    letters = [c for c in map(chr, range(33, 127)) if not c.isupper()]  # text is lowercased first
    tokens = special + letters + ["##" + c for c in letters] + _WORDS
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}


def _byte_pairs(special: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]: # vocabulary and merges
    space = "Ġ"  # how byte pairs write a blank
    merges = {(space + word[:i], word[i]): None for word in _WORDS for i in range(len(word))}
    tokens = special + [chr(c) for c in range(33, 127)] + [space] + [a + b for a, b in merges]
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}, list(merges)


def _save_tokenizer(folder: Path, tokenizer):
    "In the files of today's transformers, and in those of older ones, which the real repositories hold too."
    tokenizer.save_pretrained(folder)
    tokenizer.backend_tokenizer.model.save(str(folder))  # vocab.txt, or vocab.json and merges.txt
    _write(folder/"special_tokens_map.json", tokenizer.special_tokens_map)
    own = tokenizer.backend_tokenizer.get_vocab(False)
    added = {token: i for token, i in tokenizer.get_added_vocab().items() if token not in own}
    if added: _write(folder/"added_tokens.json", added)


def _save_clip_tokenizer(folder: Path):
    "CLIP's own word pieces, which OpenCLIP ships inside its package."
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizer
    theirs, ends = SimpleTokenizer(), {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocab = {ends.get(token, token): i for token, i in theirs.encoder.items()}
    _save_tokenizer(folder, CLIPTokenizer(vocab=vocab, merges=list(theirs.bpe_ranks), model_max_length=77))


def _save_blip_images(folder: Path, size: int):
    from transformers import BlipImageProcessor
    processor = BlipImageProcessor(size={"height": size, "width": size}, image_mean=_MEAN, image_std=_STD)
    processor.save_pretrained(folder)


# CLIP in OpenCLIP's layout, in Hugging Face's, and in both

def _clip(seed: int, patch: int, dim: int, vision: dict = {}, **model) -> tuple[dict, dict]:
    "Weights under OpenCLIP's names, and the configuration."
    import open_clip
    image = {"image_size": 224, "layers": 2, "width": 32, "head_width": 16, "patch_size": patch, **vision}
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
    config = {"embed_dim": dim, **model, "vision_cfg": image, "text_cfg": text}
    return _randomise(open_clip.CLIP(**config), seed).state_dict(), config


def _save_openclip(folder: Path, weights: dict, config: dict, *files: str):
    colours = {"mean": _MEAN, "std": _STD}
    _write(folder/"open_clip_config.json", {"model_cfg": config, "preprocess_cfg": colours})
    _save_weights(folder, weights, *files)


def _save_hugging_face(folder: Path, weights: dict, config: dict, *files: str):
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel
    patch, ratio = (config["vision_cfg"].get(name, 4) for name in ("patch_size", "mlp_ratio"))
    both = {**_LAYERS, "hidden_act": "quick_gelu" if config.get("quick_gelu") else "gelu"}
    image = {**both, "intermediate_size": int(32 * ratio), "patch_size": patch, "image_size": 224}
    text = {**both, "hidden_size": 16, "bos_token_id": 49406, "eos_token_id": 49407}
    model = CLIPModel(CLIPConfig(vision_config=image, text_config=text, projection_dim=config["embed_dim"]))
    model.load_state_dict(hugging_face_names(weights))
    lengths = {"text_model": 77, "vision_model": (224 // patch) ** 2 + 1}
    _save_model(folder, model, *files,
                integers={f"{tower}.embeddings.position_ids": n for tower, n in lengths.items()})
    CLIPImageProcessor(size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}, resample=3,
                       image_mean=_MEAN, image_std=_STD).save_pretrained(folder)  # 3: bicubic


def _write_timm(folder: Path, seed: int, plus: int, patch: int, dim: int):
    "OpenAI's weights under OpenCLIP's names, three times over; config.json is timm's."
    weights, config = _clip(seed + plus, patch, dim, quick_gelu=True)
    _save_openclip(folder, weights, config, "open_clip_model.safetensors", "open_clip_pytorch_model.bin",
                   "pytorch_model.bin")
    kind = folder.name.partition(".")[0]
    _write(folder/"config.json", {"architecture": kind, "num_classes": dim, "num_features": 32})
    _save_clip_tokenizer(folder)


def _write_openai(folder: Path, seed: int):
    "The weights of timm's ViT-B/32 in Hugging Face's layout: a pickle, no safetensors."
    _save_hugging_face(folder, *_clip(seed, patch=32, dim=32, quick_gelu=True), "pytorch_model.bin")
    _save_clip_tokenizer(folder)


def _write_laion(folder: Path, seed: int):
    "OpenCLIP's weights under other file names than timm's, and Hugging Face's beside them."
    weights, config = _clip(seed + 3, patch=14, dim=32, vision={"mlp_ratio": 4.3637})
    _save_openclip(folder, weights, config, "open_clip_pytorch_model.safetensors",
                   "open_clip_pytorch_model.bin")
    _save_hugging_face(folder, weights, config, "model.safetensors", "pytorch_model.bin")
    _save_clip_tokenizer(folder)


# Pure vision, and sentences

def _write_dinov2(folder: Path, seed: int):
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model
    model = Dinov2Model(Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2,
                                     patch_size=14, image_size=518))
    _save_model(folder, _randomise(model, seed), "model.safetensors", "pytorch_model.bin")
    BitImageProcessor(
        size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}, resample=3,
        image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]).save_pretrained(folder)


def _write_mpnet(folder: Path, seed: int):
    "sentence-transformers' own files are in the older spelling that the real ones have."
    from transformers import MPNetConfig, MPNetModel, MPNetTokenizer
    vocab = _word_pieces(["<s>", "<pad>", "</s>", "[UNK]", "<mask>"])
    model = MPNetModel(MPNetConfig(vocab_size=len(vocab), max_position_embeddings=514, **_LAYERS))
    _save_model(folder, _randomise(model, seed), "model.safetensors", "pytorch_model.bin",
                integers={"embeddings.position_ids": 514})
    _save_tokenizer(folder, MPNetTokenizer(vocab=vocab, model_max_length=512))
    steps, kinds = ("", "1_Pooling", "2_Normalize"), ("Transformer", "Pooling", "Normalize")
    _write(folder/"modules.json", [
        {"idx": i, "name": str(i), "path": step, "type": f"sentence_transformers.models.{kind}"}
        for i, (step, kind) in enumerate(zip(steps, kinds))])
    modes = "cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens"
    _write(folder/"1_Pooling/config.json", {"word_embedding_dimension": 32, **{
        f"pooling_mode_{mode}": mode == "mean_tokens" for mode in modes}})
    _write(folder/"sentence_bert_config.json", {"max_seq_length": 384, "do_lower_case": False})
    versions = {"sentence_transformers": "2.0.0", "transformers": "4.6.1", "pytorch": "1.8.1"}
    _write(folder/"config_sentence_transformers.json", {"__version__": versions})


# Captioners

def _write_blip(folder: Path, seed: int):
    "Starts its sentence with a token its own tokenizer doesn't know. A pickle, no generation_config.json."
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration
    vocab = _word_pieces(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    text = dict(vocab_size=len(vocab) + 2, max_position_embeddings=64, bos_token_id=len(vocab),
                eos_token_id=2, sep_token_id=vocab["[SEP]"], pad_token_id=0, **_LAYERS)
    config = BlipConfig(text_config=text, vision_config=dict(image_size=384, patch_size=32, **_LAYERS),
                        projection_dim=16, image_text_hidden_size=16)
    _save_model(folder, _randomise(BlipForConditionalGeneration(config), seed), "pytorch_model.bin",
                integers={"text_decoder.bert.embeddings.position_ids": 64})
    (folder/"generation_config.json").unlink()
    _save_blip_images(folder, 384)
    _save_tokenizer(folder, BertTokenizer(vocab=vocab, model_max_length=512))


def _write_blip2(folder: Path, seed: int):
    "Puts its query tokens first, as so many <image>s, and ends with a new line. Two shards of each kind."
    from transformers import AddedToken, Blip2Config, Blip2ForConditionalGeneration, GPT2Tokenizer
    vocab, merges = _byte_pairs(["<s>", "<pad>", "</s>", "<unk>", "Ċ"])  # Ċ: a new line
    tokenizer = GPT2Tokenizer(vocab=vocab, merges=merges, bos_token="</s>", eos_token="</s>",
                              unk_token="</s>", pad_token="<pad>", add_bos_token=True)
    tokenizer.add_tokens([AddedToken("<image>", normalized=False, special=True)], special_tokens=True)
    text = dict(model_type="opt", vocab_size=len(tokenizer), max_position_embeddings=128, hidden_size=32,
                word_embed_proj_dim=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=2,
                bos_token_id=2, eos_token_id=vocab["Ċ"], pad_token_id=1)
    qformer = dict(vocab_size=len(tokenizer), max_position_embeddings=64, **_LAYERS)
    vision, image = dict(image_size=224, patch_size=28, **_LAYERS), tokenizer.convert_tokens_to_ids("<image>")
    config = Blip2Config(vision_config=vision, qformer_config=qformer, text_config=text, num_query_tokens=4,
                         image_token_index=image)
    _save_model(folder, _randomise(Blip2ForConditionalGeneration(config), seed),
                "model.safetensors", "pytorch_model.bin", shards=2)
    _save_blip_images(folder, 224)
    _save_tokenizer(folder, tokenizer)
    _write(folder/"processor_config.json", {"num_query_tokens": 4, "processor_class": "Blip2Processor"})


_CHAT = ("<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:"
         "{% for part in message['content'] %}"
         "{% if part['type'] == 'image' %}{{ '<image>' }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
         "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}")


def _write_smolvlm(folder: Path, seed: int):
    "Answers after a prompt in a chat template; cuts an image into as many tiles as its shape needs."
    from transformers import (GPT2Tokenizer, Idefics3Config, Idefics3ForConditionalGeneration,
                              Idefics3ImageProcessor)
    vocab, merges = _byte_pairs(["<|endoftext|>", "<|im_start|>", "<|im_end|>", "Ċ"])
    tokenizer = GPT2Tokenizer(vocab=vocab, merges=merges, bos_token="<|im_start|>",
                              eos_token="<end_of_utterance>", pad_token="<|im_end|>")
    special = ["<image>", "<fake_token_around_image>", "<global-img>"]
    special += [f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7)]
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    image, end = tokenizer.convert_tokens_to_ids(["<image>", "<end_of_utterance>"])
    text = dict(model_type="llama", vocab_size=len(tokenizer), max_position_embeddings=2048,
                num_key_value_heads=2, bos_token_id=1, eos_token_id=end, pad_token_id=2, **_LAYERS)
    config = Idefics3Config(text_config=text, vision_config=dict(image_size=64, patch_size=16, **_LAYERS),
                            scale_factor=2, image_token_id=image)
    _save_model(folder, _randomise(Idefics3ForConditionalGeneration(config), seed), "model.safetensors")
    images = Idefics3ImageProcessor(size={"longest_edge": 128}, max_image_size={"longest_edge": 64})
    images.save_pretrained(folder)
    _save_tokenizer(folder, tokenizer)
    _write(folder/"processor_config.json", {"processor_class": "Idefics3Processor", "image_seq_len": 4})
    _write(folder/"chat_template.json", {"chat_template": _CHAT})


_WRITERS = {
    "timm/vit_base_patch32_clip_224.openai": partial(_write_timm, plus=0, patch=32, dim=32),
    "timm/vit_base_patch16_clip_224.openai": partial(_write_timm, plus=1, patch=16, dim=32),
    "timm/vit_large_patch14_clip_224.openai": partial(_write_timm, plus=2, patch=14, dim=48),
    "laion/CLIP-ViT-g-14-laion2B-s12B-b42K": _write_laion,
    "openai/clip-vit-base-patch32": _write_openai,
    "facebook/dinov2-base": _write_dinov2,
    "sentence-transformers/all-mpnet-base-v2": _write_mpnet,
    "Salesforce/blip2-opt-2.7b": _write_blip2,
    "Salesforce/blip-image-captioning-base": _write_blip,
    "HuggingFaceTB/SmolVLM-256M-Instruct": _write_smolvlm,
}
