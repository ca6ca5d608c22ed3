"""Models from their folders: what is read, what is refused, where the blocks are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from tests.unit.byte_tokenizers import byte_fallback, byte_level
from tests.unit.tiny_models import save_tiny_model, tiny_model, tiny_tokenizer
from tests.workflow.study import write_model
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.load import (
    Architecture,
    ModelConfig,
    decoder_blocks,
    fingerprint,
    load_model,
    read_architecture,
)
from workflow_scripts.lib.models.tokenizer import load_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "model")


def test_entry_of_the_configuration() -> None:
    config = ModelConfig.from_entry({"key": "m", "path": "p", "revision": None, "dtype": "bfloat16"})
    assert config == ModelConfig("m", "p", dtype="bfloat16")
    assert ModelConfig.from_entry({"path": "p"}, key="m") == ModelConfig("m", "p")
    assert ModelConfig.from_entry({"path": "p", "instruction": ""}, key="m").instruction == ""
    with pytest.raises(UserError, match=r"models\.m: unknown key colour"):
        ModelConfig.from_entry({"key": "m", "path": "p", "colour": 1})
    with pytest.raises(UserError, match=r"models\.m\.dtype: 'int8' is none of float32"):
        ModelConfig.from_entry({"key": "m", "path": "p", "dtype": "int8"})


@pytest.mark.parametrize("family", ["qwen2", "gpt2"])
def test_architecture(tmp_path: Path, family: str) -> None:
    assert read_architecture(str(save_tiny_model(tmp_path / "m", family))) == Architecture(3, 32, 128)


def test_architecture_of_a_nested_configuration(tmp_path: Path) -> None:
    text = {"num_hidden_layers": 5, "hidden_size": 7}
    (tmp_path / "config.json").write_text(json.dumps({"text_config": text, "vision_config": {"hidden_size": 9}}))
    assert read_architecture(str(tmp_path)) == Architecture(5, 7, None)


def test_architecture_is_read_without_heavy_imports(folder: Path) -> None:
    code = (
        "import sys; from workflow_scripts.lib.models.load import read_architecture, fingerprint; "
        f"read_architecture({str(folder)!r}); fingerprint({str(folder)!r}); "
        "assert not {'torch', 'transformers', 'polars'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_architecture_faults(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such model folder"):
        read_architecture("./nowhere")
    with pytest.raises(UserError, match=r"config\.json: missing"):
        read_architecture(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        read_architecture(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="num_hidden_layers and hidden_size not found"):
        read_architecture(str(tmp_path))


def test_a_language_model_that_is_published_beside_an_image_encoder(tmp_path: Path) -> None:
    whole = tiny_model("qwen3.5-vision")
    whole.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert read_architecture(str(tmp_path)) == Architecture(3, 32, 128)
    model, ids = load_model(ModelConfig("m", str(tmp_path))), torch.arange(20, 30)[None]
    assert type(model).__name__ == "Qwen3_5ForCausalLM" and len(decoder_blocks(model)) == 3
    torch.testing.assert_close(model(input_ids=ids).logits, whole(input_ids=ids).logits)


def test_loaded_for_inference(folder: Path) -> None:
    model = load_model(ModelConfig("m", str(folder), dtype="bfloat16"))
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad for p in model.parameters())
    assert model.config._attn_implementation == "sdpa"
    tokenizer = load_tokenizer(ModelConfig("m", str(folder)))
    assert tokenizer("What is")["input_ids"] == tiny_tokenizer()("What is")["input_ids"]
    assert tokenizer.eos_token_id == 0


TEXTS = ["one two plus two", "Don't add 12,345 +  6.78!\n\n\tSo  ", "naïve 数学 🙂\r\n", " \\boxed{1}<|end|>one"]


@pytest.mark.parametrize("named", ["as saved", "Qwen2Tokenizer", "LlamaTokenizerFast", "GPT2Tokenizer"])
@pytest.mark.parametrize("model_type", ["qwen2", "llama", "gpt2", "olmo2"])
@pytest.mark.parametrize("kind", ["words", "runs of bytes", "words of bytes", "byte fallback"])
def test_a_tokenizer_gives_the_tokens_that_its_file_states(
    tmp_path: Path, kind: str, model_type: str, named: str
) -> None:
    if kind == "words":
        write_model(tmp_path)
    else:
        (byte_fallback() if kind == "byte fallback" else byte_level(kind == "words of bytes")).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings |= {} if named == "as saved" else {"tokenizer_class": named}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    loaded = load_tokenizer(ModelConfig("m", str(tmp_path)))
    stated = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert [loaded(text)["input_ids"] for text in TEXTS] == [stated.encode(text).ids for text in TEXTS]
    assert loaded.eos_token == settings["eos_token"]


def test_what_cannot_be_loaded(folder: Path) -> None:
    config = ModelConfig("m", str(folder))
    with pytest.raises(UserError, match="no such model folder"):
        load_model(ModelConfig("m", "./nowhere"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match="model m cannot be loaded"):
        load_model(config)
    weights.unlink()
    with pytest.raises(UserError, match="model m cannot be loaded"):
        load_model(config)
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="tokenizer of m cannot be loaded"):
        load_tokenizer(config)


def test_missing_weights_are_refused_not_made_up(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"1 weights are missing \(model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(ModelConfig("m", str(folder)))


def test_fingerprint_follows_content_not_time_or_notes(folder: Path) -> None:
    first = fingerprint(str(folder))
    (folder / "README.md").write_text("a note")
    (folder / "config.json").touch()
    assert fingerprint(str(folder)) == first
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    assert fingerprint(str(folder)) != first
    assert fingerprint("owner/name") == "owner/name@main"
    assert fingerprint("owner/name", "abc") == "owner/name@abc"


def test_an_empty_folder_has_no_fingerprint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="contains no model files"):
        fingerprint(str(tmp_path))


@pytest.mark.parametrize("family", ["qwen2", "llama", "gpt2"])
def test_blocks_are_those_the_tokens_pass(family: str) -> None:
    model = tiny_model(family)
    blocks = decoder_blocks(model)
    assert blocks == list(model.transformer.h if family == "gpt2" else model.model.layers)


def test_blocks_are_not_taken_for_a_list_that_has_the_same_length_by_chance() -> None:
    model = tiny_model("qwen2")
    expected = list(model.model.layers)
    model.model.layers[0].mlp.experts = torch.nn.ModuleList(torch.nn.Identity() for _ in range(3))
    model.tower = torch.nn.ModuleList(torch.nn.Identity() for _ in range(3))
    assert decoder_blocks(model) == expected
    model.model.layers = torch.nn.Sequential(*expected)
    model.model.layers[0].mlp.experts = model.tower = None
    with pytest.raises(UserError, match="no list of 3 blocks found"):
        decoder_blocks(model)
