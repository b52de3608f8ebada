// Evaluates expressions, with units, matrices, fractions and derivatives.
const math = require('mathjs');

module.exports = () => ({
  value: {
    unit: math.evaluate('12.7 cm to inch').toString(),
    det: math.round(math.det([[2, 1], [1, 3]]), 9),
    derivative: math.derivative('x^2 + 3x', 'x').toString(),
    big: math.evaluate('bignumber(1) / 3').toString(),
    fraction: math.format(math.fraction('1/3'), { fraction: 'ratio' }),
    inverse: math.round(math.inv([[1, 2], [3, 4]]), 6),
  },
  random: [Math.random(), math.random(), math.randomInt(0, 1e12)],
});
