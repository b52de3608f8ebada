'use strict';
// The origins of a result. A value that was returned explicitly has to be data; any other need not
// be.

module.exports = {
  __proto__: null,
  /** `main` returned it, or a bare `return`. */
  RETURNED: 'returned',
  /** The program exported it. */
  EXPORTED: 'exported',
  /** It is the value of the last expression. */
  SHOWN: 'shown',
};
