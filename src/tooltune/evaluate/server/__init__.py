"""Talk to an OpenAI-compatible server: vLLM, SGLang, llama.cpp, `transformers serve`, ..."""

from tooltune.evaluate.server.types import (
    ServerAnswer,
    ServerOptions,
    ServerRequest,
    api_key_from_environment,
)

__all__ = ["ServerAnswer", "ServerOptions", "ServerRequest", "api_key_from_environment"]
