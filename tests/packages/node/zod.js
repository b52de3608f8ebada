// Parses and refuses.
const { z } = require('zod');
const { randomUUID } = require('node:crypto');

const Order = z.object({
  id: z.string().uuid(),
  items: z.array(z.object({ name: z.string().min(2), price: z.coerce.number().positive() })).nonempty(),
  kind: z.enum(['a', 'b']).default('a'),
});

module.exports = () => {
  const id = randomUUID();
  const order = Order.parse({ id, items: [{ name: 'pen', price: '1.5' }] });
  const refused = Order.safeParse({ id: 'x', items: [{ name: 'p', price: -1 }], kind: 'c' });
  return {
    value: { price: order.items[0].price, kind: order.kind, refused: refused.error.issues.map((issue) => issue.path.join('.')).sort() },
    random: [Math.random(), order.id],
  };
};
