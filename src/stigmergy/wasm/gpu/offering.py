"""What of a module a GPU could run, told before anything is compiled: no driver is asked."""

from stigmergy.wasm.engine import CohortSettings
from stigmergy.wasm.gpu.callgraph import CallGraph
from stigmergy.wasm.gpu.compile import check_module
from stigmergy.wasm.module.model import Module
from stigmergy.wasm.module.proposals import is_plain

__all__ = ["Offer"]


class Offer:
    """The functions of a module that agents could begin with on a GPU.

    A function that uses vectors refuses those that may call it, no others.

    Raises:
        UnsupportedError: There is none; the message has the reason.
    """

    def __init__(self, module: Module, settings: CohortSettings) -> None:
        check_module(module, settings)
        self._graph = None if is_plain(module.wasm) else CallGraph(module)
        if self._graph is None or not module.code:
            return
        first, end = len(module.imported_functions), len(module.functions)
        usable, reason = self._graph.usable(range(first, end), self._graph.tree)
        self._usable = frozenset(usable)
        self._start = [module.start] if module.start is not None and module.start >= first else []
        begun = [one for one in module.exported_functions.values() if one >= first]
        needed = self._usable.issuperset(self._start)
        if reason is not None and not (needed and self._usable.intersection(begun or usable)):
            raise reason

    def check(self, function: int) -> None:
        """See whether agents could begin with a function.

        Raises:
            UnsupportedError: They could not, for the reason given.
        """
        if self._graph is None or function in self._usable:
            return
        for one in self._graph.reachable([function]):
            self._graph.tree(one)
