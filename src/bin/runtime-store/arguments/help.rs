//! The last part of each help text: examples that work as they are written.

/// The beginning of the examples in a help text.
pub(crate) const EXAMPLES: &str = "Examples:\n";

/// The beginning of the exit codes in a help text.
pub(crate) const EXIT_CODES: &str = "Exit codes:";

/// The exit codes of all commands, for manual pages.
pub(crate) const EXIT_STATUS: [(&str, &str); 5] = [
    ("0", "Success."),
    (
        "1",
        "Failure, no match of `search` or `redact`, or a question that was not answered with yes.",
    ),
    ("2", "Wrong arguments."),
    ("3", "The store is locked by another process."),
    ("4", "Damage or differences were found."),
];

/// The end of `runtime-store --help`.
pub(crate) const PROGRAM: &str = "\
Exit codes: 0 success, 1 failure, no match of `search` or `redact`, or a question not answered with yes, 2 wrong arguments, \
3 the store is locked by another process, 4 damage or differences found.

A store is a file, or a schema of a PostgreSQL database: postgres://USER@HOST/DATABASE?schema=NAME, by default the schema \
`runtimes`. Commands work beside its hosts. The password comes from PGPASSWORD or from ~/.pgpass; in the URL, other users of the \
machine could see it.

A store can be read while another process writes to it. `runtime-store <COMMAND> --help` has examples. \
`runtime-store help <WORD>` also knows words of other programs: ls, log, tail, cat, grep, rm, cp, info, check.

On a terminal, output that is longer than the screen goes to a pager: RUNTIME_STORE_PAGER, PAGER, or less.";

pub(crate) const IMPORT: &str = "\
Examples:
  runtime-store import /var/lib/agents agents.redb --dry-run
  runtime-store import /var/lib/agents agents.redb
  runtime-store import /var/lib/agents agents.redb --runtime demo --replace

  If the directory is damaged: see what would be left out, then import the rest.
  runtime-store import /var/lib/agents agents.redb --salvage --dry-run
  runtime-store import /var/lib/agents agents.redb --salvage
  runtime-store imports agents.redb";

pub(crate) const EXPORT: &str = "\
Examples:
  runtime-store export agents.redb /var/lib/agents
  runtime-store export agents.redb /backup/agents --update
  runtime-store export agents.redb out --runtime demo --runtime test";

pub(crate) const COPY: &str = "\
Examples:
  runtime-store copy agents.redb postgres://agents@db1,db2/agents
  runtime-store copy 'postgres://agents@db1/agents?schema=runtimes' agents.redb
  runtime-store copy agents.redb postgres://db1/agents --runtime demo --replace
  runtime-store copy agents.redb other.redb --dry-run

  Move to a server: stop the hosts, copy, compare, and start them with the server.
  runtime-store copy agents.redb postgres://db1/agents
  runtime-store compare agents.redb postgres://db1/agents";

pub(crate) const COMPARE: &str = "\
Examples:
  runtime-store compare /var/lib/agents agents.redb
  runtime-store compare /var/lib/agents agents.redb --runtime demo
  runtime-store compare before.redb agents.redb
  runtime-store compare agents.redb postgres://db1/agents
  runtime-store compare /var/lib/agents agents.redb --quiet && echo same";

pub(crate) const IMPORTS: &str = "\
Examples:
  runtime-store imports agents.redb
  runtime-store imports agents.redb --runtime demo --json | jq .findings";

pub(crate) const RUNTIMES: &str = "\
Examples:
  runtime-store runtimes agents.redb
  runtime-store runtimes agents.redb --json | jq -r .runtime_id";

pub(crate) const WORKERS: &str = "\
Examples:
  runtime-store workers agents.redb
  runtime-store workers agents.redb --runtime demo --json
  runtime-store workers agents.redb --where title=Report --where tokens=1200";

pub(crate) const WORKER: &str = "\
Examples:
  runtime-store worker agents.redb worker-00000001
  runtime-store worker agents.redb 1 --json | jq .requested_capabilities";

pub(crate) const EVENTS: &str = "\
Examples:
  runtime-store events agents.redb -n 20
  runtime-store events agents.redb -n 20 --content
  runtime-store events agents.redb --from 1000 --limit 20
  runtime-store events agents.redb --kind worker_stopped --grep timeout --reverse
  runtime-store events agents.redb --worker worker-00000001
  runtime-store events agents.redb --follow --json | jq -c .kind";

pub(crate) const TRANSCRIPT: &str = "\
Examples:
  runtime-store transcript agents.redb worker-00000001 -n 10
  runtime-store transcript agents.redb worker-00000001 --role assistant --reverse
  runtime-store transcript agents.redb worker-00000001 --start 100 --limit 10
  runtime-store transcript agents.redb worker-00000001 --follow";

pub(crate) const SEARCH: &str = "\
Events come first, by id, then the transcripts in the order of their workers' ids; --newest-first \
reverses this order. --role leaves out events and --kind leaves out entries, unless both are given. \
Lines of more than 400 bytes are cut around their first match; --json prints whole texts, with the byte \
range of each match. --count with --json prints one object with the member count.

