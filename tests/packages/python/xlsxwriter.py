# Writes a workbook with formats, a formula and a chart, and looks into it.
import random
import zipfile

import xlsxwriter

book = xlsxwriter.Workbook("book.xlsx")
sheet = book.add_worksheet("Data")
bold = book.add_format({"bold": True, "num_format": "0.00"})
for i in range(50):
    sheet.write(i, 0, i)
    sheet.write_formula(i, 1, f"=A{i + 1}^2", bold, i * i)
chart = book.add_chart({"type": "line"})
chart.add_series({"values": "=Data!$A$1:$A$50"})
sheet.insert_chart("D2", chart)
book.close()
with zipfile.ZipFile("book.xlsx") as archive:
    broken = archive.testzip()
    names = archive.namelist()
    content = archive.read("xl/worksheets/sheet1.xml").decode()

{
    "value": {"broken": broken, "chart": "xl/charts/chart1.xml" in names, "rows": content.count("<row "), "formula": "<f>A50^2</f><v>2401</v>" in content},
    "random": [random.random()],
}
