//! The store on PostgreSQL, with and without a synchronous standby, against SQLite on the same disk. Clients and servers share the
//! processors.

use super::{Bench, LONG, WORKERS};
use crate::measure::{Contender, Samples, interleave, time};
use crate::ours::{self, Ours};
use crate::peer::{InputPeer, Measured};
use crate::rows::inputs::counted;
use crate::rows::reads::last_events;
use crate::sqlite::{self, Connections, Copying, Sqlite};
use crate::table::{Bound, Line, Table, Unit, duration, rate, thousands};
use crate::workload::PAGE;
use anyhow::{Result, ensure};
use postgres_tests::cluster::Cluster;
use redb_runtime_store::store::{CopyOptions, Durability};
use redb_runtime_store::{PostgresOptions, Store};
use std::fs;
use std::os::unix::fs::MetadataExt;
use tempfile::TempDir;

const ALONE: usize = 0;
const STANDBY: usize = 1;
const SQLITE: [usize; 2] = [2, 3];

/// Times as fast as SQLite: without a standby, and with one.
struct Asked {
    threads: usize,
    alone: Bound,
    standby: Bound,
}

const ASKED: [Asked; 3] = [
    Asked {
        threads: 1,
        alone: Bound::None,
        standby: Bound::None,
    },
    Asked {
        threads: 8,
        alone: Bound::None,
        standby: Bound::None,
    },
    Asked {
        threads: 64,
        alone: Bound::AtLeast(5.0),
        standby: Bound::AtLeast(3.0),
    },
];

/// A server alone, and one with a standby that its commits wait for.
struct Servers {
    alone: Cluster,
    replicated: Cluster,
}

impl Servers {
    fn options(&self) -> [PostgresOptions; 2] {
        [
            PostgresOptions::new(self.alone.url()),
            PostgresOptions::new(self.replicated.url()).durability(Durability::Replicated),
        ]
    }
}

pub(super) fn run(bench: &Bench, table: &mut Table) -> Result<()> {
    let (servers_on, sqlite_on) = (std::env::temp_dir(), bench.dir.as_path());
    ensure!(
        fs::metadata(&servers_on)?.dev() == fs::metadata(sqlite_on)?.dev(),
        "the servers would be on another disk than SQLite: set TMPDIR to a directory on that of {}",
        sqlite_on.display()
    );
    let servers = Servers {
        alone: Cluster::single(),
        replicated: Cluster::replicated(),
    };
    for (number, asked) in ASKED.iter().enumerate() {
        let samples = inputs(bench, &servers, (asked.threads, number))?;
        report_inputs(asked, &samples, table);
    }
    end_of_log(bench, &servers, table)?;
    copies(bench, &servers, table)
}

