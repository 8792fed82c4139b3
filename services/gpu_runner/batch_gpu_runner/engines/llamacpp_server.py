"""The llama.cpp server's process.

python -m batch_gpu_runner.engines.llamacpp_server SOCKET MODEL.gguf NAME OPTIONS_AS_JSON
"""

import signal
import sys
from typing import Annotated, Any, Literal

import msgspec

_ERRORS = 1  # llama.cpp's log level; above it writes lines for each request
# Each kept connection occupies one; a request on a connection beyond them waits for seconds.
_HTTP_THREADS = 256

Count = Annotated[int, msgspec.Meta(ge=1)]


class ServerOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `-o` can set.

    n_ctx: tokens of context for one request, prompt and answer (llama.cpp's n_ctx is that times
        n_parallel)
    n_parallel: requests computed at once
    n_threads: 0: all processors this process may use
    n_gpu_layers: -1: as many as fit
    embeddings: answer /v1/embeddings as well, pooled over the tokens as `pooling` says
    metrics: report the load
    """

    n_ctx: Count = 2048
    n_parallel: Count = 4
    n_threads: Annotated[int, msgspec.Meta(ge=0)] = 0
    n_batch: Count = 2048
    n_ubatch: Count = 512
    n_gpu_layers: Annotated[int, msgspec.Meta(ge=-1)] = -1
    embeddings: bool = False
    pooling: Literal["mean", "cls", "last"] = "mean"
    metrics: bool = True


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM; 1 when the model cannot be loaded."""
    import xllamacpp  # noqa: PLC0415 - 100 MB, and the options above are read without it

    socket, model, name, options = arguments
    # Blocked before llama.cpp makes its threads, which inherit it: only sigwait sees the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    print(f"loading {model}", file=sys.stderr, flush=True)  # noqa: T201
    parameters = _parameters(xllamacpp, msgspec.json.decode(options, type=ServerOptions))
    parameters.model.path = model
    parameters.model_alias = {name}
    parameters.hostnames = [socket]
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print(f"serving {name} on {server.listening_address}", file=sys.stderr, flush=True)  # noqa: T201
    signal.sigwait({signal.SIGTERM})
    del server
    return 0


def _parameters(xllamacpp: Any, options: ServerOptions) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.n_ctx = options.n_ctx * options.n_parallel
    parameters.n_parallel = options.n_parallel
    parameters.cpuparams.n_threads = options.n_threads
    parameters.n_batch = options.n_batch
    parameters.n_ubatch = options.n_ubatch
    parameters.n_gpu_layers = options.n_gpu_layers
    parameters.endpoint_metrics = options.metrics
    parameters.n_threads_http = max(_HTTP_THREADS, 4 * options.n_parallel)
    parameters.verbosity = _ERRORS
    if options.embeddings:
        # An input to embed must fit into one physical batch.
        parameters.n_ubatch = parameters.n_batch = max(options.n_ctx, options.n_ubatch)
        parameters.embedding = True
        parameters.pooling_type = getattr(
            xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{options.pooling.upper()}"
        )
    return parameters


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
