"""`tooltune schema`: the JSON schema of the YAML file, for editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tooltune.cli.output import help_text, print_json, print_text, user_errors
from tooltune.cli.places import require_folder, writing

HELP = help_text(
    "Print the JSON Schema of the YAML file: every key, its type, default and meaning.",
    "tooltune schema",
    "tooltune schema --out tooltune.schema.json",
    remark="An editor with a YAML language server completes and checks a config whose first line "
    "is `# yaml-language-server: $schema=tooltune.schema.json`.",
)


@user_errors
def command(
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it there instead of printing it.")
    ] = None,
) -> None:
    from tooltune.config.jsonschema import json_schema

    schema = json_schema()
    if out is None:
        print_json(schema)
        return
    require_folder(out)
    with writing(out):
        out.write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")
    print_text(f"wrote {out}")