/// The seconds that an input takes: on a server alone, on one with a standby, in SQLite with connections of their own, in SQLite
/// with a shared one.
fn inputs(
    bench: &Bench,
    servers: &Servers,
    (threads, number): (usize, usize),
) -> Result<Vec<Samples>> {
    let dir = TempDir::new_in(&bench.dir)?;
    let connect = |options: PostgresOptions| {
        Ours::connect(options.schema(format!("inputs_{number}")), WORKERS)
    };
    let [alone, standby] = servers.options();
    let (alone, standby) = (connect(alone)?, connect(standby)?);
    let own = Sqlite::create(&dir.path().join("own"), WORKERS, Connections::Own)?;
    let shared = Sqlite::create(&dir.path().join("shared"), WORKERS, Connections::Shared)?;
    let peers: [(&str, &dyn InputPeer); 4] = [
        ("PostgreSQL", &alone),
        ("PostgreSQL with a standby", &standby),
        ("SQLite", &own),
        ("SQLite over one connection", &shared),
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

fn report_inputs(asked: &Asked, samples: &[Samples], table: &mut Table) {
    let [own, shared] = SQLITE.map(|index| &samples[index]);
    let (sqlite, against) = if own.median() <= shared.median() {
        (own, "SQLite")
    } else {
        (shared, "SQLite, one connection")
    };
    for (index, name, threshold) in [
        (ALONE, "PostgreSQL", asked.alone),
        (STANDBY, "PostgreSQL with a standby", asked.standby),
    ] {
        table.push(Line {
            work: format!("send_input on {name}, {}", counted(asked.threads)),
            against,
            threshold,
            stretch: Bound::None,
            value: samples[index].speed_over(sqlite),
            unit: Unit::Times,
            ours: rate(samples[index].median()),
            theirs: rate(sqlite.median()),
        });
    }
}

/// Loads a long log, and reads its end.
fn end_of_log(bench: &Bench, servers: &Servers, table: &mut Table) -> Result<()> {
    let [options, _] = servers.options();
    let store = Store::connect(options.schema("long"))?;
    let (seconds, ()) = time(1, || ours::load(&store, &LONG, &bench.inputs))?;
    let connection = {
        let path = bench.dir.join("end.sqlite");
        sqlite::build(&path, &LONG, &bench.inputs)?;
        sqlite::connect(&path)?
    };
    table.note(format!(
        "a load of {} inputs into PostgreSQL took {}",
        thousands(LONG.inputs),
        duration(seconds)
    ));
    let runtime = ours::runtime_of(&store)?;
    let events: Vec<_> = (LONG.events() - PAGE as u64 + 1..=LONG.events())
        .map(|id| LONG.event(id))
        .collect();
    let contenders: Vec<Contender<'_>> = vec![
        Box::new(|| {
            let (seconds, page) = time(100, || last_events(&runtime))?;
            ensure!(page == events, "a page is not as it was written");
            Ok(seconds)
        }),
        Box::new(|| {
            let (seconds, page) = time(100, || sqlite::last_events(&connection, PAGE))?;
            ensure!(page == events, "a page is not as it was written");
            Ok(seconds)
        }),
    ];
    let samples = interleave(bench.rounds(15, 3), contenders)?;
    table.push(Line {
        work: format!(
            "last {PAGE} events of {} on PostgreSQL",
            thousands(LONG.inputs)
        ),
        against: "SQLite",
        threshold: Bound::None,
        stretch: Bound::None,
        value: samples[0].speed_over(&samples[1]),
        unit: Unit::Times,
        ours: duration(samples[0].median()),
        theirs: duration(samples[1].median()),
    });
    Ok(store.close()?)
}

/// Copies a long log from a file to a server and back.
fn copies(bench: &Bench, servers: &Servers, table: &mut Table) -> Result<()> {
    let dir = TempDir::new_in(&bench.dir)?;
    let path = |name: &str| dir.path().join(name);
    ours::build(&path("long.redb"), &LONG, &bench.inputs)?;
    sqlite::build(&path("long.sqlite"), &LONG, &bench.inputs)?;
    let connection = sqlite::connect(&path("long.sqlite"))?;
    let file = Store::open(path("long.redb"))?;
    let [options, _] = servers.options();
    let on_server = || Store::connect(options.clone().schema("copy"));
    let forget = || {
        let drop = "DROP SCHEMA copied CASCADE";
        servers.alone.primary().ask(drop);
    };
    copied(&file, &on_server()?)?;
    let kept = on_server()?;
    let contenders: Vec<Contender<'_>> = vec![
        Box::new(|| {
            let there = Store::connect(options.clone().schema("copied"))?;
            let (seconds, ()) = time(1, || copied(&file, &there))?;
            there.close()?;
            forget();
            Ok(seconds)
        }),
        Box::new(|| {
            let there = Store::open(path("copied.redb"))?;
            let (seconds, ()) = time(1, || copied(&kept, &there))?;
            there.close()?;
            fs::remove_file(path("copied.redb"))?;
            Ok(seconds)
        }),
        Box::new(|| {
            let copy = path("copied.sqlite");
            let back_up = || sqlite::back_up(&connection, &copy, Copying::Pages);
            let (seconds, ()) = time(1, back_up)?;
            fs::remove_file(&copy)?;
            Ok(seconds)
        }),
    ];
    let samples = interleave(bench.rounds(5, 2), contenders)?;
    for (index, way) in ["to PostgreSQL", "from PostgreSQL"].iter().enumerate() {
        table.push(Line {
            work: format!("copy of {0} + {0} {way}", thousands(LONG.inputs)),
            against: "SQLite's backup to a file",
            threshold: Bound::None,
            stretch: Bound::None,
            value: samples[index].speed_over(&samples[2]),
            unit: Unit::Times,
            ours: duration(samples[index].median()),
            theirs: duration(samples[2].median()),
        });
    }
    kept.close()?;
    Ok(file.close()?)
}

/// Copies all of `from`.
fn copied(from: &Store, to: &Store) -> Result<()> {
    let report = from.copy_to(to, &CopyOptions::new())?;
    let events: u64 = report.runtimes.iter().map(|runtime| runtime.events).sum();
    ensure!(events == LONG.events(), "{events} events were copied");
    Ok(())
}
