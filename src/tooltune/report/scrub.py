"""Take secrets out of text by what they look like, whatever field they sit in."""

from __future__ import annotations

import re

REMOVED = "[secret removed]"

# Prefixes as their issuers document them; none may contain a quote or a backslash, so that
# scrubbing serialized JSON leaves it JSON.
_SECRET = re.compile(
    r"""
    (?<![A-Za-z0-9])(?:
        hf_[A-Za-z0-9]{20,}                          # Hugging Face
      | sk-[A-Za-z0-9_-]{20,}                        # OpenAI, Anthropic and their like
      | gh[pousr]_[A-Za-z0-9]{20,}                   # GitHub
      | github_pat_[A-Za-z0-9_]{20,}
      | glpat-[A-Za-z0-9_-]{20,}                     # GitLab
      | xox[abposr]-[A-Za-z0-9-]{10,}                # Slack
      | (?:AKIA|ASIA)[A-Z0-9]{16}                    # AWS key ids
      | AIza[A-Za-z0-9_-]{35}                        # Google
      | nvapi-[A-Za-z0-9_-]{20,}                     # NVIDIA
      | eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}   # JSON web tokens
    )
    """,
    re.VERBOSE,
)
_URL_PASSWORD = re.compile(
    r"""(\b[a-z][a-z0-9+.-]{0,20}://)[^/\s:@"'\\<>]{0,200}:[^/\s@"'\\<>]{1,200}@"""
)


def scrub(text: str) -> str:
    """`text` with access tokens, keys and passwords inside URLs replaced by `[secret removed]`."""
    return _URL_PASSWORD.sub(rf"\1{REMOVED}@", _SECRET.sub(REMOVED, text))
