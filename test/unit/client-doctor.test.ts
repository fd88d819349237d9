// Which link `knock doctor` blames.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Finding, judge, type Link, type State } from '../../client/doctor-findings.ts';

const finding = (link: Link, state: State, code = 'x'): Finding => ({ link, state, code, address: null, says: `${link} says`, cures: [] });

describe('the verdict of the doctor', () => {
  const cases = [
    { text: 'nothing failed and the door opened', findings: [finding('door', 'ok')], openedAfterMs: 3, gives: [true, null, 'works'] },
    {
      text: 'the first that failed, not the last',
      findings: [finding('name', 'failed', 'a'), finding('door', 'failed', 'b')],
      gives: [false, 'name', 'a'],
    },
    {
      text: 'one address opened and another failed: no success, but it is said that it works',
      findings: [finding('route', 'failed', 'no-route'), finding('door', 'ok')],
      openedAfterMs: 3,
      gives: [false, 'route', 'no-route'],
    },
    {
      text: 'a door that stays shut for an unknown reason: what was unsure before it',
      findings: [finding('clock', 'unsure', 'clock-off'), finding('door', 'failed', 'not-open')],
      gives: [false, 'clock', 'clock-off'],
    },
    {
      text: 'a door that refuses: the same',
      findings: [finding('knock', 'unsure', 'answers-closed'), finding('door', 'failed', 'refused')],
      gives: [false, 'knock', 'answers-closed'],
    },
    {
      text: 'a door that says why: that',
      findings: [finding('clock', 'unsure', 'clock-off'), finding('door', 'failed', 'service-down')],
      gives: [false, 'door', 'service-down'],
    },
    { text: 'nothing failed, nothing seen', findings: [finding('door', 'skipped')], gives: [true, null, 'not-seen'] },
    {
      text: 'nothing failed, something unsure',
      findings: [finding('before', 'unsure', 'open-already')],
      gives: [true, 'before', 'open-already'],
    },
  ] as const;
  for (const { text, findings, gives, ...more } of cases) {
    test(text, () => {
      const { ok, link, code } = judge(findings, 'openedAfterMs' in more ? more.openedAfterMs : undefined);
      assert.deepEqual([ok, link, code], gives);
    });
  }
});
