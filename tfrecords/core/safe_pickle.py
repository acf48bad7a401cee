"""Reader of pickles with plain data, which rejects pickles that would run code.

A pickle may name any function of any package and have it called: loading a pickle from the internet
means running an untrusted program. This module loads only plain containers, numbers, text and NumPy
arrays, and rejects everything else by name.
"""

from __future__ import annotations

import collections
import contextlib
import os
import pickle
import resource
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from tfrecords.core.errors import InputError

Allowed = Mapping[tuple[str, str], Any]
_SMALLEST_BOUND = 1 << 30


def _array(kind: Any, shape: Any, code: Any) -> np.ndarray:
    # NumPy creates an empty array first and sets its contents afterwards. Other shapes would let a
    # few bytes allocate all memory.
    if kind is not np.ndarray or shape != (0,):
        raise pickle.UnpicklingError(f"an array of kind {kind!r} and first shape {shape!r}")
    return np.ndarray((0,), np.dtype(code))


def _scalar(dtype: np.dtype, data: Any = b"") -> Any:
    if dtype.hasobject:
        raise pickle.UnpicklingError("a scalar of kind object")
    raw = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(raw, dtype, count=1)[0]


def _from_buffer(data: Any, dtype: np.dtype, shape: Any, order: str) -> np.ndarray:
    return np.frombuffer(data, dtype).reshape(shape, order="F" if order == "F" else "C")


def _bytes(text: str, encoding: str) -> bytes:
    # The representation of bytes in Python 2's protocol.
    return text.encode(encoding)


def _no_bytes() -> bytes:
    # The representation of b"" in the same protocol. bytes(number) would allocate memory.
    return b""


_PLAIN: dict[str, Any] = {
    kind.__name__: kind for kind in (set, frozenset, list, dict, tuple, int, float, bool)
}
_PLAIN |= {"str": str, "unicode": str, "long": int, "bytes": _no_bytes}
_ALLOWED: dict[tuple[str, str], Any] = {
    **{("builtins", name): kind for name, kind in _PLAIN.items()},
    **{("__builtin__", name): kind for name, kind in _PLAIN.items()},
    ("collections", "defaultdict"): collections.defaultdict,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "Counter"): collections.Counter,
    ("_codecs", "encode"): _bytes,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _array for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
}  # fmt: skip


class _Unpickler(pickle.Unpickler):
    def __init__(
        self, stream: IO[bytes], also: Allowed, persistent: Callable[[Any], Any] | None
    ) -> None:
        # Python 2's text is bytes in Python 3; arrays in it need this encoding.
        super().__init__(stream, encoding="latin1")
        self._allowed, self._persistent = {**_ALLOWED, **also}, persistent

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it requires {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise pickle.UnpicklingError("it refers to data outside of it")
        return self._persistent(pid)


def load_pickle(
    stream: IO[bytes],
    where: str | Path,
    *,
    also: Allowed | None = None,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Loads the contents of a pickle of Python 2 or 3.

    Args:
        stream: stream of its bytes.
        where: name of the pickle in messages.
        also: (module, name) -> replacement, in addition to containers, numbers, text and arrays.
        persistent: resolves persistent ids; None rejects them.

    Raises:
        InputError: the stream is not a pickle, truncated, or requires something not allowed.
    """
    try:
        with bounded_memory():
            return _Unpickler(stream, also or {}, persistent).load()
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(
            f"{where} requires more memory than is available: is it damaged?"
        ) from error
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{where} cannot be loaded: {error}. Only containers, numbers, text and arrays "
            "are loaded from pickles; if it is your own file, save it as JSON, npz or HDF5"
        ) from error
    except Exception as error:  # a damaged pickle can fail in any way
        raise InputError(
            f"{where} is not a complete pickle ({type(error).__name__}: {error}): is it damaged?"
        ) from error


@contextlib.contextmanager
def bounded_memory(most_bytes: int | None = None) -> Iterator[None]:
    """Limits the memory growth of the process to half of the free memory, or `most_bytes`.

    A pickle numbers its back references, and the unpickler allocates a table up to the largest
    number: one damaged byte may request 60 GB. On systems that overcommit memory, the process would
    be killed. Without information on the used memory, there is no limit.
    """
    try:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        free = os.sysconf("SC_AVPHYS_PAGES") * resource.getpagesize()
        before = resource.getrlimit(resource.RLIMIT_AS)
    except (OSError, ValueError):
        yield
        return
    growth = max(free // 2, _SMALLEST_BOUND)
    bound = used + (growth if most_bytes is None else min(growth, most_bytes))
    if before[0] != resource.RLIM_INFINITY:
        bound = min(bound, before[0])
    resource.setrlimit(resource.RLIMIT_AS, (bound, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
