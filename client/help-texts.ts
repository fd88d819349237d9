// What stands below the options in `--help`: explanations, examples, exit codes.

export const OPEN_HELP = `
SERVICE is a name (ssh, https, or one that the server defined), tcp/8443, udp/51820 or tcp/9000-9010.
Without one, the server opens what its rule gives by default, and ssh's port is checked.

Examples:
  knock web1.example.org ssh                 open ssh for this machine, and see that it is open
  knock web1 tcp/8443 -t 10m                 for ten minutes, if the rule allows it
  knock web1 ssh -- ssh web1                 knock, then run ssh; its exit code is the command's
  knock web1 tcp/5432 --once                 for one connection (which knock then does not use up by checking)
  knock 192.0.2.7 ssh --server-key host.pub  with the server's key from a file
  knock web1 ssh --on-behalf 198.18.7.9      for somebody else's address, if the rule says on_behalf
  knock web1 ssh --source stun:stun.example.org   bound to the address that this STUN server sees
  knock web1 ssh --via wlan0                 from the address of wlan0
  knock web1 udp/51820 --source-port 51820   for connections from this port only
  knock web1 ssh --time sntp:192.0.2.123     signed by that server's clock, where this machine's is wrong
  knock web1 --dry-run                       show what would be sent, field by field

HOST means what it means for ssh: HostName, Port, IdentityFile, HostKeyAlias and others in ~/.ssh/config hold.
Keys: -i, else the profile's, else ~/.config/knock/id_ed25519, else IdentityFile, else ~/.ssh/id_ed25519. The server's:
--server-key, else the profile's, else the ssh-ed25519 line for HOST in ~/.ssh/known_hosts. A passphrase is asked for on
the terminal, or read from the file that KNOCK_PASSPHRASE_FILE names. Profiles are in ~/.config/knock/config.yaml.
Without --source, a knock is bound to this machine's address only if that is a global one; behind a NAT, stun:SERVER finds
the outer one. No server but HOST is ever asked on its own. A bound knock is worthless to whoever catches it elsewhere.
The server takes a knock only if both clocks agree within a minute or so. --time asks the one clock that you name and corrects
what is signed, never the system's clock. It is trusted: who controls it can have a knock signed for tonight.
A service whose rule says "once" on the server admits one connection, and the check uses it: give --once or --no-verify.

With --json, one object on standard output (with "-- COMMAND", on standard error), also when it fails:
  ok, action (open, close), host, result (open, sent, closed, failed), address, afterMs, wasOpen, knocksSent, services,
  addresses [{address, knocksSent, source, ports [{service, before, after, afterMs}]}], notes,
  clock {source, offsetMs, corrected}, error {code, message, hints}
The error is written to standard error too, as one line.

Exit codes: 0 open (or sent, when it cannot be checked); 1 it did not work; 2 wrong usage or configuration;
3 not permitted; 130 interrupted; with "-- COMMAND", the command's, 128 + n when signal n ended it, 127 not found.`;

export const CLOSE_HELP = `
Ends the grants that this key has for this machine's address, and sees that the door is shut.

Examples:
  knock close web1.example.org
  knock close web1 tcp/8443        check that tcp/8443 is shut
  knock close web1 --json          one object, with the fields that "knock --help" lists`;

export const PROXY_HELP = `
For ssh: knocks, connects as soon as the door opens, and passes standard input and output on. In ~/.ssh/config:
  Host web1
    ProxyCommand knock proxy %n %p

HOST and PORT are ssh's %n (or %h) and %p; the knock asks for tcp/PORT. With %n, a profile called as the host is found.
A port that is open already is used as it is. One connection is all that is made, so that a one-shot grant is enough.

Examples:
  knock proxy web1 22 < /dev/null                    sshd's first line, when the door opens
  knock proxy db1 5432 --once < query > answer       any TCP service
  ssh -o 'ProxyCommand=knock proxy %n %p' web1
  rsync -e 'ssh -o "ProxyCommand=knock proxy %n %p"' -a site/ web1:/srv/site/

Errors are one line on standard error (with -v, all that may be wrong). Exit codes: 0 both sides have finished; 1 no
connection, or it broke; 2 wrong usage or configuration; 3 not permitted; 130 interrupted.`;

