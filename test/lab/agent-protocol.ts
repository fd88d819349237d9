// What a host's agent can be asked to do, and what it answers. Types only.

export type ConnectOutcome = {
  /** `timeout` is what a dropped SYN looks like; `refused` a closed port; `unreachable` an ICMP answer or no route. */
  readonly outcome: 'open' | 'refused' | 'timeout' | 'unreachable' | 'reset';
  readonly elapsedMs: number;
  /** What came back when `payload` was sent. */
  readonly reply: string;
  readonly localPort: number;
};

export type UdpOutcome = { readonly replies: readonly string[]; readonly error: string };

export type AgentCalls = {
  /** Echoes TCP and UDP on these ports, on all addresses of both families. A TCP connection gets `hello\n` first. */
  listen: { ask: { tcp: readonly number[]; udp: readonly number[]; banner?: string }; answer: null };
  /** A fresh TCP connection; with `payload`, waits for as many bytes to come back. */
  connect: {
    ask: { address: string; port: number; timeoutMs: number; payload?: string; sourcePort?: number; localAddress?: string };
    answer: ConnectOutcome;
  };
  /** A TCP connection that stays; `talk` uses it, `hangUp` ends it. Answers its number. */
  hold: { ask: { address: string; port: number; timeoutMs: number }; answer: number };
  talk: { ask: { connection: number; payload: string; timeoutMs: number }; answer: 'echoed' | 'timeout' | 'closed' | 'reset' };
  hangUp: { ask: { connection: number }; answer: null };
  /** Sends datagrams (base64) from one socket and gathers what comes back until `waitMs` or `wanted` replies. */
  udp: {
    ask: { address: string; port: number; payloads: readonly string[]; sourcePort?: number; wanted: number; waitMs: number };
    answer: UdpOutcome;
  };
};

export type AgentCall = keyof AgentCalls;
export type Ask<K extends AgentCall> = AgentCalls[K]['ask'];
export type Answer<K extends AgentCall> = AgentCalls[K]['answer'];
