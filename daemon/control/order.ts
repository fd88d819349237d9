// Which requests change something, and what they ask for in the words of the command: for the audit log. Pure.
import { formatDuration } from '../../protocol/duration.ts';
import type { Request } from './messages.ts';

/** Undefined: it only looks. */
export function orderOf(request: Request): string | undefined {
  switch (request.command) {
    case 'grant': {
      const { who, from, services, ttlSeconds, once } = request;
      const options = [
        ...(from === null ? [] : ['--from', from]),
        ...(ttlSeconds === null ? [] : ['--ttl', formatDuration(ttlSeconds)]),
        ...(once ? ['--once'] : []),
      ];
      return ['grant', who, ...services, ...options].join(' ');
    }
    case 'revoke':
      return `revoke ${request.who}${request.keepSessions ? ' --keep-sessions' : ''}`;
    case 'reload':
      return 'reload';
    case 'gate':
      return `gate ${request.action}`;
    case 'try':
      return request.ask.action === 'look' ? undefined : `try ${request.ask.action}`;
    default:
      return undefined;
  }
}
