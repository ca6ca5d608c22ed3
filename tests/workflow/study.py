"""A study small enough to run in a minute: a random-weight model with a vocabulary of fourteen, and a file of problems.

The model writes words, blank lines and boxed ones and twos at random, so that about a third of its answers are right
and values change along the response: every stage has something to do, without any trained weights.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import torch
import yaml
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from tests.workflow.forks import servers
from workflow_scripts.lib.plan.jobs import read_jobs
from workflow_scripts.lib.storage.tensors import read_metadata, read_safetensors

ROOT = Path(__file__).parents[2]
PROJECT = ["Snakefile", "workflow", "config.yaml", "rules", "workflow_scripts", "schemas", "studies", "profiles"]
PROJECT += ["envs", "report"]
SPECIAL = ["<unk>", "<pad>", "<eos>", "<user>", "<assistant>"]
WORDS = ["\n\n", "one\n\n", "two\n\n", "\\boxed{1}", "\\boxed{2}", "one", "two", "plus", " "]
CHAT = "{% for m in messages %}<user>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
N_PROBLEMS, N_VALUED, N_MASKED = 96, 64, 64
SECRETS = {
    "HF_TOKEN": "hf_SentinelOfTheHubToken0123456789",
    "HUGGING_FACE_HUB_TOKEN": "hf_SentinelOfTheOldHubToken0123456",
    "WANDB_API_KEY": "sentinel-of-wandb-0123456789",
    "AWS_SECRET_ACCESS_KEY": "sentinel/of+aws/0123456789",
    "http_proxy": "http://sentinel-user:sentinel-word@127.0.0.1:9",
    "https_proxy": "http://sentinel-user:sentinel-word@127.0.0.1:9",
}
"""What no run may leave anywhere; every run has them in its environment. Each part of them has the word `sentinel`."""


def write_model(folder: Path, seed: int = 0) -> None:
    """Save a two-layer Qwen2 model with random weights and its tokenizer in the Hugging Face format."""
    vocabulary = {token: number for number, token in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    pattern = Regex("|".join(map(re.escape, sorted(WORDS, key=len, reverse=True))) + "|.")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(pattern, "isolated")
    tokenizer.decoder = decoders.Fuse()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", eos_token="<eos>", chat_template=CHAT
    )
    wrapped.add_special_tokens({"additional_special_tokens": ["<user>", "<assistant>"]})
    wrapped.save_pretrained(folder)
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=vocabulary["<eos>"],
        pad_token_id=vocabulary["<pad>"],
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)


def write_certain_model(folder: Path) -> None:
    """A model that answers every question with a boxed 1: its blocks add nothing, each token names the next."""
    write_model(folder)
    model = Qwen2ForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        for block in model.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        size = len(SPECIAL + WORDS)
        model.model.embed_tokens.weight.copy_(torch.eye(size, model.config.hidden_size))
        follow = torch.zeros(size, model.config.hidden_size)
        follow[(SPECIAL + WORDS).index("\\boxed{1}"), SPECIAL.index("<assistant>")] = 50
        follow[SPECIAL.index("<eos>"), (SPECIAL + WORDS).index("\\boxed{1}")] = 50
        model.lm_head.weight.copy_(follow)
    model.save_pretrained(folder)


def write_problems(path: Path, count: int, prefix: str = "p") -> None:
    """Write `count` problems whose right answer is 1 or 2 in turn."""
    words = ["one", "two", "plus"]
    lines = []
    for number in range(count):
        question = " ".join(words[number // 3**place % 3] for place in range(5))
        lines.append(json.dumps({"id": f"{prefix}{number:03}", "question": question, "answer": str(number % 2 + 1)}))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def configuration() -> dict[str, Any]:
    """The tiny study's configuration."""
    runs, layers = ["tiny/coins"], [0, 1, 2]
    # Probes that have hardly learnt give nearly equal scores, whose ranks rounding decides: hence the large step.
    probe = {"runs": runs, "hidden": 8, "epochs": 2, "learning_rate": 0.01, "seeds": [0, 1], "shuffled_seeds": [0]}
    figure = {"layers": [1, 2]}
    masks = {"layers": [1], "n_problems": N_MASKED, "share": 0.1, "draws": 2}
    doses = {"dose_layers": [1], "dose_shares": [0.1, 0.25], "dose_factors": [2.0], "dose_factor_share": 0.25}
    return {
        "models": {
            "tiny": {"path": "resources/models/tiny", "revision": "1", "instruction": ""},  # it knows no such words
            "other": {"path": "resources/models/other", "instruction": ""},
        },
        "datasets": {"coins": dataset("data/coins.jsonl", N_PROBLEMS)},
        "rollouts": {"runs": runs, "max_tokens": 24, "batch_size": 64},
        "values": {"runs": runs, "n_problems": N_VALUED, "shard_size": 32, "n_continuations": 4, "min_abs_delta": 0.2},
        # Rank correlations of so few paragraphs jump when two scores change places; rounding shall not decide it.
        "activations": {"layers": layers, "dtype": "float32"},
        "value_probes": dict(probe),
        "dopamine_probes": dict(probe),
        "ntp_probes": {"hidden": 8, "epochs": 1},
        "interventions": {"runs": runs, **masks, **doses},
        "confidence": {"layers": [1, 2], "folds": 2, "verbal_tries": 2, "verbal_tokens": 4, "verbal_pilot": 20},
        "search": {"runs": runs, "reference": "other", "layer": 1, "candidates": 2, "seeds": [0]},
        "trajectories": {"layer": 2, "n_neurons": 2, "ablated_layers": [1], "draws": 2},
        "pruning": {"random_draws": 5, "bootstrap": 50},
        "figures": {name: dict(figure) for name in ("fig1", "fig4", "fig7", "fig11")},
    }


