// Identifiers: by chance, by time and by name.
import { v1, v4, v5, v7, validate, version } from 'uuid';

export default () => {
  const random = [v4(), v7(), v1()];
  return {
    value: { versions: random.map(version), named: v5('example.org', v5.DNS), valid: [validate(random[0]), validate('x')] },
    random: [...random, Math.random()],
  };
};
