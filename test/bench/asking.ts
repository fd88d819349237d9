// Questions to a child over IPC, and which answer belongs to which. Knows nothing of what is asked.
import type { Running } from '../lab/process.ts';

type Calls = { readonly [name: string]: { ask: unknown; answer: unknown } };

/** Something that can be asked again and again. */
export type Asked<T> = () => Promise<T>;

/** The child answers `{ id, answer }` or `{ id, error }`. Fails when it ends before. */
export function asking<C extends { [K in keyof C]: Calls[string] }>(running: Running) {
  const pending = new Map<number, { resolve: (answer: unknown) => void; reject: (error: Error) => void }>();
  let last = 0;
  running.child.on('message', (message) => {
    const { id, answer, error } = message as { id: number; answer?: unknown; error?: string };
    const waiting = pending.get(id);
    pending.delete(id);
    if (error === undefined) waiting?.resolve(answer);
    else waiting?.reject(new Error(error));
  });
  const ended = () => new Error(`${running.argv.join(' ')}: ended\n${running.stderr}`);
  void running.exited.then(() => {
    for (const { reject } of pending.values()) reject(ended());
  });
  return <K extends keyof C & string>(call: K, ask: C[K]['ask']): Promise<C[K]['answer']> => {
    if (running.ended) return Promise.reject(ended());
    last += 1;
    const id = last;
    return new Promise((resolve, reject) => {
      pending.set(id, { resolve, reject });
      running.child.send({ id, call, ask });
    });
  };
}