def dataset(path: str, count: int) -> dict[str, Any]:
    """An entry of `datasets` for a file written by `write_problems`."""
    fields = {"id": "id", "question": "question", "gold": "answer"}
    kind = {"source": "file", "path": path, "fields": fields, "answer": "boxed_integer"}
    return {**kind, "n_problems": count, "shard_size": 48}


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Make `config` the study of the folder."""
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def copy_project(folder: Path) -> Path:
    """Copy the project's sources (no results, no trained models) to `folder`."""
    ignore = shutil.ignore_patterns("__pycache__")
    for name in PROJECT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignore)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name)
    for name in ("published", "plan"):
        shutil.copytree(ROOT / "resources" / name, folder / "resources" / name)
    return folder


def make_study(folder: Path, model: Path | None = None) -> Path:
    """The project with the tiny study, ready to run; with a copy of the `model` of another one, if given."""
    copy_project(folder)
    target = folder / "resources" / "models" / "tiny"
    write_model(target.with_name("other"), seed=1)
    if model is None:
        write_model(target)
    else:
        shutil.copytree(model, target)
    write_problems(folder / "data" / "coins.jsonl", N_PROBLEMS)
    write_config(folder, configuration())
    return folder


def with_make(folder: Path) -> Path:
    """Give a study the Makefile and the environment in `.venv` that it looks for, so that `make` installs nothing."""
    shutil.copy(ROOT / "Makefile", folder)
    (folder / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (folder / ".venv" / name).symlink_to(Path(sys.prefix) / name)
    shutil.copy(folder / "envs" / "run.txt", folder / ".venv" / "run.txt")
    return folder


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real `make` in `folder`; the jobs of a run are forks."""
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=folder, env=forking(), capture_output=True, text=True, timeout=1800)


def inject(folder: Path, **shell: str) -> None:
    """Have the jobs of the named modules do something before their work. It is no part of a rule: it reruns nothing."""
    # The shell looks at its own command, of which this is a part: the brackets keep the pattern from matching itself.
    cases = "".join(f"*workflow_scripts[.]{module}*) {words};; " for module, words in shell.items())
    prefix = f"case $BASH_EXECUTION_STRING in {cases}esac; "
    replace(folder / "Snakefile", "shell.prefix(JOB_SHELL)", f"shell.prefix(JOB_SHELL + {prefix!r})")


def replace(path: Path, old: str, new: str) -> None:
    """Change one place of a file."""
    text = path.read_text()
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new))


def environment() -> dict[str, str]:
    """The environment of a run: no network, and no trace of the run that the tests may themselves be part of."""
    # `make test` passes its own level, flags and variables on to each `make` below it
    dropped = re.compile("REWARD_SUBSYSTEM_|MAKE|MFLAGS|STUDY$|PROFILE$|GPU$|ARGS$")
    kept = {key: value for key, value in os.environ.items() if not dropped.match(key)}
    return {"HF_HUB_OFFLINE": "1", **kept, **SECRETS}


AT_IMPORT = environment()
"""Without what a test changes for itself, from which forks would be excluded ever after."""


@cache
def sockets() -> Path:
    """Start the servers of forks; the folder of their sockets."""
    return servers.start(AT_IMPORT)


def forking() -> dict[str, str]:
    """The environment of a run whose jobs are forks of a process that has their libraries imported."""
    return {**environment(), "BASH_ENV": str(servers.HERE / "shell.sh"), "FORKS": str(sockets())}


def snakemake(
    folder: Path, *arguments: str, check: bool = True, real: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run the real Snakemake in `folder`; with `check`, a failure fails the test and shows what was printed.

    It and its jobs are forks of processes that have imported libraries, unless they are to be `real` processes.
    """
    python = [sys.executable] if real else [*servers.CLIENT, str(sockets() / "snakemake")]
    command, surroundings = [*python, "-m", "snakemake", *arguments], environment() if real else forking()
    done = subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True, timeout=1800)
    assert not check or done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


