// Texts in other encodings than Unicode's.
const iconv = require('iconv-lite');

module.exports = () => ({
  value: {
    latin: iconv.decode(Buffer.from([0x67, 0x72, 0xfc, 0xdf, 0x65]), 'latin1'),
    japanese: iconv.encode('日本', 'shift_jis').toString('hex'),
    windows: iconv.decode(iconv.encode('€ – „x“', 'win1252'), 'win1252'),
    chinese: iconv.decode(iconv.encode('中文', 'gb18030'), 'gb18030'),
  },
  random: [Math.random()],
});
