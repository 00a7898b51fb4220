//! `send_input` from one and from many threads.

use super::{Bench, WORKERS};
use crate::bare_redb::BareRedb;
use crate::directory::Directory;
use crate::measure::{Contender, Samples, interleave};
use crate::ours::Ours;
use crate::peer::{InputPeer, Measured};
use crate::plain_file::PlainFile;
use crate::sqlite::{Connections, Sqlite};
use crate::table::{Bound, Line, Table, Unit, rate};
use anyhow::Result;
use redb_runtime_store::store::CommitSyncs;
use tempfile::TempDir;

const OURS: usize = 0;
const SQLITE: [usize; 2] = [3, 4];
const TWO_SYNCS: usize = 6;

/// Times as fast as a peer: thresholds, and the stretch against SQLite.
struct Asked {
    threads: usize,
    bare_redb: Bound,
    sqlite: (Bound, Bound),
    plain_file: Bound,
}

const ASKED: [Asked; 4] = [
    Asked {
        threads: 1,
        bare_redb: Bound::AtLeast(1.3),
        sqlite: (Bound::AtLeast(0.6), Bound::AtLeast(0.8)),
        plain_file: Bound::AtLeast(0.62),
    },
    Asked {
        threads: 2,
        bare_redb: Bound::None,
        sqlite: (Bound::AtLeast(1.0), Bound::AtLeast(1.5)),
        plain_file: Bound::None,
    },
    Asked {
        threads: 8,
        bare_redb: Bound::None,
        sqlite: (Bound::AtLeast(1.8), Bound::AtLeast(3.0)),
        plain_file: Bound::AtLeast(1.8),
    },
    Asked {
        threads: 64,
        bare_redb: Bound::None,
        sqlite: (Bound::AtLeast(7.0), Bound::AtLeast(15.0)),
        plain_file: Bound::AtLeast(7.5),
    },
];

pub(super) fn run(bench: &Bench, table: &mut Table) -> Result<()> {
    for asked in &ASKED {
        let samples = measure(bench, asked.threads)?;
        report(asked, &samples, table);
    }
    Ok(())
}

/// The seconds that an input takes: ours, the directory, bare redb, SQLite with connections of
/// their own, SQLite with a shared one, the plain file, ours with two syncs for each commit.
fn measure(bench: &Bench, threads: usize) -> Result<Vec<Samples>> {
    let dir = TempDir::new_in(&bench.dir)?;
    let path = |name: &str| dir.path().join(name);
    let ours = Ours::open(&path("ours.redb"), WORKERS, CommitSyncs::One)?;
    let two = Ours::open(&path("two.redb"), WORKERS, CommitSyncs::Two)?;
    let directory = Directory::create(&path("directory"), WORKERS)?;
    let bare = BareRedb::create(&path("bare.redb"), WORKERS)?;
    let own = Sqlite::create(&path("own.sqlite"), WORKERS, Connections::Own)?;
    let shared = Sqlite::create(&path("shared.sqlite"), WORKERS, Connections::Shared)?;
    let plain = PlainFile::create(&path("plain"))?;
    let peers: [(&str, &dyn InputPeer); 7] = [
        ("the store", &ours),
        ("the directory", &directory),
        ("bare redb", &bare),
        ("SQLite", &own),
        ("SQLite over one connection", &shared),
        ("the plain file", &plain),
        ("the store with two syncs", &two),
    ];
    let measured: Vec<Measured<'_>> = peers
        .iter()
        .map(|(_, peer)| Measured::new(*peer, &bench.inputs, WORKERS))
        .collect();
    let contenders = measured
        .iter()
        .map(|peer| Box::new(|| peer.round(threads, bench.slice())) as Contender<'_>)
        .collect();
    let samples = interleave(bench.rounds(15, 3), contenders)?;
    for (peer, (name, _)) in measured.iter().zip(peers) {
        peer.check(name)?;
    }
    Ok(samples)
}

fn report(asked: &Asked, samples: &[Samples], table: &mut Table) {
    let ours = &samples[OURS];
    let [own, shared] = SQLITE.map(|index| &samples[index]);
    let (sqlite, name) = if own.median() <= shared.median() {
        (own, "SQLite")
    } else {
        (shared, "SQLite, one connection")
    };
    let mut push = |against, theirs: &Samples, threshold, stretch| {
        table.push(Line {
            work: format!("send_input, {}", counted(asked.threads)),
            against,
            threshold,
            stretch,
            value: ours.speed_over(theirs),
            unit: Unit::Times,
            ours: rate(ours.median()),
            theirs: rate(theirs.median()),
        });
    };
    push("directory", &samples[1], Bound::None, Bound::None);
    push(
        "bare redb, two syncs",
        &samples[2],
        asked.bare_redb,
        Bound::None,
    );
    push(name, sqlite, asked.sqlite.0, asked.sqlite.1);
    push("plain file", &samples[5], asked.plain_file, Bound::None);
    push(
        "the store, two syncs",
        &samples[TWO_SYNCS],
        Bound::None,
        Bound::None,
    );
}

pub(super) fn counted(threads: usize) -> String {
    match threads {
        1 => "1 thread".to_owned(),
        threads => format!("{threads} threads"),
    }
}
