// Runs every script, each in a process of its own; exits with the first failure.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

for (const name of ['images.mjs', 'chat.mjs', 'errors.mjs', 'ai.mjs']) {
  const script = fileURLToPath(new URL(name, import.meta.url));
  if (spawnSync(process.execPath, [script], { stdio: 'inherit' }).status !== 0) {
    console.error(`FAILED ${name}`);
    process.exit(1);
  }
}
