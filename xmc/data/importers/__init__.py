"""Data sets in other formats, made into data set folders."""

from xmc.data.importers.front import FORMATS, FormatName, import_dataset
from xmc.data.importers.tally import ImportReport, OnBadRow, TableReport

__all__ = ["FORMATS", "FormatName", "ImportReport", "OnBadRow", "TableReport", "import_dataset"]
