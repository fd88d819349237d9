// OpenSSH's formats of identities, in one place for those who read them: public lines, fingerprints and private files.
export { formatPrivateKey, type PrivateKeyResult, parsePrivateKey } from './openssh-private.ts';
export { fingerprint, formatPublicLine, otherTypeProblem, parsePublicBase64, parsePublicBlob, parsePublicLine } from './openssh-public.ts';
