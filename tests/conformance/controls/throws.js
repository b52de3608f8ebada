'use strict';
setTimeout(() => { throw new Error('thrown from a timer'); }, 5);
