"""Models, tensors and records from others are read as data: what would run code is refused or left alone."""

import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.unit.tiny_models import save_tiny_model
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.load import ModelConfig, load_model
from workflow_scripts.lib.models.prompts import build_prompt
from workflow_scripts.lib.models.tokenizer import load_tokenizer
from workflow_scripts.lib.problems.records import file_records, hub_records
from workflow_scripts.lib.storage.checksums import PLACEHOLDER, fill
from workflow_scripts.lib.storage.tables import read_parquet
from workflow_scripts.lib.storage.tensors import header_length, read_safetensors


class Trap:
    """Makes the file `sprung` when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("sprung",)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return save_tiny_model(tmp_path / "model", "qwen2")


def edit(path: Path, **more: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def test_the_trap_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"x": Trap()}, "trap.bin")
    torch.load("trap.bin", weights_only=False)
    assert Path("sprung").exists()


@pytest.mark.parametrize("beside", [True, False])
def test_pickled_weights_are_never_unpickled(folder: Path, beside: bool) -> None:
    """Beside the safetensors file they are left alone; without it the model is refused, whatever else is there."""
    if not beside:
        (folder / "model.safetensors").rename(folder / "other.safetensors")
    for name in ("pytorch_model.bin", "model.pt", "tf_model.h5", "flax_model.msgpack"):
        torch.save({"model.embed_tokens.weight": Trap()}, folder / name)
    (folder / "training_args.bin").write_bytes(pickle.dumps(Trap()))
    if beside:
        load_model(ModelConfig("m", str(folder)))
    else:
        with pytest.raises(UserError, match=r"model m cannot be loaded \(.*model.safetensors") as caught:
            load_model(ModelConfig("m", str(folder)))
        assert "\n" not in str(caught.value)
    assert not Path("sprung").exists()


CODE = "import os\nos.mkdir('sprung')\nraise SystemExit\n"


@pytest.mark.parametrize("kind", ["hostile", "qwen2"])
def test_code_that_comes_with_a_model_runs_only_if_configured(folder: Path, kind: str) -> None:
    """A family that nobody knows is refused; of a known one, the library's own code is used."""
    (folder / "trap.py").write_text(CODE)
    names = {"AutoConfig": "trap.Config", "AutoModelForCausalLM": "trap.Model"}
    edit(folder / "config.json", model_type=kind, auto_map=names)
    edit(folder / "tokenizer_config.json", tokenizer_class="Trap", auto_map={"AutoTokenizer": ["trap.T", "trap.T"]})
    config = ModelConfig("m", str(folder))
    if kind == "qwen2":
        load_model(config)
        load_tokenizer(config)
    else:
        with pytest.raises(UserError, match=r"model m cannot be loaded .*custom code"):
            load_model(config)
        with pytest.raises(UserError, match=r"tokenizer of m cannot be loaded .*custom code"):
            load_tokenizer(config)
    assert not Path("sprung").exists()
    with pytest.raises((SystemExit, UserError)):
        load_tokenizer(ModelConfig("m", str(folder), trust_remote_code=True))
    assert Path("sprung").exists()


def test_a_chat_template_cannot_reach_python(folder: Path) -> None:
    tokenizer = load_tokenizer(ModelConfig("m", str(folder)))
    inner = "''.__class__.__mro__[1].__subclasses__()"
    loop = "{% for one in " + inner + " %}{{ one }}{% endfor %}"
    for template in ("{{ " + inner + " }}", loop, "{{ messages.append(1) }}"):
        tokenizer.chat_template = template
        with pytest.raises(UserError, match="its chat template fails"):
            build_prompt("What is 1 + 1?", ModelConfig("m", str(folder)), tokenizer)


def header(text: bytes, size: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if size is None else size) + text + bytes(64)


TENSOR = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
HOSTILE = {
    "a header of 2^63 bytes": header(b"{}", 2**63 - 1),
    "a header longer than the file": header(b"{}", 10**6),
    "no JSON": header(b"\x80\x04cos\nsystem\n."),
    "offsets beyond the file": header(json.dumps({"x": {**TENSOR, "data_offsets": [0, 10**12]}}).encode()),
    "offsets that disagree with the shape": header(json.dumps({"x": {**TENSOR, "shape": [2**40, 2**40]}}).encode()),
    "negative offsets": header(json.dumps({"x": {**TENSOR, "data_offsets": [-16, 0]}}).encode()),
    "a pickle": pickle.dumps(Trap()),
}


@pytest.mark.parametrize(
    "metadata", [{"model": "!!python"}, {"model": "[" * 10**5}, {"checksums": "[]"}, {"checksums": '{"x": 1}'}, {}]
)
def test_hostile_metadata_under_a_right_checksum_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metadata: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("x.safetensors")
    save_file({"x": torch.zeros(4)}, path, metadata=metadata | {"checksum": PLACEHOLDER})
    fill(path, header_length(path))
    with pytest.raises(UserError, match=r"^x\.safetensors: not a readable safetensors file \(") as caught:
        read_safetensors(path)
    assert "\n" not in str(caught.value) and "no checksum" not in str(caught.value)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tensors_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.safetensors").write_bytes(HOSTILE[name])
    with pytest.raises(UserError, match=r"^x\.safetensors: not a readable safetensors file \(") as caught:
        read_safetensors("x.safetensors")
    assert "\n" not in str(caught.value)
    assert not Path("sprung").exists()


def test_pickles_are_no_tables_and_no_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("x.parquet", "x.jsonl"):
        Path(name).write_bytes(pickle.dumps(Trap()))
        with pytest.raises(UserError, match=rf"^{name}: "):
            list(file_records(name))
    with pytest.raises(UserError, match="not a readable Parquet file"):
        read_parquet("x.parquet")
    assert not Path("sprung").exists()


@pytest.mark.parametrize("name", ["trap.py", "data.pkl", "data.tar"])
def test_a_data_set_that_brings_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    Path("trap").mkdir()
    Path("trap", name).write_bytes(CODE.encode() if name.endswith("py") else pickle.dumps(Trap()))
    with pytest.raises(UserError, match=r"^\./trap: split test cannot be read"):
        list(hub_records("./trap", None, "test", None))
    assert not Path("sprung").exists()
