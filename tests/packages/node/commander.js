// Reads a command line.
const { Command } = require('commander');

module.exports = async () => {
  const ran = [];
  const program = new Command().name('tool').exitOverride().configureOutput({ writeErr: () => {}, writeOut: () => {} });
  program.command('add <name> [rest...]').option('-n, --count <n>', 'how many', Number, 1).action((name, rest, options) => ran.push({ name, rest, ...options }));
  await program.parseAsync(['add', 'pen', 'x', 'y', '--count', '3'], { from: 'user' });
  const wrong = await program.parseAsync(['add', '--what'], { from: 'user' }).catch((error) => error.code);
  return { value: { ran, wrong, help: program.helpInformation().split('\n')[0] }, random: [Math.random()] };
};
