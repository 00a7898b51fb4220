//! The commit of a turn, and how its outcome is settled when the answer is lost.

use crate::commit::failure::Failure;
use crate::engine::postgres::keys::key;
use crate::engine::postgres::lease;
use crate::engine::postgres::lock_row::Token;
use crate::engine::postgres::options::Durability;
use crate::engine::postgres::planted::PlantedServerBug;
use crate::engine::postgres::server::Server;
use crate::engine::postgres::turn::{Turn, TurnState};
use crate::engine::postgres::wire::connection::{Call, Connection};
use crate::engine::postgres::wire::server_error::ServerError;
use crate::engine::postgres::writes::batch::Batch;
use crate::engine::postgres::writes::statements as sql;
use crate::ledger::change_set::ChangeSet;
use crate::ledger::context::OpContext;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a host waits before it tries once more to settle a commit.
const PAUSE: Duration = Duration::from_millis(50);

/// Old tokens are removed within one of so many commits.
const TOKENS_EVERY: u64 = 1024;

/// How a commit is under way.
struct Attempt<'a> {
    server: &'a Arc<Server>,
    batch: &'a Batch,
    /// Tells this commit from all others.
    token: Token,
    /// Whether the server may have carried out a commit with this token.
    is_sent: bool,
}

/// What settling a commit found.
enum Settled {
    Done,
    /// The commit is not in the store, and the transaction has the locks to write it again.
    Absent,
}

/// Commits `changes` within `turn`.
pub(crate) fn commit(turn: &Turn, changes: &ChangeSet, at: OpContext<'_>) -> Result<(), Failure> {
    let failure = |error: ServerError| error.failure(at);
    let batch = Batch::encode(changes).map_err(failure)?;
    if batch.runtimes.is_empty() && !turn.state().has_written {
        return Ok(());
    }
    for runtime in &batch.runtimes {
        turn.lock(runtime).map_err(failure)?;
    }
    let mut token = Token::default();
    getrandom::fill(&mut token).map_err(|error| {
        let error = std::io::Error::from(error);
        Failure::Refused(error.kind(), error.to_string())
    })?;
    let mut attempt = Attempt {
        server: &turn.server,
        batch: &batch,
        token,
        is_sent: false,
    };
    let mut state = turn.state();
    state.deadline = turn.server.deadline();
    attempt.run(&mut state, at)?;
    turn.server.cache.committed(&state.locked, token, changes);
    Ok(())
}

