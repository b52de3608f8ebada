// Compiles templates to functions: code that is made at run time.
const Handlebars = require('handlebars');

module.exports = () => {
  Handlebars.registerHelper('twice', (number) => number * 2);
  Handlebars.registerPartial('row', '<i>{{twice this}}</i>');
  return { value: Handlebars.compile('<h1>{{title}}</h1>{{#each rows}}{{@index}}{{> row}}{{else}}none{{/each}}{{{raw}}}')({ title: 'a & b', rows: [1, 2], raw: '<b>' }), random: [Math.random()] };
};
