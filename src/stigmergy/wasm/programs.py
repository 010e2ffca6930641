"""The modules that a swarm has loaded, and the functions of them that agents begin with."""

from collections.abc import Callable

from stigmergy.errors import NotFoundError, UsageError
from stigmergy.wasm.hostcalls import Imports, resolve_imports
from stigmergy.wasm.module.model import Module
from stigmergy.wasm.module.reading import read_module
from stigmergy.wasm.seats import Entry, Program

__all__ = ["BytecodeMissingError", "Programs"]


class BytecodeMissingError(UsageError, RuntimeError):
    """Agents were asked for before there was a module for them to run."""


class Programs:
    """Programs by digest, and entries by number: a number is never given twice."""

    def __init__(
        self,
        imports: Imports,
        offer: Callable[[Module], Callable[[int], None] | None] = lambda _: None,
    ) -> None:
        """`offer`: refuses a module that cannot be run, and returns what refuses a function."""
        self.entries: dict[int, Entry] = {}
        self.named: dict[int, tuple[int | str, str]] = {}
        """For each entry: as it was given, and the digest of its module."""
        self.current: Program | None = None
        """What agents run where nothing else is said: the program loaded last."""
        self._imports = imports
        self._offer = offer
        self._checks: dict[str, Callable[[int], None]] = {}
        self._programs: dict[str, Program] = {}
        self._sources: dict[bytes | str, Program] = {}
        """By what was given: loading it again costs a look."""
        self._numbers: dict[tuple[str, int | str], int] = {}
        self._next = 0

    def load(self, source: bytes | str) -> str:
        """Load a module, binary or text; returns its digest.

        Raises:
            InvalidModuleError: It is no valid module.
            UnsupportedError: It imports what is not there, or needs what no engine has.
        """
        program = self._sources.get(source)
        if program is None:
            module = read_module(source)
            program = self._programs.get(module.digest)
            if program is None:
                program = Program(module, resolve_imports(module, self._imports))
                check = self._offer(module)
                if check is not None:
                    self._checks[module.digest] = check
                self._programs[module.digest] = program
            self._sources[source] = program
        self.current = program
        return program.module.digest

    def has(self, digest: str) -> bool:
        """Whether a program with this digest is loaded."""
        return digest in self._programs

    def program(self, digest: str) -> Program:
        """Return a loaded program.

        Raises:
            NotFoundError: There is none with this digest.
        """
        if digest not in self._programs:
            message = f"no module with the digest {digest!r} is loaded"
            raise NotFoundError(message)
        return self._programs[digest]

    def digest(self, named: str | None) -> str:
        """Return the digest of a program: the one named, or else the current one's.

        Raises:
            BytecodeMissingError: No module is loaded.
            NotFoundError: None with this digest is.
        """
        return self._chosen(named).module.digest

    def _chosen(self, digest: str | None) -> Program:
        program = self.current if digest is None else self.program(digest)
        if program is None:
            message = "no bytecode is loaded: call load_bytecode() with a module first"
            raise BytecodeMissingError(message)
        return program

    def forget(self, program: Program) -> None:
        """Drop a program that nobody runs."""
        del self._programs[program.module.digest]
        self._checks.pop(program.module.digest, None)
        for source in [source for source, one in self._sources.items() if one is program]:
            del self._sources[source]
        for number in [at for at, entry in self.entries.items() if entry.program is program]:
            self._numbers.pop((program.module.digest, self.named.pop(number)[0]))
            del self.entries[number]
        if self.current is program:
            self.current = None

    def entry_number(self, entry_point: int | str, digest: str | None) -> int:
        """Return the number of the entry of a function; of the current program without a digest.

        Raises:
            BytecodeMissingError: No module is loaded.
            NotFoundError: None with this digest is.
            UsageError: The module has no such function.
            UnsupportedError: The engine asked for cannot begin with it.
        """
        program = self._chosen(digest)
        key = (program.module.digest, entry_point)
        number = self._numbers.get(key)
        if number is None:
            entry = Entry.find(program, entry_point)
            check = self._checks.get(key[0])
            if check is not None and entry.function is not None:
                check(entry.function)
            number, self._next = self._next, self._next + 1
            self.entries[number] = entry
            self.named[number] = key[1], key[0]
            self._numbers[key] = number
        return number
