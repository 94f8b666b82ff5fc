"""Reads a report as other programs do: prints what openpyxl finds in a workbook, or what Python's
csv finds in a CSV file, as JSON."""

import csv
import datetime
import json
import sys

import openpyxl


def plain(value):
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    return value


def workbook(path):
    values = openpyxl.load_workbook(path, data_only=True)
    formulas = openpyxl.load_workbook(path)
    sheets = []
    for sheet in values:
        rows = [[plain(cell.value) for cell in row] for row in sheet.iter_rows()]
        found = [
            [cell.coordinate, cell.value]
            for row in formulas[sheet.title].iter_rows()
            for cell in row
            if cell.data_type == "f"
        ]
        sheets.append({
            "name": sheet.title,
            "rows": rows,
            "formulas": found,
            "frozen": sheet.freeze_panes,
            "filter": sheet.auto_filter.ref,
            "links": len(formulas[sheet.title]._hyperlinks),
        })
    return sheets


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        lines = [line for line in file if not line.startswith("#")]
    return list(csv.DictReader(lines))


read = workbook if sys.argv[1].endswith(".xlsx") else table
json.dump(read(sys.argv[1]), sys.stdout)