impl Attempt<'_> {
    fn run(&mut self, state: &mut TurnState, at: OpContext<'_>) -> Result<(), Failure> {
        loop {
            let error = match self.write(state) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match error.is_lost() {
                true => state.cut(),
                false => state.undone(),
            }
            if matches!(error, ServerError::Refused(..) | ServerError::Invalid(_)) {
                // The server undid the transaction, and answered; or it got no COMMIT.
                self.is_sent = false;
            }
            if !error.is_passing() || Instant::now() >= state.deadline {
                return Err(self.failed(&error, at));
            }
            match self.settle_until(state) {
                Ok(Settled::Done) => return Ok(()),
                Ok(Settled::Absent) if state.has_written => return Err(error.failure(at)),
                Ok(Settled::Absent) => {}
                // The token was looked up before: the commit is not in the store.
                Err(error @ (ServerError::Conflict | ServerError::LeaseLost)) => {
                    return Err(error.failure(at));
                }
                Err(error) => return Err(self.failed(&error, at)),
            }
        }
    }

    fn has_bug(&self, bug: PlantedServerBug) -> bool {
        self.server.options.planted.is(bug)
    }

    fn failed(&self, error: &ServerError, at: OpContext<'_>) -> Failure {
        match self.is_sent {
            true => Failure::Uncertain(
                ErrorKind::TimedOut,
                format!("the outcome could not be settled in time: {error:?}"),
            ),
            false => error.failure(at),
        }
    }

    /// Writes the batch and commits the transaction, in one message to the server.
    fn write(&mut self, state: &mut TurnState) -> Result<(), ServerError> {
        state.require(self.server)?;
        let deadline = state.deadline;
        let (plain, taken) = self.changed(state);
        let leased = taken
            .iter()
            .map(|(id, epoch)| (key(id).into_owned(), *epoch));
        let (leased, epochs): (Vec<Vec<u8>>, Vec<i64>) = leased.unzip();
        let (token, lease_ms) = (&self.token[..], lease::lease_ms(self.server));
        let mut calls: Vec<Call<'_>> = self.batch.calls().collect();
        if !plain.is_empty() {
            calls.push(Call {
                sql: sql::NEXT_VERSION,
                params: vec![&plain, &token],
            });
        }
        if let (Some(holder), false) = (&self.server.holder, leased.is_empty()) {
            calls.push(Call {
                sql: sql::NEXT_VERSION_LEASED,
                params: vec![&leased, &token, &epochs, holder, &lease_ms],
            });
        }
        if !self.has_bug(PlantedServerBug::TokenMissing) {
            calls.push(Call {
                sql: sql::ADD_TOKEN,
                params: vec![&token],
            });
        }
        let commits = self.server.commits.fetch_add(1, Ordering::Relaxed);
        if commits.is_multiple_of(TOKENS_EVERY) {
            calls.push(Call {
                sql: sql::DELETE_OLD_TOKENS,
                params: Vec::new(),
            });
        }
        let connection = state.connection()?;
        self.is_sent = true;
        self.commit(connection, &calls, deadline)?;
        lease::note(self.server, taken.into_iter());
        state.committed();
        Ok(())
    }

    /// The runtimes that the commit changes: the keys of those without a lease, and the ids of the others with the epochs of
    /// their leases.
    fn changed(&self, state: &TurnState) -> (Vec<Vec<u8>>, Vec<(String, i64)>) {
        let (mut plain, mut leased) = (Vec::new(), Vec::new());
        for (id, row) in &state.locked {
            if !state.has_written && !self.batch.runtimes.contains(id) {
                continue;
            }
            match lease::epoch_after(self.server, id, row) {
                None => plain.push(key(id).into_owned()),
                Some(epoch) => leased.push((id.clone(), epoch)),
            }
        }
        (plain, leased)
    }

    /// Sends `calls` and COMMIT. `Ok` says that the commit is as durable as was asked.
    fn commit(
        &self,
        connection: &Connection,
        calls: &[Call<'_>],
        deadline: Instant,
    ) -> Result<(), ServerError> {
        let is_local = self.server.options.durability == Durability::Local;
        connection.take_warning();
        let after = (!is_local).then_some(sql::STANDBYS);
        let rows = connection.commit(calls, after, deadline)?;
        if connection.take_warning() && !self.has_bug(PlantedServerBug::CancelTakenForSuccess) {
            return Err(not_replicated());
        }
        let standbys = rows.first().map(|row| row.try_get::<_, &str>(0));
        match standbys.transpose()? {
            Some(names) if names.trim().is_empty() => Err(not_replicated()),
            _ => Ok(()),
        }
    }

    /// The planted bug of this name.
    fn settle_without_lock(&mut self, state: &mut TurnState) -> Result<Settled, ServerError> {
        let (deadline, token) = (state.deadline, &self.token[..]);
        let connection = self.server.checkout(deadline)?;
        let found = connection.query(sql::FIND_TOKEN, &[&token], deadline)?;
        if found.is_empty() {
            self.is_sent = false;
            return Ok(Settled::Absent);
        }
        state.committed();
        Ok(Settled::Done)
    }

    /// Settles the commit, during an outage until the deadline.
    fn settle_until(&mut self, state: &mut TurnState) -> Result<Settled, ServerError> {
        loop {
            let error = match self.settle(state) {
                Err(error) => error,
                settled => return settled,
            };
            match error.is_lost() {
                true => state.cut(),
                false => state.undone(),
            }
            // All others can pass. The transaction whose answer was lost holds its locks while it waits for a standby, and
            // a server that starts has no connection to spare.
            let is_final = matches!(
                error,
                ServerError::Conflict
                    | ServerError::LeaseLost
                    | ServerError::Closed
                    | ServerError::Forked
            );
            if is_final || Instant::now() + PAUSE >= state.deadline {
                return Err(error);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Looks the token up under the locks, which wait for a transaction that is still under way.
    fn settle(&mut self, state: &mut TurnState) -> Result<Settled, ServerError> {
        if self.has_bug(PlantedServerBug::SettledWithoutLock) {
            return self.settle_without_lock(state);
        }
        let found = state.begin_anew(self.server, None)?;
        let (deadline, token) = (state.deadline, &self.token[..]);
        let connection = state.connection()?;
        let is_there = !connection
            .query(sql::FIND_TOKEN, &[&token], deadline)?
            .is_empty();
        if !is_there {
            self.is_sent = false;
            state.confirm(self.server, &found)?;
            return Ok(Settled::Absent);
        }
        // A commit that only read would not wait for the standby. The locks of rows make this one wait.
        self.commit(connection, &[], deadline)?;
        let leased = found.iter().filter_map(|(id, row)| {
            let is_own = row.holder.is_some() && row.holder == self.server.holder;
            is_own.then(|| (id.clone(), row.epoch))
        });
        lease::note(self.server, leased);
        state.committed();
        Ok(Settled::Done)
    }
}

/// A commit that the server ended without its standby: with a warning if its wait was cancelled, without one if an operator
/// set `synchronous_standby_names` to nothing meanwhile.
fn not_replicated() -> ServerError {
    ServerError::Lost("the server ended its wait for the standby".to_owned())
}
