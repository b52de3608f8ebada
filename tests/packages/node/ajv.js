// Compiles JSON Schemas to functions: code that is made at run time.
const { default: Ajv } = require('ajv');

module.exports = () => {
  const validate = new Ajv({ allErrors: true }).compile({
    type: 'object', required: ['name', 'tags'], additionalProperties: false,
    properties: { name: { type: 'string', minLength: 2 }, age: { type: 'integer', minimum: 0 }, tags: { type: 'array', uniqueItems: true } },
  });
  return {
    value: {
      good: validate({ name: 'ab', tags: [1, 2] }),
      bad: validate({ name: 'a', age: -1, tags: [1, 1], x: 1 }),
      errors: validate.errors.map((error) => error.keyword).sort(),
    },
    random: [Math.random()],
  };
};
