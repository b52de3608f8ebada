import 'node:fs';

export default 1 + 1;
