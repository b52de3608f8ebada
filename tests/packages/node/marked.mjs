// Makes HTML of Markdown.
import { marked } from 'marked';

export default async () => {
  const page = await marked('# T\n\n- a\n- **b**\n\n| x | y |\n| - | - |\n| 1 | `2` |\n');
  return { value: { title: page.split('\n')[0], items: page.match(/<li>/g).length, table: page.includes('<td><code>2</code></td>'), tokens: marked.lexer('a *b*')[0].tokens.length }, random: [Math.random()] };
};
