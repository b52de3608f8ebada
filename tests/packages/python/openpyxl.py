# Writes a workbook with formulas and styles, and reads it back.
import random

from openpyxl import Workbook, load_workbook
from openpyxl.chart import BarChart, Reference
from openpyxl.styles import Font

book = Workbook()
sheet = book.active
sheet.title = "Data"
sheet.append(["n", "square"])
for i in range(200):
    sheet.append([i, i * i])
sheet["A1"].font = Font(bold=True)
sheet["D1"] = "=SUM(B2:B201)"
chart = BarChart()
chart.add_data(Reference(sheet, min_col=2, min_row=1, max_row=11), titles_from_data=True)
sheet.add_chart(chart, "F2")
book.create_sheet("Empty")
book.save("book.xlsx")
read = load_workbook("book.xlsx")

{
    "value": {
        "sheets": read.sheetnames,
        "sum": sum(row[1] for row in read["Data"].iter_rows(min_row=2, max_col=2, values_only=True)),
        "formula": read["Data"]["D1"].value,
        "bold": read["Data"]["A1"].font.bold,
    },
    "random": [random.random()],
}
