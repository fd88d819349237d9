// A TCP service for the tests of `knock proxy`: one odd way to talk for each mode. Says "ready" when it listens. Started by the tests.
import { createHash } from 'node:crypto';
import { createServer, type Socket } from 'node:net';

const MODES: Readonly<Record<string, (socket: Socket) => void>> = {
  /** Answers only when the other side has ended. */
  'digest-at-end': (socket) => {
    const hash = createHash('sha256');
    socket.on('data', (bytes) => hash.update(bytes));
    socket.on('end', () => socket.end(`${hash.digest('hex')}\n`));
  },
  /** Ends its own direction at once and goes on reading. */
  'end-first': (socket) => {
    socket.end('bye\n');
    socket.setEncoding('utf8').on('data', (text) => process.stdout.write(`got ${text}`));
  },
  flood: (socket) => {
    const block = Buffer.alloc(1024 * 1024);
    let left = 256;
    const write = () => {
      while (left > 0) {
        left -= 1;
        if (!socket.write(block)) return void socket.once('drain', write);
      }
      socket.end();
    };
    write();
    socket.resume();
  },
  reset: (socket) => {
    socket.write('so far\n', () => socket.resetAndDestroy());
  },
};

const [mode = '', port = '0'] = process.argv.slice(2);
const talk = MODES[mode];
if (talk === undefined) throw new Error(`no such mode: ${mode}`);
const server = createServer({ allowHalfOpen: true }, (socket) => {
  socket.on('error', () => undefined);
  talk(socket);
});
server.listen({ port: Number(port), host: '::' }, () => process.stdout.write('ready\n'));
