'use strict';
process.exitCode = 1;
