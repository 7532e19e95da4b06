"""Which device a faiss index runs on; asking for one that cannot be used is an error, never a silent fallback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from xmc.api import ConfigError, DeviceError
from xmc_index_faiss._import import import_faiss

_INSTALL = "pip uninstall faiss-cpu, then pip install 'xmc-engine[gpu]' (both install over each other)"
_CUVS_HINT = (
    "Use 'faiss.hnsw', the graph for a CPU, or 'faiss.ivf'; or, on a machine with an NVIDIA GPU, uninstall faiss-cpu "
    "and faiss-gpu and do: pip install faiss-gpu-cuvs. `xmc doctor` shows what faiss sees."
)


def require_cpu(device: str, *, backend: str) -> None:
    """Accept `auto` (which is recorded as cpu) and `cpu`, for an index that faiss has on the CPU only.

    Raises: DeviceError for a GPU; ConfigError for another word.

    >>> require_cpu("auto", backend="faiss.hnsw")
    """
    if device in ("auto", "cpu"):
        return
    gpu_number(device)
    raise DeviceError(
        f"index backend '{backend}' runs on the CPU, got device {device!r}: faiss has no such index for a GPU.",
        hint="Use device='cpu' or 'auto', or the backends 'faiss.ivf', 'faiss.flat' or 'exact', which have.",
    )


def choose_gpu(device: str, *, backend: str) -> int | None:
    """The number of the GPU to use, None for the CPU; `auto` takes the first GPU when this faiss can use one.

    Raises: DeviceError, saying what to do, for a GPU that faiss cannot use; ConfigError for another word.

    >>> choose_gpu("cpu", backend="faiss.flat") is None
    True
    """
    if device == "cpu":
        return None
    faiss = import_faiss()
    built, gpus = hasattr(faiss, "StandardGpuResources"), 0
    if built:
        gpus = faiss.get_num_gpus()
    if device == "auto":
        return 0 if gpus else None
    number = gpu_number(device)
    if not built:
        raise DeviceError(
            f"index backend '{backend}' was asked for device {device!r}, and the installed faiss {faiss.__version__} "
            "is built without GPUs.",
            hint=f"Use device='cpu', or do: {_INSTALL}.",
        )
    if number >= gpus:
        raise DeviceError(
            f"index backend '{backend}' was asked for device {device!r}, and faiss sees {gpus} GPUs.",
            hint="Use device='cpu' or 'auto', or a number below that; `xmc doctor` shows what faiss sees.",
        )
    return number


def choose_cuvs_gpu(device: str, *, backend: str) -> int:
    """The number of the GPU for an index that lives on GPUs only, in a faiss built with cuVS; `auto` is the first GPU.

    Raises: DeviceError, saying what is missing and what to use instead; ConfigError for another word.
    """
    if device == "cpu":
        raise DeviceError(f"index backend '{backend}' runs on a GPU only, got device 'cpu'.", hint=_CUVS_HINT)
    number = 0 if device == "auto" else gpu_number(device)
    faiss = import_faiss()
    if not hasattr(faiss, "StandardGpuResources"):
        missing = f"the installed faiss {faiss.__version__} is built without GPUs"
    elif not hasattr(faiss, "GpuIndexCagra"):
        missing = f"the installed faiss {faiss.__version__} is built without cuVS"
    elif number >= (gpus := faiss.get_num_gpus()):
        missing = f"faiss sees {gpus} GPUs"
    else:
        return number
    raise DeviceError(
        f"index backend '{backend}' needs a GPU and a faiss built with cuVS, was asked for device {device!r}, "
        f"and {missing}.",
        hint=_CUVS_HINT,
    )


def gpu_number(device: str) -> int:
    """The N of `cuda:N`, 0 for `cuda`.

    Raises: ConfigError for another word.
    """
    name, colon, number = device.partition(":")
    if name != "cuda" or (colon and not number.isdecimal()):
        raise ConfigError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:N', got {device!r}.")
    return int(number or 0)


@contextmanager
def on_gpu(what: str, *, who: str = "faiss") -> Iterator[None]:
    """Say in one line why `who` cannot do `what` on a GPU.

    Raises: DeviceError for what faiss and torch raise: a RuntimeError, or a MemoryError from within cuVS.

    >>> with on_gpu("search"):
    ...     raise RuntimeError("Error in f() at a.cu:7: Error: out of memory")
    Traceback (most recent call last):
    xmc.errors.DeviceError: faiss cannot search on the GPU: out of memory. Use device='cpu'.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        reason = said.rpartition("Error: ")[2].strip().rstrip(".")[:200]
        raise DeviceError(f"{who} cannot {what} on the GPU: {reason}.", hint="Use device='cpu'.") from error
