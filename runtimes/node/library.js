'use strict';
// Paths in a sandbox.

module.exports = { FOLDER: __dirname, HOME: '/home/user', LIBRARY: '/opt/belljar/libbelljar.so' };
