"""A small spreadsheet engine: formulas, dependency recalculation, CSV and a command line."""
