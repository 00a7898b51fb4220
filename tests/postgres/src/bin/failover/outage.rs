//! A round whose primary is killed.

use crate::bug::Bug;
use crate::history::{Answer, History, Input};
use crate::host::{HostArguments, options, runtime, send, set_up};
use crate::plan::{Continued, HostFault, Moment, Plan, Trouble};
use crate::process::{Counts, HostProcess};
use crate::{Faults, Round, cuts, schema};
use postgres_tests::cluster::Cluster;
use postgres_tests::proxy::{Fault, Proxy};
use redb_runtime_store::identity::WorkerRef;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use torture::rng::Rng;

/// How long the hosts work after a server that was stopped goes on.
const AFTERWARDS: Duration = Duration::from_millis(150);

/// How long the reader waits for the transactions that are under way still.
const LAST_LOCKS: Duration = Duration::from_secs(30);

/// Runs the round of `seed`.
pub(crate) fn round(
    cluster: &mut Cluster,
    seed: u64,
    rng: &mut Rng,
    plant: Option<Bug>,
    is_control: bool,
) -> Result<Round, String> {
    let plan = Plan::new(rng, plant, is_control);
    let worker = set_up(options(&cluster.url(), &schema(seed)))?;
    let (proxies, url) = cluster.proxies();
    let arguments = HostArguments {
        url,
        schema: schema(seed),
        worker: worker.worker_id.as_str().to_owned(),
        name: String::new(),
        threads: plan.threads,
        inputs: None,
        local: is_control,
        lock_timeout: plan.lock_patience.as_millis() as u64,
        outage_timeout: plan.patience.as_millis() as u64,
        idle_timeout: plan.idle.as_millis() as u64,
        lease: None,
        plant,
    };
    let hosts = (0..plan.hosts).map(|number| {
        let name = number.to_string();
        HostProcess::start(cluster.directory(), &arguments.clone().named(&name))
    });
    let mut hosts = hosts.collect::<Result<Vec<_>, _>>()?;
    let cut = disturb(cluster, &plan, (&proxies, rng), &mut hosts)?;
    let killed = hosts.iter().filter(|host| host.is_killed()).count();
    for host in &mut hosts {
        host.close_input();
    }
    let mut senders = Vec::new();
    for host in hosts {
        senders.extend(host.end()?);
    }
    let history = read(cluster, seed, &worker, &mut senders)?;
    Ok(Round {
        what: format!("{plan}, {cut} connections cut"),
        tally: history.check(&senders, is_control)?,
        is_lease: false,
        faults: Faults {
            cut,
            hosts_killed: killed,
            hosts_stopped: usize::from(plan.host_fault.is_some()) - killed,
            servers_stopped: usize::from(plan.trouble.stops_a_server()),
        },
    })
}

/// Reads what is stored, as a host that knows nothing of what happened, and without a bug. Its own input, which it adds to
/// `senders`, waits for the locks of the transactions that are under way: of killed hosts, or of commits in doubt.
pub(crate) fn read(
    cluster: &Cluster,
    seed: u64,
    worker: &WorkerRef,
    senders: &mut Vec<Vec<Input>>,
) -> Result<History, String> {
    let reader = runtime(options(&cluster.url(), &schema(seed)).lock_timeout(LAST_LOCKS));
    let reader = reader.map_err(|error| format!("the store cannot be opened: {error}"))?;
    let text = "last".to_owned();
    let answer = send(&reader, worker, &text);
    if !matches!(answer, Answer::Acknowledged(_)) {
        return Err(format!("the last input: {answer:?}"));
    }
    senders.push(vec![Input { text, answer }]);
    History::read(&reader, worker)
}

/// Makes the faults of `plan` happen while connections are cut at messages. Returns how many were cut.
fn disturb(
    cluster: &mut Cluster,
    plan: &Plan,
    (proxies, rng): (&[Proxy], &Rng),
    hosts: &mut [HostProcess],
) -> Result<usize, String> {
    for host in hosts.iter() {
        host.wait("acknowledged input", |counts| counts.acknowledged > 0)?;
    }
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut cutters = Vec::new();
        for (number, proxy) in proxies.iter().enumerate() {
            let (rng, is_over) = (rng.part(number as u64), &is_over);
            let cut = move || cuts::cut(proxy, rng, plan.cuts / 2, is_over);
            cutters.push(scope.spawn(cut));
        }
        let happened = happen(cluster, plan, proxies, hosts);
        is_over.store(true, Ordering::Relaxed);
        let cut = cutters.into_iter().map(|cutter| cutter.join());
        let cut: Result<Vec<usize>, _> = cut.collect();
        happened?;
        cut.map(|cut| cut.iter().sum())
            .map_err(|_| "a thread that cuts connections panicked".to_owned())
    })
}

