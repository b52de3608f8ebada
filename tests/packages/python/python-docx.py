# Writes a document with a table and a style, and reads it back.
import random

from docx import Document
from docx.shared import Pt

document = Document()
document.add_heading("Title", 1)
paragraph = document.add_paragraph("Some ")
paragraph.add_run("bold").bold = True
paragraph.runs[0].font.size = Pt(14)
table = document.add_table(rows=2, cols=3)
for row in range(2):
    for column in range(3):
        table.cell(row, column).text = str(row * 3 + column)
document.save("a.docx")
read = Document("a.docx")

{
    "value": {
        "heading": [read.paragraphs[0].text, read.paragraphs[0].style.name],
        "runs": [[run.text, bool(run.bold)] for run in read.paragraphs[1].runs],
        "cells": sum(int(cell.text) for row in read.tables[0].rows for cell in row.cells),
        "size": read.paragraphs[1].runs[0].font.size.pt,
    },
    "random": [random.random()],
}
