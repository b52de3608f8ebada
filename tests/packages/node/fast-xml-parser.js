// Reads, checks and writes XML.
const { XMLBuilder, XMLParser, XMLValidator } = require('fast-xml-parser');

module.exports = () => {
  const parsed = new XMLParser({ ignoreAttributes: false }).parse('<f><e id="1">one</e><e id="2">2</e><c><![CDATA[<x>]]></c></f>');
  return {
    value: { parsed, built: new XMLBuilder({ ignoreAttributes: false }).build({ a: { '@_b': 1, c: [1, 2] } }), wrong: XMLValidator.validate('<a><b></a>').err.code },
    random: [Math.random()],
  };
};
