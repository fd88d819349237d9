// Asks the YAML language server, as an editor does: by its protocol over standard input and output. Decides nothing about what is right.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';

export type Finding = { readonly line: number; readonly message: string };

const SERVER = createRequire(import.meta.url).resolve('yaml-language-server/bin/yaml-language-server');

type Message = { readonly id?: number; readonly method?: string; readonly params?: unknown; readonly result?: unknown };
type Diagnostics = {
  readonly uri: string;
  readonly diagnostics: readonly { readonly range: { readonly start: { readonly line: number } }; readonly message: string }[];
};

/** One server process for many documents. Close it. */
export class LanguageServer {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<string, (found: readonly Finding[]) => void>();
  #bytes = Buffer.alloc(0);
  #documents = 0;

  private constructor() {
    this.#child = spawn(process.execPath, [SERVER, '--stdio'], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child.stdout?.on('data', (chunk: Buffer) => this.#take(chunk));
  }

  static async start(): Promise<LanguageServer> {
    const server = new LanguageServer();
    server.#send({ id: 1, method: 'initialize', params: { processId: process.pid, rootUri: null, capabilities: {} } });
    await new Promise<void>((resolve) => server.#waiting.set('1', () => resolve()));
    server.#send({ method: 'initialized', params: {} });
    return server;
  }

  /** What an editor would underline in `text`, whose first line says which schema holds: `# yaml-language-server: $schema=…`. Lines count from 1. */
  async check(text: string): Promise<readonly Finding[]> {
    this.#documents += 1;
    const uri = `file:///tmp/document-${this.#documents}.yaml`;
    const found = new Promise<readonly Finding[]>((resolve) => this.#waiting.set(uri, resolve));
    this.#send({ method: 'textDocument/didOpen', params: { textDocument: { uri, languageId: 'yaml', version: 1, text } } });
    return await found;
  }

  async close(): Promise<void> {
    const ended = once(this.#child, 'exit');
    this.#child.kill();
    await ended;
  }

  #send(message: Message): void {
    const text = JSON.stringify({ jsonrpc: '2.0', ...message });
    this.#child.stdin?.write(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
  }

  #take(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    for (;;) {
      const end = this.#bytes.indexOf('\r\n\r\n');
      const length = Number(/Content-Length: (\d+)/i.exec(this.#bytes.subarray(0, Math.max(end, 0)).toString())?.[1]);
      if (end < 0 || this.#bytes.length < end + 4 + length) return;
      const body = this.#bytes.subarray(end + 4, end + 4 + length).toString();
      this.#bytes = this.#bytes.subarray(end + 4 + length);
      this.#read(JSON.parse(body) as Message);
    }
  }

  #read(message: Message): void {
    if (message.method === 'textDocument/publishDiagnostics') {
      const { uri, diagnostics } = message.params as Diagnostics;
      this.#done(
        uri,
        diagnostics.map(({ range, message: text }) => ({ line: range.start.line + 1, message: text })),
      );
    } else if (message.method !== undefined && message.id !== undefined) {
      // It asks for its settings: an editor that has none answers so.
      const items = (message.params as { items?: readonly unknown[] } | undefined)?.items;
      this.#send({ id: message.id, result: items?.map(() => null) ?? null });
    } else if (message.id !== undefined) this.#done(String(message.id), []);
  }

  #done(name: string, found: readonly Finding[]): void {
    this.#waiting.get(name)?.(found);
    this.#waiting.delete(name);
  }
}