/// Makes the faults of `plan` happen, and a new standby. Every host that lives has an input acknowledged afterwards.
fn happen(
    cluster: &mut Cluster,
    plan: &Plan,
    proxies: &[Proxy],
    hosts: &mut [HostProcess],
) -> Result<(), String> {
    thread::sleep(plan.work);
    begin_host_fault(plan, hosts, Moment::Before);
    begin_host_fault(plan, hosts, Moment::Across);
    trouble(cluster, plan.trouble, proxies);
    cluster.fail_over();
    if let Some(HostFault { host, at, .. }) = plan.host_fault
        && at == Moment::Across
    {
        hosts[host].resume();
    }
    cluster.rejoin();
    begin_host_fault(plan, hosts, Moment::After);
    let before: Vec<Counts> = hosts.iter().map(HostProcess::counts).collect();
    for (host, before) in hosts.iter().zip(before) {
        if !host.is_killed() {
            host.wait("acknowledged input after the promotion", |counts| {
                counts.acknowledged > before.acknowledged
            })?;
        }
    }
    Ok(())
}

/// Makes the fault of a host happen if its moment is `now`. One that is stopped across the promotion stays so.
fn begin_host_fault(plan: &Plan, hosts: &mut [HostProcess], now: Moment) {
    let Some(HostFault { host, stopped, at }) = plan.host_fault else {
        return;
    };
    let host = &mut hosts[host];
    match stopped {
        _ if at != now => {}
        None => host.kill(),
        Some(stopped) => {
            host.pause();
            thread::sleep(stopped);
            if at != Moment::Across {
                host.resume();
            }
        }
    }
}

/// Makes happen what comes before the kill of the primary.
fn trouble(cluster: &mut Cluster, trouble: Trouble, proxies: &[Proxy]) {
    match trouble {
        Trouble::None => {}
        Trouble::LinkHeld {
            held,
            is_restored,
            is_cancelled,
            ends,
        } => {
            cluster.link().fail(Fault::Hold);
            thread::sleep(held / 2);
            for end in 0..ends {
                end_waits(cluster, proxies, end);
            }
            // Also the wait of the commit that settles the first one, or of the next host.
            for _ in 0..2 * usize::from(is_cancelled) {
                call_for_waits(cluster, "pg_cancel_backend");
            }
            thread::sleep(held / 2);
            if is_restored {
                cluster.link().restore();
                thread::sleep(held);
            }
        }
        Trouble::PrimaryStopped {
            stopped,
            is_continued,
        } => {
            cluster.primary().pause();
            thread::sleep(stopped);
            if is_continued {
                cluster.primary().resume();
                thread::sleep(AFTERWARDS);
            }
        }
        Trouble::StandbyStopped { stopped, continued } => {
            cluster.standby().pause();
            thread::sleep(stopped);
            if continued == Continued::AfterKill {
                cluster.primary_mut().kill();
            }
            cluster.standby().resume();
            if continued == Continued::Early {
                thread::sleep(AFTERWARDS);
            }
        }
    }
}

/// Ends the connections whose COMMIT waits for the standby: by turns the server's end and the host's. The server commits
/// without the standby in the first case, and goes on waiting in the second.
fn end_waits(cluster: &Cluster, proxies: &[Proxy], number: usize) {
    match number % 2 {
        0 => call_for_waits(cluster, "pg_terminate_backend"),
        _ => proxies.iter().for_each(|proxy| proxy.fail(Fault::Cut)),
    }
}

/// Calls `function` for every process that waits for the standby. The server answers a host whose COMMIT it cancels with
/// success; one whose connection it terminates finds it lost.
fn call_for_waits(cluster: &Cluster, function: &str) {
    let statement =
        format!("SELECT count({function}(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
    // An operator may come too late for this server.
    let _ = cluster.primary().try_ask(&statement);
}