def jobs(folder: Path, *arguments: str) -> Counter[str]:
    """What a run would run: `rule` or, with wildcards, `rule dataset=coins model=tiny shard=0` (`all` left out)."""
    found = read_jobs(dry_run(folder, "--quiet", "host", *arguments))
    return Counter(" ".join([job.rule, *sorted("=".join(one) for one in job.wildcards.items())]) for job in found)


def dry_run(folder: Path, *arguments: str) -> str:
    """Do a dry run in `folder`, and return what it prints."""
    return snakemake(folder, "--dry-run", *arguments).stdout


def by_rule(found: Counter[str]) -> Counter[str]:
    """Jobs counted by their rule alone."""
    return Counter(job.split()[0] for job in found.elements())


def rules(folder: Path, *arguments: str) -> Counter[str]:
    """What a run would run, by rule alone."""
    return by_rule(jobs(folder, *arguments))


def records(folder: Path) -> dict[str, Any]:
    """Every result of a study by its path: tables as frames, tensors with their metadata, all else as bytes."""
    found: dict[str, Any] = {}
    for path in sorted((folder / "results").rglob("*.*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".kept":  # the same file under a second name
            continue
        # what a run took is no result of the study
        if path.is_file() and not name.startswith(("results/logs", "results/benchmarks", "results/provenance")):
            found[name] = READERS.get(path.suffix, Path.read_bytes)(path)
        if path.suffix == ".safetensors":
            found[f"{name} (metadata)"] = read_metadata(path)
    return found


def timeless(record: Any) -> Any:
    """A table without what it cost: seconds differ from run to run."""
    return record.drop("seconds", strict=False) if isinstance(record, pl.DataFrame) else record


def differences(left: dict[str, Any], right: dict[str, Any]) -> list[str]:
    """Names of results that only one side has or that differ; pdf files and times are left out."""
    differ = list(left.keys() ^ right.keys())
    for name in left.keys() & right.keys():
        a, b = timeless(left[name]), timeless(right[name])
        same = a.equals(b) if isinstance(a, pl.DataFrame) else a == b or name.endswith((".pdf", "table4.csv"))
        differ += [] if same else [name]
    return sorted(differ)


def read_tensors(path: Path) -> dict[str, bytes]:
    """Content of a safetensors file, without its metadata, which is stored there in any order."""
    tensors, _ = read_safetensors(path)
    return {name: tensor.contiguous().view(torch.uint8).numpy().tobytes() for name, tensor in tensors.items()}


READERS: dict[str, Callable[[Path], Any]] = {".parquet": pl.read_parquet, ".safetensors": read_tensors}
