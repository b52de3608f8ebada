// Colours text.
import { Chalk } from 'chalk';

const chalk = new Chalk({ level: 3 });

export default () => ({
  value: { red: chalk.red('a'), nested: chalk.bold(`a ${chalk.hex('#010203')('b')}`), none: new Chalk({ level: 0 }).red('a') },
  random: [Math.random()],
});
