// posternd as on kernels before 6.9, where nobody can own a table and `nft flush ruleset` takes ours along. Run by neighbors-plain.test.ts.
import { runCommand } from '../../daemon/commands/run.ts';

await runCommand({ config: process.argv[2] ?? '', ownership: 'plain' });
