// The JSON Schema of the client's configuration, for editors and for its manual page. The reader (profile.ts) decides; a test holds both together.

/** JSON Schema 2020-12. */
export const PROFILE_SCHEMA = {
  title: 'The configuration of knock',
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  type: 'object',
  properties: {
    profiles: {
      description: 'One entry for each server, by the name that you give to knock',
      anyOf: [
        {
          type: 'object',
          propertyNames: { pattern: '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$' },
          additionalProperties: {
            type: 'object',
            properties: {
              host: { description: 'Name or address of the server (default: the name of the profile)', type: 'string', minLength: 1 },
              server_key: {
                description: "The server's public line, as its administrator gave it",
                type: 'string',
                pattern: '^\\s*ssh-ed25519 AAAA[A-Za-z0-9+/]+={0,2}(\\s.*)?$',
              },
              identity: { description: 'Your private key (~ is your home folder)', type: 'string', minLength: 1 },
              port: { description: 'UDP port to knock at (default 62201)', type: 'integer', minimum: 1, maximum: 65535 },
              services: {
                description: 'What to ask for when the command line names nothing',
                type: 'array',
                minItems: 1,
                maxItems: 16,
                items: { type: 'string', minLength: 1 },
              },
              ttl: {
                description: "How long it shall stay open: 30s, 10m, 2h, 7d (default: the rule's)",
                type: 'string',
                pattern: '^(0|[1-9][0-9]{0,8})[smhd]$',
              },
              source: {
                description: 'What the knock is bound to: auto, bound, none, stun, stun:SERVER or an address (default auto)',
                type: 'string',
                minLength: 1,
              },
              stun_server: {
                description: 'Server that says which address your NAT shows (needed by source: stun)',
                type: 'string',
                minLength: 1,
              },
              time: {
                description: 'Clock to sign by: system, https://HOST or sntp:SERVER; it is trusted (default system)',
                type: 'string',
                pattern: '^(system|https://.+|sntp:.+)$',
              },
              psk_file: {
                description: 'A pre-shared key: a file of 32 bytes in base64, readable by you alone',
                type: 'string',
                minLength: 1,
              },
              slots: { description: 'Knocks a minute that the server grants you (default 16)', type: 'integer', minimum: 1, maximum: 64 },
              offers: {
                description: 'What the server offers, as its invitation said: what a check may try, and what admits one connection only',
                type: 'object',
                additionalProperties: {
                  anyOf: [
                    {
                      type: 'object',
                      properties: {
                        ports: {
                          description: 'The ports behind the name: tcp/8443, udp/5000-5010',
                          type: 'array',
                          items: { type: 'string', pattern: '^(tcp|udp)/[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?$' },
                        },
                        once: { description: 'Each grant admits one connection (default false)', type: 'boolean' },
                        default: { description: 'Opens when a knock names nothing (default false)', type: 'boolean' },
                      },
                      additionalProperties: false,
                    },
                    { type: 'null' },
                  ],
                },
              },
            },
            additionalProperties: false,
          },
        },
        { type: 'null' },
      ],
    },
  },
  additionalProperties: false,
} as const;
