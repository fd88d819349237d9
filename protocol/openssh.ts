// OpenSSH's formats of identities, in one place for those who read them: public lines, fingerprints and private files.
// biome-ignore lint/performance/noBarrelFile: one door for client and daemon; the parts behind it stay small.
export { formatPrivateKey, parsePrivateKey } from './openssh-private.ts';
export { fingerprint, formatPublicLine, parsePublicLine } from './openssh-public.ts';
