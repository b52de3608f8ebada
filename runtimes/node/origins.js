'use strict';
// Where a result comes from. What was handed over has to be data; what was merely there need not.

module.exports = {
  __proto__: null,
  /** `main` returned it, or a bare `return`. */
  RETURNED: 'returned',
  /** The program exported it. */
  EXPORTED: 'exported',
  /** It is the value of the last expression. */
  SHOWN: 'shown',
};
