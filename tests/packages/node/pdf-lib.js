// Makes a document with text and a form, and reads it back.
const { PDFDocument, StandardFonts, rgb } = require('pdf-lib');

module.exports = async () => {
  const pdf = await PDFDocument.create();
  const font = await pdf.embedFont(StandardFonts.Helvetica);
  const page = pdf.addPage([300, 200]);
  page.drawText('Hello', { x: 20, y: 100, size: 24, font, color: rgb(1, 0, 0) });
  pdf.getForm().createTextField('name').addToPage(page, { x: 20, y: 20 });
  pdf.addPage([400, 300]);
  pdf.setTitle('A title');
  const read = await PDFDocument.load(await pdf.save());
  return {
    value: {
      pages: read.getPageCount(), sizes: read.getPages().map((each) => each.getWidth()), title: read.getTitle(),
      fields: read.getForm().getFields().map((field) => field.getName()), width: Math.round(font.widthOfTextAtSize('Hello', 24) * 1000) / 1000,
    },
    random: [Math.random()],
  };
};
