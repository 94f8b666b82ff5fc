"""Reads a report as other programs do: prints what openpyxl finds in a workbook, Python's csv in a
CSV file, its json in a JSON file, its HTML parser on a page, or an eye in a table, as JSON."""

import csv
import datetime
import html.parser
import json
import re
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


class Page(html.parser.HTMLParser):
    """Collects the rows of tables by their part, and the pairs of lists."""

    def __init__(self):
        super().__init__()
        self.tables, self.facts = [], []
        self.part, self.text, self.name = None, None, None

    def handle_starttag(self, tag, attributes):
        if tag == "table":
            self.tables.append({"thead": [], "tbody": [], "tfoot": []})
        elif tag in ("thead", "tbody", "tfoot"):
            self.part = tag
        elif tag == "tr":
            self.tables[-1][self.part].append([])
        elif tag in ("td", "th", "dt", "dd"):
            self.text = ""

    def handle_data(self, data):
        if self.text is not None:
            self.text += data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[-1][self.part][-1].append(self.text)
        elif tag == "dt":
            self.name = self.text
        elif tag == "dd":
            self.facts.append([self.name, self.text])
        if tag in ("td", "th", "dt", "dd"):
            self.text = None


def page(path):
    found = Page()
    with open(path, encoding="utf-8") as file:
        found.feed(file.read())
    return {"tables": found.tables, "facts": found.facts}


def columns(path):
    """The first table of a text: columns of numbers end where their names do."""
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    rule = next(at for at, line in enumerate(lines) if set(line) == {"-"})
    names = [(m.group(), m.start(), m.end()) for m in re.finditer(r"\S+", lines[rule - 1])]
    rows, total = [], None
    for line in lines[rule + 1 :]:
        if not line:
            break
        before, cells = 0, {}
        for name, _, end in names:
            cells[name], before = line[before:end].strip(), end
        if line.startswith("total"):
            total = cells
        elif set(line) != {"-"}:
            rows.append(cells)
    return {"rows": rows, "total": total}


def parsed(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


READERS = {"xlsx": workbook, "csv": table, "json": parsed, "html": page, "txt": columns}
json.dump(READERS[sys.argv[1].rsplit(".", 1)[1]](sys.argv[1]), sys.stdout)
