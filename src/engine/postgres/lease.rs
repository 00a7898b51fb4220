//! Leases: one host at a time writes to a runtime.
//!
//! A lease is a part of the runtime's row of `locks`: the holder, an epoch that grows with each lease, and an end by the
//! clock of the server. Every turn checks it under the lock, so a host that lost its lease while it was paused writes
//! nothing, whatever it believes. Commits and the I/O thread renew leases.

use crate::engine::postgres::keys::key;
use crate::engine::postgres::lock_row::{LockRow, WHOLE_STORE};
use crate::engine::postgres::planted::PlantedServerBug;
use crate::engine::postgres::server::Server;
use crate::engine::postgres::wire::server_error::ServerError;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Checks that the store may write to `runtime`.
pub(crate) fn check(server: &Server, runtime: &str, row: &LockRow) -> Result<(), ServerError> {
    // It belongs to no runtime.
    if runtime == WHOLE_STORE {
        return Ok(());
    }
    let is_own = server.holder.is_some() && row.holder == server.holder;
    let leases = server.leases.lock();
    let leases = leases.unwrap_or_else(PoisonError::into_inner);
    let without_epoch = server
        .options
        .planted
        .is(PlantedServerBug::LeaseWithoutEpoch);
    let is_lost = match leases.get(runtime).filter(|_| !without_epoch) {
        // Another host had a lease since, even if that one has ended.
        Some(epoch) => !is_own || row.epoch != *epoch,
        None => row.holder.is_some() && row.is_held && !is_own,
    };
    match is_lost {
        true => Err(ServerError::LeaseLost),
        false => Ok(()),
    }
}

/// The epoch of the lease that a commit takes or renews; `None` if the store takes no leases.
pub(crate) fn epoch_after(server: &Server, runtime: &str, row: &LockRow) -> Option<i64> {
    server.holder.as_ref().filter(|_| runtime != WHOLE_STORE)?;
    match row.holder == server.holder {
        true => Some(row.epoch),
        false => Some(row.epoch.saturating_add(1)),
    }
}

/// Notes the leases that a commit has taken.
pub(crate) fn note(server: &Server, taken: impl Iterator<Item = (String, i64)>) {
    let leases = server.leases.lock();
    leases.unwrap_or_else(PoisonError::into_inner).extend(taken);
}

/// Renews all leases of the store, and returns their runtimes. Skips rows that a turn has locked: a long turn must not cost the
/// other leases.
const RENEW: &str = "UPDATE locks AS t SET expires = clock_timestamp() + $2 * interval '1 ms'
    FROM (SELECT runtime FROM locks WHERE holder = $1 AND runtime = ANY($3)
        FOR UPDATE SKIP LOCKED) AS u
    WHERE t.runtime = u.runtime RETURNING t.runtime";

/// How often a renewal comes back to rows that were locked, and after what pause.
const RENEWALS: u32 = 5;
const RENEWAL_PAUSE: Duration = Duration::from_millis(20);

/// Ends all leases of the store.
const RELEASE: &str = "UPDATE locks AS t SET holder = NULL, expires = NULL
    FROM (SELECT runtime FROM locks WHERE holder = $1 AND runtime = ANY($2)
        ORDER BY runtime FOR UPDATE) AS u
    WHERE t.runtime = u.runtime";

impl Server {
    fn leased(&self) -> Vec<Vec<u8>> {
        let leases = self.leases.lock();
        let leases = leases.unwrap_or_else(PoisonError::into_inner);
        leases.keys().map(|id| key(id).into_owned()).collect()
    }

    /// Renews the leases until the store is closed, on a thread of its own. It ends with the store.
    pub(crate) fn renew_leases(self: &Arc<Self>) -> std::io::Result<()> {
        if self.holder.is_none() {
            return Ok(());
        }
        let (server, pause) = (Arc::downgrade(self), self.options.lease / 3);
        std::thread::Builder::new()
            .name("runtime-store-leases".to_owned())
            .spawn(move || {
                while let Some(server) = Weak::upgrade(&server).filter(|server| !server.is_closed())
                {
                    // A lease that cannot be renewed ends; the next turn finds out.
                    let _ = server.renew_once();
                    drop(server);
                    std::thread::sleep(pause);
                }
            })?;
        Ok(())
    }

    fn renew_once(self: &Arc<Self>) -> Result<(), ServerError> {
        let (Some(holder), mut leased) = (&self.holder, self.leased()) else {
            return Ok(());
        };
        if leased.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + self.options.lease / 2;
        let connection = self.checkout_reserved(deadline)?;
        let lease = lease_ms(self);
        for _ in 0..RENEWALS {
            let renewed = connection.query(RENEW, &[holder, &lease, &leased], deadline)?;
            for row in &renewed {
                let id: &[u8] = row.try_get(0)?;
                leased.retain(|leased| leased != id);
            }
            if leased.is_empty() || Instant::now() + RENEWAL_PAUSE >= deadline {
                break;
            }
            std::thread::sleep(RENEWAL_PAUSE);
        }
        Ok(())
    }

    /// Ends the leases of the store, so that other hosts need not wait for their end.
    pub(crate) fn release_leases(self: &Arc<Self>) -> Result<(), ServerError> {
        let (Some(holder), leased) = (&self.holder, self.leased()) else {
            return Ok(());
        };
        if leased.is_empty() {
            return Ok(());
        }
        let deadline = self.deadline();
        let connection = self.checkout_reserved(deadline)?;
        connection.execute(RELEASE, &[holder, &leased], deadline)?;
        Ok(())
    }
}

/// The length of a lease in milliseconds, as the statements take it.
pub(crate) fn lease_ms(server: &Server) -> f64 {
    server.options.lease.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::{check, epoch_after, note};
    use crate::engine::postgres::lock_row::{LockRow, Version};
    use crate::engine::postgres::options::{PostgresOptions, Writers};
    use crate::engine::postgres::server::Server;
    use crate::engine::postgres::wire::address::Address;

    fn server(writers: Writers) -> Server {
        let url = "postgres://127.0.0.1/x";
        let options = PostgresOptions::new(url).writers(writers);
        Server::new(options, Address::parse(url).unwrap(), "me".to_owned()).unwrap()
    }

    fn row(holder: Option<&str>, epoch: i64, is_held: bool) -> LockRow {
        LockRow {
            version: Version::default(),
            holder: holder.map(str::to_owned),
            epoch,
            is_held,
        }
    }

    #[test]
    fn live_lease_of_another_host_excludes_all() {
        for writers in [Writers::Many, Writers::OnePerRuntime] {
            let server = server(writers);
            assert!(check(&server, "r", &row(Some("other"), 1, true)).is_err());
            assert!(check(&server, "r", &row(Some("other"), 1, false)).is_ok());
            assert!(check(&server, "", &row(Some("other"), 1, true)).is_ok());
        }
    }

    #[test]
    fn host_that_lost_its_lease_writes_nothing() {
        let server = server(Writers::OnePerRuntime);
        let free = row(None, 3, false);
        assert_eq!(epoch_after(&server, "r", &free), Some(4));
        note(&server, [("r".to_owned(), 4)].into_iter());
        assert!(check(&server, "r", &row(Some("me"), 4, false)).is_ok());
        // Another host had the lease meanwhile, and gave it up.
        assert!(check(&server, "r", &row(None, 5, false)).is_err());
        assert!(check(&server, "r", &row(Some("other"), 5, false)).is_err());
    }

    #[test]
    fn stores_without_leases_take_none() {
        let server = server(Writers::Many);
        assert_eq!(epoch_after(&server, "r", &row(None, 3, false)), None);
    }
}
