"""GGUF by a converter of llama.cpp's name: found or not, working or not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tooltune.errors import UserError
from tooltune.export.gguf import QUANTIZED, GgufPlan, check_type, make_gguf, plan_gguf

CONVERTER = """
import argparse, pathlib, sys
parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--outfile")
parser.add_argument("--outtype")
given = parser.parse_args()
if not (pathlib.Path(given.model) / "config.json").is_file():
    pathlib.Path(given.outfile).write_text("half")
    sys.exit("ValueError: no config.json in that folder")
pathlib.Path(given.outfile).write_text("GGUF " + given.outtype)
"""
QUANTIZER = """#!{python}
import pathlib, sys
source, target, kind = sys.argv[1:]
pathlib.Path(target).write_text(pathlib.Path(source).read_text() + " " + kind)
"""


@pytest.fixture
def llama_cpp(tmp_path: Path) -> Path:
    """A folder as a checkout of llama.cpp has it, with programs of the same names."""
    root = tmp_path / "llama.cpp"
    (root / "build" / "bin").mkdir(parents=True)
    (root / "convert_hf_to_gguf.py").write_text(CONVERTER)
    program = root / "build" / "bin" / "llama-quantize"
    program.write_text(QUANTIZER.format(python=sys.executable))
    program.chmod(0o755)
    return root


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture(autouse=True)
def nothing_in_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    monkeypatch.delenv("LLAMA_CPP_DIR", raising=False)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_type_of_the_converter_is_made_by_it_alone(model: Path, llama_cpp: Path) -> None:
    plan = plan_gguf(model, "my", "Q8_0", llama_cpp)
    assert make_gguf(plan) is None
    assert plan.file == model / "my-Q8_0.gguf"
    assert plan.file.read_text() == "GGUF q8_0"


def test_another_type_is_quantised_from_a_file_that_goes_away(model: Path, llama_cpp: Path) -> None:
    plan = plan_gguf(model, "my", "q4_k_m", llama_cpp)
    assert make_gguf(plan) is None
    assert plan.file.read_text() == "GGUF bf16 Q4_K_M"
    assert names(model) == {"config.json", "my-Q4_K_M.gguf"}


def test_a_converter_that_fails_says_why_and_leaves_no_file(model: Path, llama_cpp: Path) -> None:
    (model / "config.json").unlink()
    problem = make_gguf(plan_gguf(model, "my", "f16", llama_cpp))
    assert problem is not None
    assert "no config.json in that folder" in problem
    assert names(model) == set()


def test_a_converter_that_lacks_a_package_says_what_to_install(
    model: Path, llama_cpp: Path
) -> None:
    (llama_cpp / "convert_hf_to_gguf.py").write_text("import no_such_package_at_all")
    problem = make_gguf(plan_gguf(model, "my", "f16", llama_cpp))
    assert problem is not None
    assert problem.startswith("convert_hf_to_gguf.py failed")
    assert "pip install -r" in problem


def test_a_program_that_cannot_run_is_a_problem_too(model: Path, llama_cpp: Path) -> None:
    (llama_cpp / "build" / "bin" / "llama-quantize").chmod(0o644)
    problem = make_gguf(plan_gguf(model, "my", "q4_0", llama_cpp))
    assert problem is not None
    assert names(model) == {"config.json"}


@pytest.mark.parametrize("kind", ["f16", "q4_k_m"])
def test_without_llama_cpp_the_plan_is_the_commands_and_what_is_missing(
    model: Path, kind: str
) -> None:
    plan = plan_gguf(model, "my", kind, None)
    assert plan.missing[0] == "convert_hf_to_gguf.py"
    assert ("llama-quantize" in plan.missing) == (kind in QUANTIZED)
    assert plan.commands[0][:3] == ("python", "llama.cpp/convert_hf_to_gguf.py", str(model))


def test_the_environment_names_a_checkout_too(
    model: Path, llama_cpp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_CPP_DIR", str(llama_cpp))
    assert plan_gguf(model, "my", "q4_0", None).missing == ()
    monkeypatch.setenv("LLAMA_CPP_DIR", str(llama_cpp / "gone"))
    with pytest.raises(UserError, match="LLAMA_CPP_DIR"):
        plan_gguf(model, "my", "q4_0", None)


def test_programs_in_path_are_found(
    model: Path, llama_cpp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(llama_cpp / "build" / "bin"))
    assert plan_gguf(model, "my", "q4_0", None).missing == ("convert_hf_to_gguf.py",)


def test_an_unknown_type_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="q4_k_m"):
        check_type("q4_k_xxl")
    assert check_type("Q4-K-M") == "q4_k_m"


def test_no_file_at_the_end_is_a_problem(model: Path) -> None:
    plan = GgufPlan(model / "my.gguf", ((sys.executable, "-c", ""),), None, ())
    assert make_gguf(plan) == "no my.gguf was written"