export const DOCTOR_HELP = `
Goes along the chain from this machine's files to the open door, and says of each link whether it holds, and what to do:
configuration, name lookup, your key, server key, clock, route, the port before the knock (open: not protected!), knock, door.
It knocks once all before that holds; what it opens closes when the grant ends. It asks nobody but HOST, and whom you name.

Examples:
  knock doctor web1
  knock doctor web1 tcp/8443
  knock doctor web1 --time sntp:192.0.2.123       and compare the clock with that server's
  knock doctor web1 --source stun:192.0.2.7       and bind the knock to the address outside the NAT
  knock doctor web1 --json | jq -r .verdict.says

With --json, one object: ok, host, findings [{link, state, code, address, says, cures}], verdict {ok, link, code, says};
  link: configuration, name, client-key, server-key, clock, route, before, knock, door; state: ok, unsure, failed, skipped.

Exit codes: 0 nothing fails; 1 a link fails; 2 wrong usage.`;

export const HOLD_HELP = `
Knocks, sees that the door opened, and knocks again before each grant runs out, when this machine's address towards HOST
changes and after a sleep. Ctrl-C (or SIGTERM) gives the grants back and ends it.

The server does not say how long a grant lasts, and a rule may give less than --ttl asks for. So the pause is a third of
--ttl (of 30 s without it, at most 5 min), the port is looked at from time to time, and a door that had closed
too early makes the pause shorter. Short lifetimes are the safer ones: a machine that is lost holds nothing for long.

Examples:
  knock hold web1                          as the rule gives by default, until Ctrl-C
  knock hold web1 tcp/5432 tcp/6379 -t 10m two services; knocks every 200 s
  knock hold web1 udp/51820                cannot be looked at: knocks all the same
  knock hold web1 --leave-open --json      one object for each event, and no close at the end

On a terminal the time to the next knock is counted down; elsewhere there is a line for each change (with -v, each knock).
With --json, one object in each line: at, host, event (open, sent, renewed, gap, lost, back, moved, slept, closed, left-open,
failed) and what belongs to it: address, afterMs, everyMs, looked, shortened, code, message, from, to, ms, error.

Exit codes: 0 stopped, and closed (or left open as asked); 1 it did not open, or could not be closed; 2 wrong usage or
configuration; 3 not permitted; 130 interrupted a second time, before the door was seen shut.`;

export const ADD_HELP = `
Takes the line that "posternd client add" printed (postern1:...). What the profile holds already and the line does not name stays.
A profile with another server key is not overwritten, unless you say --replace.

Examples:
  knock add postern1:AYcA...            the line as an argument
  knock add invitation.txt              from a file
  knock add - < invitation.txt          from standard input: right for a line that holds a private key
  knock add postern1:AYcA... --name web1  under a name of your own

With --json: ok, name, file, existed, host, fingerprint, identity, notes.`;

export const PROFILES_HELP = `
Examples:
  knock profiles                all of them
  knock profiles show web1      one, field by field
  knock profiles remove web1    its key file stays
  knock profiles --json         file, profiles [{name, host, serverKey, fingerprint, identity, port, services, ttlSeconds,
                                source, pskFile, slots, offers [{name, ports, once, default}]}]`;

export const KEYGEN_HELP = `
Writes FILE (readable by you alone) and FILE.pub, and prints the public line for the server's administrator.
Asks for a passphrase on the terminal, or takes it from the file that KNOCK_PASSPHRASE_FILE names. Never overwrites.

Examples:
  knock keygen
  knock keygen -f ~/.config/knock/id_work -C "alice at work"
  knock keygen --no-passphrase --json      file, publicFile, publicKey, fingerprint, encrypted`;

export const COMPLETION_HELP = `
Prints a script that completes hosts (profiles, ~/.ssh/config, known_hosts), services and options.

Examples:
  source <(knock completion bash)      in ~/.bashrc
  knock completion fish > ~/.config/fish/completions/knock.fish
  source <(knock completion zsh)       in ~/.zshrc, after compinit`;
