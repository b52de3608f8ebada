// Reads and writes YAML.
const yaml = require('js-yaml');

module.exports = () => {
  const value = yaml.load('name: &n app\nports: [80, 443]\nalias: *n\ntext: |\n  two\n  lines\n');
  let refused = '';
  try { yaml.load('a: [1\nb: 2'); } catch (error) { refused = error.name; }
  return { value: { value, again: yaml.load(yaml.dump(value)).ports, refused }, random: [Math.random()] };
};
