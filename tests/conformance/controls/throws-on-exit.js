'use strict';
// test/common counts its `mustCall` functions in this event.
process.on('exit', () => { throw new Error('thrown at exit'); });
