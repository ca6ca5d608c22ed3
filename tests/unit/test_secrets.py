"""Secrets: what counts as one, and that neither errors nor tracebacks of the modules print one."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workflow_scripts.lib.config.check import check
from workflow_scripts.lib.errors import UserError, one_line, redact

TOKEN = "hf_" + "Ab1" * 11
PLAIN = "Some/key=value pairs, tokens 12/s, a@b.org, https://huggingface.co/owner/name?download=true&revision=main"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://ann:pa55@host/x.jsonl", "https://***@host/x.jsonl"),
        ("proxy http://ann:p@ss@10.0.0.1:3128 refused", "proxy http://***@10.0.0.1:3128 refused"),
        ("https://h/x?part=1&token=abc#end", "https://h/x?part=1&token=***#end"),
        ("https://h/x?X-Amz-Signature=abc&X-Amz-Date=1", "https://h/x?X-Amz-Signature=***&X-Amz-Date=1"),
        ("https://h/x?api_key='abc'", "https://h/x?api_key='abc'"),  # no value of an address
        ("https://h/x?api_key=abc: 403", "https://h/x?api_key=*** 403"),
        (f"401 for {TOKEN}.", "401 for ***."),
        ("Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer ***"),
        (PLAIN, PLAIN),
    ],
)
def test_what_looks_like_a_secret(text: str, expected: str) -> None:
    assert redact(text) == expected


def test_values_of_variables_that_are_named_as_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WANDB_API_KEY": "wandb/123", "DB_PASSWORD": "tiger77", "MY_PAT": "abcdefg"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "parallel")
    monkeypatch.setenv("SHORT_TOKEN", "a")
    said = "wandb/123 wandb%2F123 tiger77 abcdefg parallel a"
    assert redact(said) == "*** *** *** *** parallel a"
    assert one_line(ValueError("tiger77 is wrong\nmore")) == "*** is wrong"


@pytest.mark.parametrize("kind", ["UserError", "ValueError"])
def test_neither_errors_nor_tracebacks_tell(kind: str) -> None:
    code = (
        "from workflow_scripts.lib.errors import UserError, run_main\n"
        f"def main(): raise {kind}('server said: tiger77 at https://ann:pa55@host/')\n"
        "run_main(main)"
    )
    environment = {**os.environ, "SERVICE_SECRET": "tiger77"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines()[-1].endswith("server said: *** at https://***@host/")
    assert ("Traceback" in done.stderr) == (kind != "UserError")


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("datasets", "url", "https://ann:pa55word@host/x.jsonl"),
        ("datasets", "url", "https://host/x.jsonl?access_token=pa55word"),
        ("models", "path", "https://ann:pa55word@host/model"),
        ("models", "path", TOKEN),
    ],
)
def test_a_configured_secret_is_refused_and_not_repeated(kind: str, key: str, value: str) -> None:
    config: dict[str, Any] = {
        "models": {"m": {"path": "resources/models/base"}},
        "datasets": {"d": {"source": "file", "n_problems": 1, "sha256": "0" * 64}},
        "rollouts": {"runs": ["m/d"]},
    }
    config[kind]["m" if kind == "models" else "d"][key] = value
    with pytest.raises(UserError) as caught:
        check(config)
    name = "models.m.path" if kind == "models" else "datasets.d.url"
    assert str(caught.value) == (
        f"configuration: {name}: holds a password or a token, which would get into results and logs; "
        "set HF_TOKEN for the hub, or fetch the file yourself and give its path"
    )


def test_a_failing_fetch_does_not_repeat_a_proxy_password(tmp_path: Path) -> None:
    environment = {**os.environ, "https_proxy": "http://ann:pa55word@127.0.0.1:9", "HF_TOKEN": TOKEN}
    command = [sys.executable, "-m", "workflow_scripts.fetch_records", "--output", str(tmp_path / "x.jsonl")]
    command += ["--params", '{"dataset": {"url": "https://nowhere.invalid/x.jsonl", "sha256": null}}']
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: https://nowhere.invalid/x.jsonl: cannot be fetched")
    assert "pa55word" not in done.stderr and len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
