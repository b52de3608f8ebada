'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const vm = require('node:vm');
const { toJSONText } = require('../convert.js');

const convert = (value, limit = 1 << 20) => JSON.parse(toJSONText(value, limit));
const failure = (value, limit = 1 << 20) => {
  try {
    toJSONText(value, limit);
  } catch (error) {
    return error;
  }
  return assert.fail('converted');
};

const conversions = [
  ['undefined', undefined, null],
  ['null', null, null],
  ['a string with quotes, newlines and a lone surrogate', 'a"\n\ud800é', 'a"\n\ufffdé'],
  ['NaN', NaN, null],
  ['Infinity', -Infinity, null],
  ['minus zero', -0, 0],
  ['a fraction', 0.1, 0.1],
  ['a safe BigInt', 42n, 42],
  ['a large BigInt', 2n ** 64n, '18446744073709551616'],
  ['a Date', new Date(0), '1970-01-01T00:00:00.000Z'],
  ['an invalid Date', new Date(NaN), null],
  ['undefined in an object, left out', { a: undefined, b: 1 }, { b: 1 }],
  ['undefined in an array', [undefined, 1], [null, 1]],
  ['holes', [, 1], [null, 1]], // eslint-disable-line no-sparse-arrays
  [
    'a Map with string keys',
    new Map([
      ['a', 1],
      ['b', new Map()],
    ]),
    { a: 1, b: {} },
  ],
  [
    'a Map with other keys',
    new Map([
      [1, 'a'],
      ['b', 2],
    ]),
    [
      [1, 'a'],
      ['b', 2],
    ],
  ],
  ['a Set', new Set([1, 'a']), [1, 'a']],
  ['a typed array', new Float32Array([1, NaN]), [1, null]],
  ['a Uint8Array', new Uint8Array([1, 2]), [1, 2]],
  ['a BigInt64Array', new BigInt64Array([1n, 2n ** 60n]), [1, '1152921504606846976']],
  ['a Buffer', Buffer.from('hi'), 'aGk='],
  ['an ArrayBuffer', new Uint8Array([104, 105]).buffer, 'aGk='],
  ['a DataView of a part', new DataView(new Uint8Array([0, 104, 105]).buffer, 1), 'aGk='],
  ['a URL', new URL('http://a/b'), 'http://a/b'],
  ['a RegExp', /a"b/gi, '/a"b/gi'],
  ['boxed primitives', [Object(1), Object('a'), Object(true), Object(3n)], [1, 'a', true, 3]],
  ['toJSON, with its key', { k: { toJSON: (key) => `as ${key}` } }, { k: 'as k' }],
  [
    'a class instance',
    new (class {
      a = 1;
      method() {}
    })(),
    { a: 1 },
  ],
  ['an object without a prototype', Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
  [
    'objects of another realm',
    vm.runInNewContext('({ d: new Date(0), m: new Map([["a", 1]]), l: [1] })'),
    { d: '1970-01-01T00:00:00.000Z', m: { a: 1 }, l: [1] },
  ],
  [
    'the same object twice',
    (() => {
      const o = { a: 1 };
      return [o, o];
    })(),
    [{ a: 1 }, { a: 1 }],
  ],
  ['__proto__ as a key', JSON.parse('{"__proto__": 1}'), JSON.parse('{"__proto__": 1}')],
];
for (const [name, value, expected] of conversions) {
  test(`converts ${name}`, () => assert.deepEqual(convert(value), expected));
}

test('converts an error to name, message and stack', () => {
  const { name, message, stack } = convert({ e: new RangeError('far') }).e;
  assert.deepEqual([name, message], ['RangeError', 'far']);
  assert.match(stack, /^RangeError: far\n {4}at /);
});

const cycle = { list: [] };
cycle.list.push(cycle);
const deep = (levels) => {
  let value = 1;
  for (let i = 0; i < levels; i++) value = [value];
  return value;
};
const refusals = [
  ['a function', { items: [0, 0, 0, { callback() {} }] }, /\$\.items\[3\]\.callback is a function/],
  ['a function as the whole', () => {}, /\$ is a function/],
  ['a symbol', { 'a b': Symbol('s') }, /\$\["a b"\] is a symbol/],
  ['a promise', { p: Promise.resolve() }, /\$\.p is a promise that was not awaited/],
  ['a WeakMap', [new WeakMap()], /\$\[0\] is a weak collection/],
  ['a cycle', cycle, /\$\.list\[0\] refers back/],
  ['nesting', deep(101), /\$(\[0\]){100} is nested more than 100 levels/],
  [
    'a getter that throws',
    {
      get bad() {
        throw new Error('no');
      },
    },
    /\$\.bad could not be read \(Error: no\)/,
  ],
  [
    'a toJSON that throws',
    {
      a: {
        toJSON() {
          throw 'x';
        },
      },
    },
    /\$\.a could not be read \(Error: x\)/,
  ],
  [
    'a revoked proxy',
    (() => {
      const { proxy, revoke } = Proxy.revocable({}, {});
      revoke();
      return [proxy];
    })(),
    /\$\[0\] could not be read/,
  ],
  ['a value inside a Map of pairs', new Map([[1, () => {}]]), /\$\[0\]\[1\] is a function/],
  ['a value inside a Set', { s: new Set([Symbol.iterator]) }, /\$\.s\[0\] is a symbol/],
];
for (const [name, value, message] of refusals) {
  test(`refuses ${name} with its path`, () => {
    const error = failure(value);
    assert.equal(error.name, 'ResultNotSerializable');
    assert.match(error.message, message);
  });
}

test('allows the deepest nesting', () => assert.doesNotThrow(() => convert(deep(100))));

test('gives a result that is too large up before building it', () => {
  const row = 'x'.repeat(1000);
  const endless = new Proxy([], {
    get: (target, key) => (key === 'length' ? 1e9 : key === 'toJSON' ? undefined : row),
  });
  const error = failure(endless, 1e6); // a terabyte, were it built
  assert.equal(error.name, 'ResultTooLarge');
  assert.match(error.message, /1000000 bytes.*limits\.result_bytes/);
  assert.equal(failure('x'.repeat(1e6), 1e6).name, 'ResultTooLarge');
  assert.equal(failure(Buffer.alloc(1e6), 1e6).name, 'ResultTooLarge');
});

test('counts bytes, not characters', () => {
  assert.equal(failure('é'.repeat(60), 100).name, 'ResultTooLarge');
  assert.equal(convert('é'.repeat(49), 100).length, 49);
});
