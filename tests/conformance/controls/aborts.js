'use strict';
process.abort();
