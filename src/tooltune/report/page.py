"""One HTML file that works offline and runs nothing from the data.

Every text of a trace is hostile until shown otherwise (it may be markup, script, or a secret):
the template escapes, data travel as escaped JSON that the page's script turns into text nodes
only, a content security policy allows no other script, style or request, and secrets are removed
from the finished page.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
import zlib
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from tooltune.errors import UserError
from tooltune.scrub import scrub_shapes

_LARGE = 1_000_000  # characters of data; less can as well be read in the file
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def render_page(
    name: str, data: Any, *, parts: Sequence[str] = (), pack: bool = False, **values: Any
) -> str:
    """The page `NAME.html.jinja` with its NAME.css and NAME.js, as HTML text.

    `data` is the JSON value that the script reads: where it is large and `pack` allows it, it is
    embedded compressed (zlib, base64), which `unpack.js` reads. `parts` are the names of further
    scripts that go before NAME.js; `values` are the template's own.
    """
    style = asset("base.css") + asset(f"{name}.css")
    script = "".join(asset(f"{part}.js") for part in ("base", *parts, name))
    content, packed = _embed(data, pack)
    hole = f"data-{secrets.token_hex(16)}"
    page = (
        _environment()
        .get_template(f"{name}.html.jinja")
        .render(
            policy=_policy(style, script),
            style=Markup(style),
            script=Markup(script),
            data=hole,
            packed=packed,
            **values,
        )
    )
    # The data were cleaned before they were packed, and packed they look like anything.
    return _clean(page).replace(hole, content)


def _clean(text: str) -> str:
    """Without secrets, nor the lone surrogates that are legal in JSON and impossible in UTF-8."""
    return _SURROGATE.sub("\ufffd", scrub_shapes(text))


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("tooltune.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def asset(name: str) -> str:
    return package_files("tooltune.report").joinpath("templates", name).read_text("utf-8")


def _policy(style: str, script: str) -> str:
    """Only this page's own style and script run, known by hash; nothing is ever requested."""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _embed(data: Any, pack: bool) -> tuple[str, bool]:
    """The data as the text of a script element, and whether it is packed.

    JSON there neither ends its element nor trips over U+2028 and U+2029.
    """
    text = _clean(json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
    if pack and len(text) > _LARGE:
        return base64.b64encode(zlib.compress(text.encode(), 6)).decode(), True
    text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return str(htmlsafe_json_dumps(data, dumps=lambda value, **options: text)), False


def write_page(path: Path, page: str) -> Path:
    """Write beside the target, then rename: a reader never sees half a page."""
    staged = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staged.write_text(page, encoding="utf-8", newline="\n")
        staged.replace(path)
    except OSError as error:
        with suppress(OSError):
            staged.unlink()
        raise UserError(
            f"{path}: the report cannot be written: {error.strerror}",
            fix="give an output path in a folder that you may write to",
        ) from error
    return path
