"""The render specification beside a saved model: what its prompts looked like when it learnt.

A chat template travels with the tokenizer; its arguments, the day it was told, what was cut and
escaped do not. `tooltune eval` reads them back, so that a model is asked as it was taught.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tooltune.errors import UserError
from tooltune.render.spec import RenderSpec

FILE = "tooltune_render.json"


def write_render_record(spec: RenderSpec, directory: Path) -> None:
    """Write `tooltune_render.json`; the template itself is the tokenizer's, and left out."""
    values = replace(spec, chat_template=None).to_dict()
    text = json.dumps(values, indent=2, ensure_ascii=False, default=str) + "\n"
    (directory / FILE).write_text(text, encoding="utf-8")


def read_render_record(model: str | Path) -> RenderSpec:
    """The specification that the model at a local path was trained with; the default without one.

    Raises UserError for a record that cannot be read.
    """
    path = Path(model).expanduser() / FILE
    if not path.is_file():
        return RenderSpec()
    try:
        return RenderSpec.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}: {error})",
            fix="export the model again, or delete that file to evaluate with the defaults",
        ) from error
