// A database in a native addon: transactions, functions of the program's own, a file.
const Database = require('better-sqlite3');

module.exports = () => {
  const database = new Database('data.db');
  database.exec('create table t (i integer, g text)');
  const insert = database.prepare('insert into t values (?, ?)');
  database.transaction(() => { for (let i = 0; i < 10_000; i++) insert.run(i, 'ab'[i % 2]); })();
  database.function('double', (number) => number * 2);
  const value = { sums: database.prepare('select g, sum(i) as s from t group by g order by g').all(), own: database.prepare('select double(21) as n').get().n };
  const { r } = database.prepare('select random() as r').safeIntegers().get();
  database.close();
  return { value, random: [Math.random(), `${r}`] };
};
