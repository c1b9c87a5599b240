"""An export as a whole: what its page names, and what is printed while its model is loaded."""

from __future__ import annotations

import warnings
from pathlib import Path

from transformers import PreTrainedModel

from tests.cli.conftest import TinyRun
from tooltune.export.make import put_adapter_on
from tooltune.export.run import PAGE, export_model
from tooltune.export.source import find_source
from tooltune.models.load import load_model


def test_the_page_of_an_adapter_names_its_base_and_not_where_it_lies(
    run: TinyRun, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "adapter"
    export_model(find_source(run.folder), out, adapter=True)
    page = (out / PAGE).read_text(encoding="utf-8")
    assert f"`$BASE` stands for the base model, `{model.name}`:" in page
    assert str(model.parent) not in page


def test_putting_the_adapter_on_its_base_warns_of_nothing(run: TinyRun, model: Path) -> None:
    base = load_model(model)
    assert isinstance(base, PreTrainedModel)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        put_adapter_on(base, find_source(run.folder))