Exit code 1 without a message means that nothing matches.

Examples:
  runtime-store search agents.redb deadlock
  runtime-store search agents.redb 'error [0-9]+' --regex --role assistant
  runtime-store search agents.redb '' --kind worker_stopped --newest-first
  runtime-store search agents.redb timeout --since 2h -C 2
  runtime-store search agents.redb deadlock --json | jq .entry.content";

pub(crate) const DIAGNOSTICS: &str = "\
Examples:
  runtime-store diagnostics agents.redb
  runtime-store diagnostics agents.redb --severity warning --severity error
  runtime-store diagnostics agents.redb --code worker --worker 7";

pub(crate) const UNFINISHED: &str = "\
Examples:
  runtime-store unfinished agents.redb
  runtime-store unfinished agents.redb --json | jq -r .name";

pub(crate) const STATS: &str = "\
Examples:
  runtime-store stats agents.redb
  runtime-store stats agents.redb --workers 50 --json";

pub(crate) const REPORT: &str = "\
Examples:
  runtime-store report agents.redb -o report.html
  runtime-store report agents.redb --verify --utc -o report.html
  runtime-store report agents.redb --worker worker-00000001 --all > ticket.html";

pub(crate) const STOP_WORKER: &str = "\
Examples:
  runtime-store stop-worker agents.redb worker-00000001
  runtime-store stop-worker agents.redb worker-00000001 --reason 'out of budget'";

pub(crate) const STOP_RUNTIME: &str = "\
Examples:
  runtime-store stop-runtime agents.redb
  runtime-store stop-runtime agents.redb --runtime demo";

pub(crate) const RENAME: &str = "\
Examples:
  runtime-store rename agents.redb 'Support, archived'
  runtime-store rename agents.redb '' --runtime demo";

pub(crate) const SET_LIMITS: &str = "\
Examples:
  runtime-store set-limits agents.redb --transcript 1000 --events 1000
  runtime-store set-limits agents.redb --events 500 --runtime demo";

pub(crate) const DELETE_WORKER: &str = "\
Examples:
  runtime-store stop-worker agents.redb 7
  runtime-store delete-worker agents.redb 7 --dry-run
  runtime-store delete-worker agents.redb worker-00000007 --yes
  runtime-store compact agents.redb";

pub(crate) const DELETE_RUNTIME: &str = "\
Examples:
  runtime-store backup agents.redb before.redb
  runtime-store delete-runtime agents.redb demo --even-if-running --dry-run
  runtime-store delete-runtime agents.redb demo --even-if-running --yes
  runtime-store compact agents.redb";

pub(crate) const SET_ATTRIBUTES: &str = "\
Examples:
  runtime-store set-attributes agents.redb worker-00000001 '{\"title\":\"Report\"}'
  runtime-store set-attributes agents.redb worker-00000001 '{\"title\":null}'";

pub(crate) const REDACT: &str = "\
The kept files and event messages that match are listed, too: this verb does not change them. If the matches change \
between the list and the answer, nothing is redacted.

Examples:
  runtime-store redact agents.redb 'sk-[A-Za-z0-9]{20,}' --regex --dry-run
  runtime-store redact agents.redb 'sk-[A-Za-z0-9]{20,}' --regex --yes
  runtime-store compact agents.redb";

pub(crate) const PRUNE: &str = "\
Examples:
  runtime-store prune agents.redb --keep-events 100000 --newer-than 30d --dry-run
  runtime-store prune agents.redb --ended-before 90d --yes

  Keep everything as files, and a small store:
  runtime-store export agents.redb /archive/agents --update --times
  runtime-store prune agents.redb --newer-than 30d --yes
  runtime-store compact agents.redb";

pub(crate) const PIN: &str = "\
Examples:
  runtime-store pin agents.redb 1
  runtime-store pin agents.redb worker-00000001 --off";

pub(crate) const VERIFY: &str = "\
Examples:
  runtime-store verify agents.redb
  runtime-store verify agents.redb --json | jq .findings";

pub(crate) const BACKUP: &str = "\
Examples:
  runtime-store backup agents.redb agents-$(date +%F).redb
  runtime-store backup agents.redb copy.redb && runtime-store verify copy.redb";

pub(crate) const COMPACT: &str = "\
Examples:
  runtime-store stats agents.redb
  runtime-store compact agents.redb";

pub(crate) const MIGRATE: &str = "\
Examples:
  runtime-store migrate agents.redb --dry-run
  runtime-store migrate agents.redb";

pub(crate) const COMPLETIONS: &str = "\
Examples:
  runtime-store completions bash > /etc/bash_completion.d/runtime-store
  runtime-store completions zsh > ~/.zfunc/_runtime-store
  runtime-store completions fish > ~/.config/fish/completions/runtime-store.fish";

pub(crate) const MAN: &str = "\
Examples:
  runtime-store man > runtime-store.1 && man -l runtime-store.1
  runtime-store man import > runtime-store-import.1";
