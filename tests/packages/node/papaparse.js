// Parses and writes CSV.
const Papa = require('papaparse');

module.exports = () => {
  const text = Papa.unparse(Array.from({ length: 1000 }, (_, index) => ({ id: index, name: `a "q", ${index % 3}`, half: index / 2 })));
  const { data, errors, meta } = Papa.parse(text, { header: true, dynamicTyping: true });
  return {
    value: { rows: data.length, sum: data.reduce((sum, row) => sum + row.half, 0), name: data[4].name, errors: errors.length, fields: meta.fields },
    random: [Math.random()],
  };
};
