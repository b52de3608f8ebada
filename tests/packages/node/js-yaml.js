// Reads and writes YAML.
const yaml = require('js-yaml');

module.exports = () => {
  const value = yaml.load('name: &n app\nports: [80, 443]\nbase: &b {x: 1}\nderived: {<<: *b, y: 2}\nalias: *n\ntext: |\n  two\n  lines\n');
  let refused = '';
  try { yaml.load('a: [1\nb: 2'); } catch (error) { refused = error.name; }
  return { value: { value, again: yaml.load(yaml.dump(value)).derived, refused }, random: [Math.random()] };
};
