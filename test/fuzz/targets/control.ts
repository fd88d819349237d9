// What goes over the control socket, both ways: requests of anybody who may write there, and answers as the commands read them.
import {
  GrantReport,
  GrantsReport,
  ReloadReport,
  Reply,
  Request,
  RevokeReport,
  StatusReport,
  TrialReport,
  WatchReport,
} from '../../../daemon/control/messages.ts';
import { orderOf } from '../../../daemon/control/order.ts';
import { piecesOf } from '../../../daemon/control/pieces.ts';
import { hold } from '../hold.ts';
import type { FuzzTarget } from '../target.ts';

const REPORTS = { StatusReport, WatchReport, GrantsReport, GrantReport, RevokeReport, ReloadReport, TrialReport };

function run(input: Uint8Array): string {
  const line = Buffer.from(input).toString('utf8');
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    return 'not JSON';
  }
  hold([...piecesOf(json)].join('') === JSON.stringify(json), 'the pieces of an answer are not its JSON');
  const request = Request.safeParse(json);
  if (request.success) {
    const { data } = request;
    // Closed: whatever a field holds was named, and has an end.
    hold(JSON.stringify(Request.parse(data)) === JSON.stringify(data), 'a request that changes when it is read');
    hold(JSON.stringify(data).length < 20_000, 'a request without end');
    const order = orderOf(data);
    hold(order === undefined || order.length < 20 * 300, 'an order without end');
    return `request ${data.command}`;
  }
  const reply = Reply.safeParse(json);
  if (!reply.success) return 'refused';
  if (!reply.data.ok) return 'failure';
  const { value } = reply.data;
  const report = Object.entries(REPORTS).find(([, schema]) => schema.safeParse(value).success);
  return report === undefined ? 'answer' : report[0];
}

const GRANT =
  '{"id":"g1","client":"alice","by":"knock","address":"192.0.2.7","service":"ssh","ports":["tcp/22"],"kind":"grant","source_port":null,"granted_at":"2026-11-21T12:00:00Z","remaining_seconds":3}';
const STATUS = `{"pid":1,"version":"1","uptime_seconds":1,"gate":{"state":"up","backend":"nftables","table":"postern","protected":["tcp/22"]},"capture":{"name":"nflog","why":"","seen":1,"lost":0,"foreign":0,"malformed":0},"kernel":null,"knocks":{"granted":1,"closed":0,"dropped":{"seal":1}},"ledger":{"place":"state","marks":1,"note":""},"audit":null,"tags":1,"clients":1,"rules_loaded_at":"","grants":[${GRANT}]}`;

export const target: FuzzTarget = {
  about: 'messages of the control socket',
  covers: ['daemon/control/order.ts', 'daemon/control/pieces.ts'],
  kind: 'text',
  maxBytes: 2500,
  seeds: [
    '{"command":"status"}',
    '{"command":"grants"}',
    '{"command":"reload"}',
    '{"command":"watch","grants":50}',
    '{"command":"grant","who":"alice","from":null,"services":["ssh"],"ttlSeconds":60,"once":false}',
    '{"command":"revoke","who":"g1","keepSessions":true}',
    '{"command":"gate","action":"up"}',
    '{"command":"try","ask":{"action":"begin","seconds":60,"connection":{"text":"1.2.3.4 5 6","sinceBootMs":5}}}',
    '{"command":"try","ask":{"action":"look","collect":false}}',
    `{"ok":true,"value":${STATUS}}`,
    `{"ok":true,"value":{"grants":[${GRANT}]}}`,
    '{"ok":true,"value":{"phase":"none","remaining_seconds":0,"alone":false}}',
    '{"ok":false,"exit":2,"message":"no"}',
    '[[{"__proto__":{"ok":true}}]]',
  ],
  dictionary: ['{"', '":', '":"', '"}', ',"', 'null', 'true', '1e400', '-0', '\\u0000', '"__proto__":', '[', ']'],
  run,
  mustReach: [
    'not JSON',
    'refused',
    'failure',
    'StatusReport',
    'GrantsReport',
    'request grant',
    'request revoke',
    'request try',
    'request watch',
    'request gate',
  ],
};
