// Short identifiers, from a pool of random bytes that two sandboxes of one zygote must not share.
import { customAlphabet, nanoid } from 'nanoid';

export default () => {
  const ids = Array.from({ length: 1000 }, () => nanoid());
  return {
    value: { different: new Set(ids).size, length: ids[0].length, digits: /^[0-9]{12}$/.test(customAlphabet('0123456789', 12)()) },
    random: [ids[0], ids[999], Math.random()],
  };
};
