// Hashes passwords; its salts come from the operating system.
const bcrypt = require('bcryptjs');

module.exports = async () => {
  const hash = await bcrypt.hash('secret', 6);
  return {
    value: { right: await bcrypt.compare('secret', hash), wrong: bcrypt.compareSync('other', hash), rounds: bcrypt.getRounds(hash), known: bcrypt.hashSync('a', '$2b$04$abcdefghijklmnopqrstuu') },
    random: [hash, Math.random()],
  };
};
