"""Functions compiled to machine code: loops that read as the story of one row, at the speed of arrays.

Why: what one shopper does on one slate is a walk with early ends, which NumPy can only say as a dozen tables. Numba
compiles the walk as it stands. Its code is kept beside the source, so the seconds it takes are spent once.

Sums are done in the order in which they are written (no `fastmath`), so that results are the same on every processor.
`function.py_func` of a compiled function is the plain Python one.
"""

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """The same function, compiled when it is first called; other threads run on beside it."""
    return cast(Function, numba.njit(cache=True, nogil=True)(function))
