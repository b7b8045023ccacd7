"""The packaged model: what lies in the folder, what it answers, what it refuses."""

import base64
import json
import pickletools
import re
import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from qure.errors import BadInput, StageFailed
from qure.evaluation.ranking.embeddings import read_embeddings, write_embeddings
from qure.evaluation.ranking.flat_index import FlatIndex
from qure.files import write_json
from qure.images import normalise, prepare_image
from qure.models import QureModel
from qure.models.relevance import relevance
from qure.registry.packaging import Example, answers, package, requirements
from qure.serving.retriever import Retriever

IDS = [f"image-{number}" for number in range(12)]


@pytest.fixture(scope="module")
def pictures(catalogue: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((catalogue / "fashioniq" / "images").iterdir())[: len(IDS)]]


@pytest.fixture(scope="module")
def gallery(model_of: Callable[[int], Path], pictures: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    model = QureModel.load(model_of(1))
    with torch.no_grad():
        size = model.config.vision.image_size
        pixels = np.stack([prepare_image(one, size, name="x") for one in pictures])
        vectors = model.encode_images(model.encode_vision(normalise(pixels))).numpy()
    write_embeddings(folder / "embeddings.safetensors", IDS, vectors, dtype="fp16")
    write_json(folder / "groups.json", {"even": IDS[::2], "odd": IDS[1::2]})
    return folder


@pytest.fixture(scope="module")
def packaged(
    model_of: Callable[[int], Path], gallery: Path, pictures: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    from qure.tracking.connection import quiet_environment

    quiet_environment()
    folder = tmp_path_factory.mktemp("package") / "model"
    package(
        folder,
        model=model_of(1),
        gallery=gallery,
        example=Example(pictures[0], "is red", "even"),
        facts={"qure.model_fingerprint": "abc"},
    )
    return folder


@pytest.fixture(scope="module")
def served(packaged: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Loaded from a copy: Python leaves bytecode beside the code that a package brings along."""
    import mlflow
    import mlflow.pyfunc.scoring_server  # as in MLflow's server: the model looks for it

    return mlflow.pyfunc.load_model(str(shutil.copytree(packaged, tmp_path_factory.mktemp("served") / "model")))


def _query(pictures: list[bytes], *rows: int, **columns: Any) -> pd.DataFrame:
    table = {"reference": [pictures[row] for row in rows], "text": ["is red with long sleeves"] * len(rows)}
    return pd.DataFrame(table | columns)


def test_no_pickle_and_no_path_of_this_machine(packaged: Path, model_of: Callable[[int], Path]) -> None:
    here = [str(packaged.parent), str(model_of(1)), str(Path(__file__).parents[3])]
    for file in (path for path in packaged.rglob("*") if path.is_file()):
        content = file.read_bytes()
        assert file.suffix not in (".pkl", ".pickle", ".pt", ".pth", ".pyc", ".joblib"), file
        with pytest.raises(ValueError, match=r"."):  # pickletools reads it to an end only if it is a pickle
            for _ in pickletools.genops(content):
                pass
        for path in here:
            assert path.encode() not in content, file
    assert "cloudpickle" not in (packaged / "MLmodel").read_text()
    assert not list(packaged.rglob("__pycache__"))


def test_requirements_are_pinned_without_a_build(packaged: Path) -> None:
    lines = (packaged / "requirements.txt").read_text().split()
    assert lines == requirements()
    assert all("==" in line and "+" not in line for line in lines)
    assert any(line.startswith("torch==") for line in lines)


def test_it_ranks_as_the_model_does(
    served: Any, model_of: Callable[[int], Path], gallery: Path, pictures: list[bytes]
) -> None:
    answer = served.predict(_query(pictures, 3, 5), params={"top_k": len(IDS)})
    model = QureModel.load(model_of(1))
    assert model.tokenizer is not None
    tokens, mask = model.tokenizer(["is red with long sleeves"] * 2)
    pixels = np.stack([prepare_image(pictures[row], model.config.vision.image_size, name="x") for row in (3, 5)])
    with torch.no_grad():
        queries = model.encode_queries(model.encode_vision(normalise(pixels)), tokens, mask)
        candidates = torch.from_numpy(read_embeddings(gallery / "embeddings.safetensors").vectors)
        scores = relevance(queries, candidates).numpy()
    for row in (0, 1):
        order = np.argsort(-scores[row], kind="stable")
        assert answer["ids"][row] == [IDS[column] for column in order]
        np.testing.assert_allclose(answer["scores"][row], scores[row][order], atol=1e-5)


def test_groups_exclusions_and_numbers_of_results(served: Any, pictures: list[bytes]) -> None:
    table = _query(
        pictures, 1, 1, 1, top_k=[2, 100, 4], group=["odd", None, "even"], exclude=[None, "image-4", "image-2"]
    )
    answer = served.predict(table)
    assert len(answer["ids"][0]) == 2
    assert set(answer["ids"][0]) <= set(IDS[1::2])
    assert sorted(answer["ids"][1]) == sorted(set(IDS) - {"image-4"})
    assert set(answer["ids"][2]) <= set(IDS[::2]) - {"image-2"}
    assert len(answer["ids"][2]) == 4
    assert all(scores == sorted(scores, reverse=True) for scores in answer["scores"])


def test_it_embeds_queries_and_images(served: Any, pictures: list[bytes], gallery: Path) -> None:
    images = served.predict(pd.DataFrame({"reference": pictures[:3], "text": ""}), params={"mode": "embed_images"})
    stored = read_embeddings(gallery / "embeddings.safetensors").vectors[:3]
    np.testing.assert_allclose(np.array(images["embedding"].tolist()), stored, atol=2e-3)
    queries = served.predict(_query(pictures, 0, 1), params={"mode": "embed_queries"})
    vectors = np.array(queries["embedding"].tolist())
    assert vectors.shape == (2, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_many_queries_go_in_batches(served: Any, pictures: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    rows = list(range(12)) * 4
    whole = served.predict(_query(pictures, *rows))
    assert len(whole) == 48
    single = served.predict(_query(pictures, rows[-1]))
    assert whole["ids"][47] == single["ids"][0]


def test_no_query_no_answer(served: Any) -> None:
    empty = pd.DataFrame({"reference": pd.Series([], dtype=object), "text": pd.Series([], dtype=str)})
    assert len(served.predict(empty)) == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"reference": [b"not an image"]}, "row 0, field 'reference'"),
        ({"reference": [b""]}, "the file is empty"),
        ({"text": ["  "]}, "row 0, field 'text'"),
        ({"text": [None]}, "row 0, field 'text'"),
        ({"top_k": [0]}, "field 'top_k': 0"),
        ({"group": ["dress"]}, "no group 'dress'.*even, odd"),
    ],
)
def test_what_it_refuses(served: Any, pictures: list[bytes], change: dict[str, Any], told: str) -> None:
    table = _query(pictures, 0)
    for name, value in change.items():
        table[name] = value
    with pytest.raises(BadInput, match=told):
        served.predict(table)


def test_an_unknown_mode_is_refused(served: Any, pictures: list[bytes]) -> None:
    with pytest.raises(BadInput, match="no mode 'guess'"):
        served.predict(_query(pictures, 0), params={"mode": "guess"})


def test_a_request_as_a_server_gets_it(packaged: Path, served: Any, pictures: list[bytes]) -> None:
    """JSON with the image in base64, as MLflow's scoring server parses it."""
    from mlflow.pyfunc.scoring_server import infer_and_parse_data

    record = {"reference": base64.b64encode(pictures[2]).decode(), "text": "is red with long sleeves"}
    body = json.loads(json.dumps({"dataframe_records": [record]}))
    parsed = infer_and_parse_data(body, schema=served.metadata.get_input_schema())
    assert served.predict(parsed)["ids"][0] == served.predict(_query(pictures, 2))["ids"][0]
    example = json.loads((packaged / "serving_input_example.json").read_text())
    assert len(served.predict(infer_and_parse_data(example, schema=served.metadata.get_input_schema()))) == 1


@pytest.mark.integration
@pytest.mark.fresh_interpreter
def test_it_answers_its_example_as_when_it_was_packaged(
    packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("artifacts").mkdir()
    found = answers(packaged, scratch=Path("artifacts"))
    assert list(Path("artifacts").iterdir()) == []
    assert found["ids"][0] in IDS[::2]
    assert found == json.loads((packaged / "example_answer.json").read_text())


@pytest.mark.integration
@pytest.mark.fresh_interpreter
def test_what_is_installed_otherwise_than_the_package_asks_is_said(
    packaged: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "package"
    shutil.copytree(packaged, copy)
    lines = (copy / "requirements.txt").read_text().replace("rich==", "rich==0.0.1 # ")
    (copy / "requirements.txt").write_text("# a comment\n" + lines + "\nno-such-package-here==1.0\n")
    answers(copy)
    assert "rich==0.0.1" in caplog.text
    assert "no-such-package-here==1.0 is not installed" in caplog.text
    assert "torch==" not in caplog.text
    assert "promotion.environment: own" in caplog.text


@pytest.mark.integration
def test_its_own_environment_holds_what_the_package_asks_for_and_nothing_else(packaged: Path, tmp_path: Path) -> None:
    """Nothing is asked for here, so that no index is needed: the interpreter that answers has no MLflow."""
    copy = tmp_path / "package"
    shutil.copytree(packaged, copy)
    (copy / "requirements.txt").write_text("")
    from qure.registry.packaging import _own_environment

    python = _own_environment(copy, tmp_path)
    import subprocess

    told = subprocess.run([python, "-c", "import mlflow"], capture_output=True, text=True, check=False)
    assert "No module named 'mlflow'" in told.stderr
    (copy / "requirements.txt").write_text("not a requirement at all\n")
    with pytest.raises(StageFailed, match="own environment cannot be made"):
        answers(copy, environment="own")


def test_what_is_missing_in_a_package_is_told(packaged: Path, tmp_path: Path) -> None:
    for number, name in enumerate(
        ("MLmodel", "example_answer.json", "input_example.json", "artifacts/model/config.json")
    ):
        copy = tmp_path / str(number)
        shutil.copytree(packaged, copy)
        (copy / name).unlink()
        with pytest.raises(StageFailed, match=r"not whole|does not load"):
            answers(copy)


def test_equal_scores_keep_the_gallerys_order(model_of: Callable[[int], Path], pictures: list[bytes]) -> None:
    model = QureModel.load(model_of(1))
    same = torch.ones(5, model.config.query_tokens, model.config.embedding) / 4
    ids = ["c", "a", "e", "b", "d"]
    retriever = Retriever(model, ids, FlatIndex(same), {})
    found = retriever.retrieve([pictures[0]], ["x"], top_k=[3], groups=[None], exclude=[None])
    assert [identifier for identifier, _ in found[0]] == ["c", "a", "e"]


@pytest.fixture(scope="module")
def ask(served: Any) -> Iterator[Any]:
    """MLflow's own scoring server on the packaged model: a request's body -> status and answer."""
    import uvicorn
    from mlflow.pyfunc.scoring_server import init

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = uvicorn.Server(uvicorn.Config(init(served), host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.02)

    def post(body: Any, kind: str = "application/json") -> tuple[int, Any]:
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        address = f"http://127.0.0.1:{port}/invocations"
        request = urllib.request.Request(address, data=content, headers={"Content-Type": kind})
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
                return int(answer.status), json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    yield post
    server.should_exit = True
    thread.join(timeout=30)


def _row(pictures: list[bytes], number: int, **more: Any) -> dict[str, Any]:
    return {"reference": base64.b64encode(pictures[number]).decode(), "text": "is red with long sleeves", **more}


def test_every_form_of_a_request_gets_the_same_answer(ask: Any, served: Any, pictures: list[bytes]) -> None:
    rows = [_row(pictures, 1), _row(pictures, 2)]
    columns = {name: [row[name] for row in rows] for name in ("reference", "text")}
    wanted = served.predict(_query(pictures, 1, 2)).to_dict("records")
    bodies = [
        {"dataframe_records": rows},
        {"dataframe_split": {"columns": ["reference", "text"], "data": [list(row.values()) for row in rows]}},
        {"inputs": rows},
        {"inputs": columns},
        {"instances": rows},
        {"instances": [rows[0], rows[1] | {"exclude": "nobody"}]},
    ]
    csv = pd.DataFrame(columns).to_csv(index=False)
    for body, kind in [*((body, "application/json") for body in bodies), (csv, "text/csv")]:
        status, answer = ask(body, kind)
        assert status == 200, (list(body), answer)
        assert [one["ids"] for one in answer["predictions"]] == [one["ids"] for one in wanted], list(body)


def test_lines_of_csv_may_leave_cells_empty(ask: Any, pictures: list[bytes]) -> None:
    rows = [_row(pictures, 1, top_k=3), _row(pictures, 1), _row(pictures, 1, top_k=2) | {"text": "null"}]
    status, answer = ask(pd.DataFrame(rows, dtype=object).to_csv(index=False), "text/csv")
    assert status == 200, answer
    assert [len(one["ids"]) for one in answer["predictions"]] == [3, 10, 2]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "cannot be read as CSV: No columns"),
        ("reference,text\nAAAA,is red\nAAAA,is red,more\n", "cannot be read as CSV: .*2 fields in line 3, saw 3"),
        ('reference,text\n"AAAA,is red\n', "cannot be read as CSV: .*EOF inside string"),
        ("text\nis red\n", r"missing inputs \['reference'\]"),
        ("reference,text\n,is red\n", "row 0, field 'reference': there is no image"),
        ("reference,text\n{image}\n", "row 0, field 'text'"),
        ("reference,text,text\n{image},is red,is blue\n", "field 'text': the column stands there twice"),
        ("reference,text,top_k\n{image},is red,many\n", "row 0, field 'top_k': 'many' is not a number of results"),
        ("reference,text\n{image},\n", "row 0, field 'text'"),
        ("reference,text,top_k\n{image},is red," + "9" * 5000 + "\n", "row 0, field 'top_k': '9+"),
    ],
)
def test_a_mistake_in_csv_is_told_too(ask: Any, pictures: list[bytes], lines: str, said: str) -> None:
    status, answer = ask(lines.replace("{image}", _row(pictures, 0)["reference"]), "text/csv")
    assert status == 400
    assert re.search(said, answer["message"]), answer
    assert "Traceback" not in json.dumps(answer)


def test_a_missing_or_null_number_of_results_means_the_default(ask: Any, pictures: list[bytes]) -> None:
    rows = [_row(pictures, 1), _row(pictures, 1, top_k=3), _row(pictures, 1, top_k=None)]
    for form in ("dataframe_records", "inputs"):
        status, answer = ask({form: rows, "params": {"top_k": 5}})
        assert status == 200, answer
        assert [len(one["ids"]) for one in answer["predictions"]] == [5, 3, 5]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reference": "AAAA"}, r"row 1, field 'reference': not an image of a known type"),
        ({"reference": ""}, r"row 1, field 'reference'.*empty"),
        ({"reference": None}, r"row 1, field 'reference': there is no image"),
        ({"reference": 5}, r"row 1, field 'reference': not the bytes of an image file but int"),
        ({"reference": [1]}, r"row 1, field 'reference': not the bytes of an image file but list"),
        ({"reference": "%%%"}, r"row 1, field 'reference': not an image of a known type"),
        ({"text": " "}, r"row 1, field 'text'"),
        ({"text": None}, r"row 1, field 'text'"),
        ({"top_k": 0}, r"row 1, field 'top_k': 0 is not a number of results"),
        ({"top_k": 2.5}, r"row 1, field 'top_k': 2\.5 is not"),
        ({"top_k": "5"}, r"row 1, field 'top_k': '5' is not"),
        ({"top_k": [5]}, r"row 1, field 'top_k': \[5\] is not"),
        ({"top_k": {"a": 5}}, r"row 1, field 'top_k': \{'a': 5\} is not"),
        ({"top_k": 1e400}, r"row 1, field 'top_k': inf is not"),
        ({"top_k": -(10**30)}, r"row 1, field 'top_k': -10{30} is not"),
        ({"group": "nobody's"}, r"row 1, field 'group': no group"),
    ],
)
def test_a_mistake_is_answered_with_the_sentence_that_names_it(
    ask: Any, pictures: list[bytes], change: dict[str, Any], said: str
) -> None:
    rows = [_row(pictures, 0), _row(pictures, 1) | change, _row(pictures, 2)]
    status, answer = ask({"dataframe_records": rows})
    assert status == 400
    assert re.match(said, answer["message"]), answer  # from its first word on: no table of the request before it
    assert "unexpected error" not in answer["message"]
    told = json.dumps(answer)
    assert "stack_trace" not in answer
    for path in ("Traceback", str(Path(__file__).parents[3]), "site-packages"):
        assert path not in told
    status, answer = ask({"dataframe_records": rows, "params": {"partial": True}})
    assert status == 200, answer
    good, bad, other = answer["predictions"]
    assert (good["error"], other["error"], bad["ids"]) == (None, None, [])
    assert len(good["ids"]) == len(other["ids"]) == 10
    assert re.search(said, bad["error"])


def test_text_is_required_by_the_signature(ask: Any, pictures: list[bytes]) -> None:
    status, answer = ask({"dataframe_records": [{"reference": _row(pictures, 0)["reference"]}]})
    assert status == 400
    assert "missing inputs ['text']" in answer["message"]


def test_a_small_file_with_many_pixels_is_refused_before_it_is_decoded(ask: Any) -> None:
    import io
    import tracemalloc

    from PIL import Image

    file = io.BytesIO()
    Image.new("1", (7900, 7900)).save(file, "PNG")
    assert len(file.getvalue()) < 100_000
    row = {"reference": base64.b64encode(file.getvalue()).decode(), "text": "is red"}
    tracemalloc.start()
    try:
        status, answer = ask({"dataframe_records": [row]})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert status == 400
    assert "row 0, field 'reference': 62,410,000 pixels are too many" in answer["message"]
    assert peak < 30_000_000


def test_a_partial_answer_decodes_no_more_than_a_whole_one(
    ask: Any, served: Any, pictures: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    from PIL import Image

    from qure.serving.intake import Intake, Limits

    sizes = [Image.open(io.BytesIO(one)).size for one in pictures[:4]]
    counts = [width * height for width, height in sizes]
    model = served.unwrap_python_model()
    monkeypatch.setattr(model, "_intake", Intake(Limits(request=counts[0] + counts[1])))
    rows = [_row(pictures, number) for number in range(4)]
    status, answer = ask({"dataframe_records": rows, "params": {"partial": True}})
    assert status == 200, answer
    errors = [one["error"] for one in answer["predictions"]]
    assert errors[:2] == [None, None]
    assert all("pixels together" in error and f"row {row}" in error for row, error in enumerate(errors) if row > 1)
    assert ask({"dataframe_records": rows})[0] == 400


@pytest.fixture(scope="module")
def large(model_of: Callable[[int], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of made-up embeddings that is large enough for an index, and has one."""
    pytest.importorskip("faiss", reason="needs faiss-cpu: pip install 'qure[index]'")
    from qure.config import IndexSettings
    from qure.serving.index_building import build_index

    config = QureModel.load(model_of(1)).config
    folder, draw = tmp_path_factory.mktemp("large"), np.random.default_rng(0)
    vectors = draw.standard_normal((3000, config.query_tokens, config.embedding)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    ids = [f"image-{number}" for number in range(len(vectors))]
    write_embeddings(folder / "embeddings.safetensors", ids, vectors)
    write_json(folder / "groups.json", {"even": ids[::2], "odd": ids[1::2]})
    build_index(folder, IndexSettings(kind="ivf_pq", bytes_per_token=1, tokens=6000, images=1000, queries=20))
    return folder


def test_a_gallery_with_an_index_is_packaged_with_it_and_answers(
    model_of: Callable[[int], Path], large: Path, pictures: list[bytes], tmp_path: Path
) -> None:
    import mlflow

    import qure

    folder = tmp_path / "model"
    package(folder, model=model_of(1), gallery=large, example=Example(pictures[0], "is red", "even"), facts={})
    assert any(line.startswith("faiss-cpu==") for line in (folder / "requirements.txt").read_text().split())
    answer = mlflow.pyfunc.load_model(str(folder)).predict(_query(pictures, 3, 5, group=[None, "odd"]))
    searcher = qure.load(folder, device="cpu")
    for row, (picture, group) in enumerate(((3, None), (5, "odd"))):
        found = searcher.search(pictures[picture], "is red with long sleeves", group=group)
        assert [one.image_id for one in found] == answer["ids"][row]
        assert len(found) == 10
    exact = tmp_path / "exact"
    exact.mkdir()
    for name in ("embeddings.safetensors", "groups.json"):
        (exact / name).symlink_to(large / name)
    best = qure.load(model_of(1), gallery=exact, device="cpu").search(pictures[3], "is red with long sleeves")
    assert len({one.image_id for one in best} & set(answer["ids"][0])) >= 7
