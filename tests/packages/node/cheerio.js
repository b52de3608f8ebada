// Reads a page by selectors and changes it.
const cheerio = require('cheerio');

module.exports = () => {
  const $ = cheerio.load(`<ul>${Array.from({ length: 50 }, (_, i) => `<li class="${i % 2 ? 'odd' : 'even'}"><a href="/${i}">${i}`).join('')}</ul>`);
  $('a').each((_, link) => { $(link).attr('href', 'https://example.org' + $(link).attr('href')); });
  return {
    value: {
      odd: $('li.odd').length,
      sum: $('a').map((_, link) => Number($(link).text())).get().reduce((a, b) => a + b),
      last: $('li:last-child a').attr('href'),
      text: cheerio.load('<p>a<b>c</b>')('p').html(),
    },
    random: [Math.random()],
  };
};
