"""Bad input, third row: killed, disk full, S3 errors. No half file under a final name; the same command finishes."""

import errno
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

Qure = Callable[..., tuple[int, str]]
SET = ("--training-set", "fashioniq")


@pytest.mark.integration
@pytest.mark.usefixtures("no_bytecode")
def test_killed_process_leaves_no_half_result(project: Any, qure: Qure) -> None:
    """The later stages are killed in tests/test_dvc_pipeline.py."""
    process = subprocess.Popen(
        [sys.executable, "-m", "qure.cli", "validate", *SET],
        cwd=project.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not list(project.artifacts.rglob(".qure-*.partial/*/*")):  # it is writing
        assert process.poll() is None
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert project.written() == set()
    assert qure("validate", *SET)[0] == 0
    assert json.loads((project.output / "result.json").read_text())["success"] is True


@pytest.mark.integration
@pytest.mark.usefixtures("no_bytecode")
def test_full_disk_is_one_message_and_no_half_result(project: Any, qure: Qure) -> None:
    """A limit on the size of files stands in for a disk that is full."""

    def little_space() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

    done = project.process("validate", *SET, preexec_fn=little_space)
    assert done.returncode == 1
    assert os.strerror(errno.EFBIG) in done.stderr
    assert "the same command" in done.stderr
    assert "Traceback" not in done.stderr
    assert project.written() == set()
    assert qure("validate", *SET)[0] == 0


def test_weights_that_storage_does_not_have(project: Any, qure: Qure, s3: str) -> None:
    code, said = qure("weights", "import", f"{s3}/weights.pth", "--output", "model")
    assert code == 2
    assert f"nothing is stored at '{s3}/weights.pth'" in said
    assert not (project.root / "model").exists()


def test_weights_that_storage_has_damaged(project: Any, qure: Qure, s3: str) -> None:
    boto3.client("s3").put_object(
        Bucket=s3.removeprefix("s3://"), Key="weights.pth", Body=b"PK\x03\x04 the beginning of a file"
    )
    code, said = qure("weights", "import", f"{s3}/weights.pth", "--output", "model")
    assert code == 2
    assert "weights.pth" in said
    assert not (project.root / "model").exists()


def test_storage_that_is_away_and_comes_back(
    project: Any, qure: Qure, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backbone's weights lie on S3: without S3 nothing is written, with it the same command finishes."""
    _small_published_model(project.root / "hub")
    for file in (project.root / "hub").iterdir():
        boto3.client("s3").upload_file(str(file), s3.removeprefix("s3://"), f"weights/{file.name}")
    project.settings(backbone={"name": "blip2-vitg", "weights": f"{s3}/weights"})
    there = os.environ["AWS_ENDPOINT_URL"]
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", nobody)
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)  # its pauses between attempts, seconds
    code, said = qure("backbone")
    assert code == 1
    assert nobody in said
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in said
    assert project.written() == set()
    monkeypatch.setenv("AWS_ENDPOINT_URL", there)
    assert qure("backbone")[0] == 0
    assert "backbone/manifest.json" in project.written()


def _small_published_model(folder: Path) -> None:
    """A tiny model of the class that the Hub's ViT-g file is for, with a vocabulary."""
    from transformers import Blip2Config, Blip2ForImageTextRetrieval

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "dress"]
    vision = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2}
    qformer = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    text = {"vocab_size": len(words) + 1, "max_position_embeddings": 40, "use_qformer_text_input": True}
    config = Blip2Config(
        vision_config={**vision, "image_size": 28, "patch_size": 14},
        qformer_config={**qformer, **text, "encoder_hidden_size": 24},
        num_query_tokens=4,
        image_text_hidden_size=16,
    )
    Blip2ForImageTextRetrieval(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
