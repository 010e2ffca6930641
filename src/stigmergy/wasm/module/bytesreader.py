"""Reads the primitive values of the binary format. Raises on a byte that cannot be right."""

from stigmergy.errors import UsageError

__all__ = ["BytesReader", "MalformedModuleError"]


class MalformedModuleError(UsageError):
    """Bytes that are no WebAssembly module; `offset` is where reading stopped."""

    def __init__(self, reason: str, *, offset: int) -> None:
        super().__init__(f"not a WebAssembly module: {reason} (at byte {offset})")
        self.reason = reason
        self.offset = offset


class BytesReader:
    """A position in a module's bytes, and an end that is never crossed."""

    __slots__ = ("content", "end", "position")

    def __init__(self, content: bytes, start: int = 0, end: int | None = None) -> None:
        self.content = content
        self.position = start
        self.end = len(content) if end is None else end

    def __bool__(self) -> bool:
        """Whether anything is left."""
        return self.position < self.end

    def byte(self) -> int:
        """Read one byte."""
        if self.position >= self.end:
            raise self.error("it ends too early")
        value = self.content[self.position]
        self.position += 1
        return value

    def peek(self) -> int:
        """Return the next byte and stay before it."""
        if self.position >= self.end:
            raise self.error("it ends too early")
        return self.content[self.position]

    def take(self, size: int) -> bytes:
        """Read so many bytes."""
        if size > self.end - self.position:
            raise self.error("it ends too early")
        start = self.position
        self.position += size
        return self.content[start : self.position]

    def unsigned(self, bits: int = 32) -> int:
        """Read an unsigned LEB128 number of at most so many bits."""
        result, shift = 0, 0
        while True:
            byte = self.byte()
            result |= (byte & 0x7F) << shift
            if not byte & 0x80:
                break
            shift += 7
            if shift >= bits:
                raise self.error("a number is too long")
        if result >> bits:
            raise self.error("a number is too large")
        return result

    def signed(self, bits: int) -> int:
        """Read a signed LEB128 number of at most so many bits."""
        result, shift = 0, 0
        while True:
            byte = self.byte()
            result |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
            if shift >= bits:
                raise self.error("a number is too long")
        if byte & 0x40:
            result -= 1 << shift
        if not -(1 << (bits - 1)) <= result < 1 << (bits - 1):
            raise self.error("a number is too large")
        return result

    def little_endian(self, size: int) -> int:
        """Read a fixed number of bytes as an unsigned number: the bits of a float."""
        return int.from_bytes(self.take(size), "little")

    def name(self) -> str:
        """Read a length and that much UTF-8."""
        content = self.take(self.unsigned())
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise self.error("a name is not UTF-8") from error

    def error(self, reason: str) -> MalformedModuleError:
        """Make the error for what was found here."""
        return MalformedModuleError(reason, offset=self.position)
