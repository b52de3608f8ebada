'use strict';
// `findImports` of the double: enough of a parser for the programs of this suite, one import or
// comment a line.

const importing = /(?<tried>try .*)?\b(?:require\(|from |import\(?)\s*'(?<name>\w[^']*)'/;
const adding = /^\s*\/\/ @add-package (?<addition>.+)$/;

function findImports(source, file, language) {
  if (/\(\(\($/m.test(source) || (language === 'javascript' && source.includes('import type')))
    return undefined;
  const lines = source.split('\n').filter((line) => !line.startsWith('import type'));
  const matches = (pattern) => lines.map((line) => pattern.exec(line)?.groups).filter(Boolean);
  return {
    imports: matches(importing).map(({ name, tried }) => ({
      name,
      isOptional: tried !== undefined,
    })),
    additions: matches(adding).map(({ addition }) => addition),
  };
}

module.exports = { findImports };
