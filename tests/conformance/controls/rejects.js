'use strict';
setTimeout(() => { Promise.reject(new Error('a rejection that nobody handles')); }, 5);
