// Groups, orders, chains and compares.
const _ = require('lodash');

const people = _.range(100).map((id) => ({ id, team: 'abc'[id % 3], age: 20 + (id % 40) }));

module.exports = () => ({
  value: {
    teams: _.mapValues(_.groupBy(people, 'team'), 'length'),
    oldest: _(people).orderBy(['age', 'id'], ['desc', 'asc']).take(3).map('id').value(),
    merged: _.merge({ a: { b: 1 } }, { a: { c: 2 } }),
    template: _.template('<%- name %>!')({ name: '<b>' }),
    same: _.isEqual(_.cloneDeep(people), people),
  },
  random: [Math.random(), _.random(0, 1, true), _.shuffle(_.range(30)).join()],
});
