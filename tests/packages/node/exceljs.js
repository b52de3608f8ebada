// Writes a workbook with formulas and styles, and reads it back.
const ExcelJS = require('exceljs');

module.exports = async () => {
  const book = new ExcelJS.Workbook();
  const sheet = book.addWorksheet('Data');
  sheet.columns = [{ header: 'n', key: 'n' }, { header: 'square', key: 'square' }];
  for (let n = 0; n < 200; n++) sheet.addRow({ n, square: n * n });
  sheet.getCell('D1').value = { formula: 'SUM(B2:B201)', result: 2646700 };
  sheet.getRow(1).font = { bold: true };
  await book.xlsx.writeFile('book.xlsx');
  const read = new ExcelJS.Workbook();
  await read.xlsx.readFile('book.xlsx');
  let sum = 0;
  read.getWorksheet('Data').eachRow((row, number) => { if (number > 1) sum += row.getCell(2).value; });
  return { value: { sum, formula: read.getWorksheet('Data').getCell('D1').formula, bold: read.getWorksheet('Data').getCell('A1').font.bold }, random: [Math.random()] };
};
