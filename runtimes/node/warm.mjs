// Imported once at boot, so that the machinery of ES modules is compiled and in memory before the fork.
import 'node:fs';
import 'node:path';

export default import.meta.url;
