// The parts of the port audit that read the kernel's and ss's texts.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { unitOf } from '../../daemon/ports/owners.ts';
import { familiesOf, silentPorts, worst } from '../../daemon/ports/reach.ts';
import { parseDetails, parseTable } from '../../daemon/ports/sockets.ts';
import { addressFromBytes } from '../../protocol/address.ts';

describe('the texts', () => {
  test('/proc/net/tcp6: only sockets in the wanted state, mapped addresses as IPv4 (P21)', () => {
    const line = (at: number, address: string, state: string) =>
      `   ${at}: ${address}:1F90 00000000000000000000000000000000:0000 ${state} 00000000:00000000 00:00000000 00000000  1000        0 ${at}77 1 0000000000000000 100 0 0 10 0`;
    const text = [
      '  sl  local_address',
      line(1, '0'.repeat(32), '0A'),
      line(2, '0000000000000000FFFF00000100007F', '0A'),
      line(3, '0'.repeat(32), '01'),
      'rubbish',
    ].join('\n');
    assert.deepEqual(
      parseTable(text, '0A').map(({ address, port, inode, uid }) => [address.text, port, inode, uid]),
      [
        ['::', 8080, '177', 1000],
        ['127.0.0.1', 8080, '277', 1000],
      ],
    );
  });

  test('ss: v6only and the device by inode', () => {
    const text = [
      'tcp LISTEN 0      128    0.0.0.0:22 0.0.0.0:* ino:92 sk:133d cgroup:/ <->',
      'tcp LISTEN 0      128       [::]:22    [::]:* ino:93 sk:1 cgroup:/system.slice/ssh.service v6only:1 <->',
      'udp UNCONN 0      0      0.0.0.0%eth0:68 0.0.0.0:* uid:998 ino:94 sk:2 <->',
      'udp UNCONN 0      0      [fe80::1]%eth0:546 [::]:* ino:95 sk:3 v6only:1 <->',
      'nonsense',
    ].join('\n');
    assert.deepEqual(
      [...parseDetails(text)],
      [
        ['92', { v6only: false, device: undefined }],
        ['93', { v6only: true, device: undefined }],
        ['94', { v6only: false, device: 'eth0' }],
        ['95', { v6only: true, device: 'eth0' }],
      ],
    );
  });

  const UNITS: readonly (readonly [cgroup: string, unit: string | undefined])[] = [
    ['0::/system.slice/ssh.service\n', 'ssh.service'],
    ['0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope\n', 'app-x.scope'],
    ['12:pids:/x\n1:name=systemd:/system.slice/cron.service/payload\n', 'cron.service'],
    ['9:name=systemd:/\n1:cpu:/\n0::/system.slice/ssh.service\n', 'ssh.service'],
    ['1:name=systemd:/system.slice/ssh.service\n0::/\n', 'ssh.service'],
    ['0::/\n', undefined],
    ['', undefined],
  ];
  for (const [cgroup, unit] of UNITS) test(`unit of ${JSON.stringify(cgroup)}`, () => assert.equal(unitOf(cgroup), unit));
});

describe('what follows from them', () => {
  const any6 = addressFromBytes(new Uint8Array(16));
  test('a socket on :: takes IPv4 too, unless it is known not to', () => {
    assert.deepEqual(
      [undefined, false, true].map((v6only) => familiesOf({ address: any6, v6only })),
      [[4, 6], [4, 6], [6]],
    );
    assert.deepEqual(familiesOf({ address: addressFromBytes(new Uint8Array(4)), v6only: undefined }), [4]);
  });

  test('the most open family counts', () => {
    assert.equal(
      worst([
        { version: 4, reach: 'knock', by: '' },
        { version: 6, reach: 'everyone', by: '' },
      ]),
      'everyone',
    );
    assert.equal(
      worst([
        { version: 4, reach: 'loopback', by: '' },
        { version: 6, reach: 'nobody', by: '' },
      ]),
      'nobody',
    );
  });

  test('a protected range of which one port listens is not silent', () => {
    const protect = [
      { protocol: 'tcp', first: 22, last: 22 },
      { protocol: 'tcp', first: 9000, last: 9010 },
      { protocol: 'udp', first: 22, last: 22 },
    ] as const;
    assert.deepEqual(
      silentPorts(protect, [
        { protocol: 'tcp', port: 22 },
        { protocol: 'tcp', port: 9010 },
      ]),
      ['udp/22'],
    );
  });
});
