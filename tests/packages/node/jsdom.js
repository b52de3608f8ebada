// A page with scripts, events and selectors.
const { JSDOM } = require('jsdom');

module.exports = () => {
  const { window } = new JSDOM('<p id=a>one</p><script>document.getElementById("a").dataset.ran = 1 + 1</script>', { runScripts: 'dangerously' });
  const { document } = window;
  const button = document.body.appendChild(document.createElement('button'));
  let clicks = 0;
  button.addEventListener('click', () => { clicks++; });
  button.click();
  const form = new window.DOMParser().parseFromString('<form><input name=x value=1></form>', 'text/html').querySelector('form');
  const value = { ran: document.querySelector('#a').dataset.ran, clicks, input: new window.FormData(form).get('x'), html: document.body.firstChild.outerHTML };
  window.close();
  return { value, random: [Math.random(), window.crypto.randomUUID()] };
};
