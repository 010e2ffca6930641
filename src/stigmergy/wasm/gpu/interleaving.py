"""Linear memory as it lies in a window: agents interleaved in blocks. Pure; see memory_index.

A window's memory is an array of blocks, each of shape (words, block): a row a word, a column an
agent. With a block of 1 an agent's memory is one piece.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["U32", "Bytes", "block_image", "columns_of", "put_columns", "word_span"]

U32 = npt.NDArray[np.uint32]
Bytes = npt.NDArray[np.uint8]


def word_span(offset: int, size: int) -> tuple[int, int]:
    """Return the first word that holds any of these bytes, and the one after the last."""
    return offset // 4, (offset + size + 3) // 4


def columns_of(blocks: U32, rows: npt.NDArray[np.int64], lanes: npt.NDArray[np.int64]) -> U32:
    """Return agents' words out of blocks of shape (blocks, words, block): shape (n, words).

    `rows` says in which of the blocks each agent is, `lanes` at which column.
    """
    if blocks.shape[2] == 1:
        return blocks[rows, :, 0]
    return blocks[rows, :, lanes]


def put_columns(
    blocks: U32,
    rows: npt.NDArray[np.int64],
    lanes: npt.NDArray[np.int64],
    span: tuple[int, int],
    content: Bytes,
    offset: int,
) -> None:
    """Write bytes of each agent, shape (n, size), into blocks that hold the words of `span`."""
    words = np.ascontiguousarray(columns_of(blocks, rows, lanes))
    start = offset - span[0] * 4
    words.view(np.uint8)[:, start : start + content.shape[1]] = content
    blocks[rows, :, lanes] = words


def block_image(image: Bytes, words: int, block: int) -> U32:
    """Return a block of agents that all hold this image and then zeros: shape (words, block)."""
    padded = np.zeros(words * 4, dtype=np.uint8)
    padded[: len(image)] = image
    column = padded.view(np.uint32)
    return np.repeat(column[:, None], block, axis=1)
