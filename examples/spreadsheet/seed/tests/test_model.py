import unittest

from sheet.model import Cell, Range


class RangeTest(unittest.TestCase):
    def test_a_range_is_read_row_by_row(self) -> None:
        cells = list(Range(Cell(0, 0), Cell(1, 1)).cells())
        self.assertEqual(cells, [Cell(0, 0), Cell(0, 1), Cell(1, 0), Cell(1, 1)])


if __name__ == "__main__":
    unittest.main()
