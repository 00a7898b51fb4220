//! A connection to a server that follows a script.

use super::{Call, Connection};
use crate::engine::postgres::wire::io_thread::{IoThread, block_on};
use crate::engine::postgres::wire::server_error::ServerError;
use bytes::BytesMut;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Config, NoTls};

/// What the server says instead of its usual answer to a statement.
#[derive(Clone, Copy)]
enum Answer {
    /// An error with this severity and state. After FATAL and PANIC the server ends.
    Error(&'static str, &'static str),
    /// A warning in another language, and the usual answer.
    ForeignWarning,
}

/// A server that takes every statement, and answers one of them otherwise.
struct Script {
    statement: &'static str,
    answer: Answer,
    seen: Arc<Mutex<Vec<String>>>,
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag], &length.to_be_bytes()[..], body].concat()
}

fn fields(severity: &str, localized: &str, code: &str) -> Vec<u8> {
    format!("S{localized}\0V{severity}\0C{code}\0Mscripted\0\0").into_bytes()
}

impl Script {
    /// The body of the next message of the client, and its type.
    fn read(stream: &mut TcpStream, has_tag: bool) -> Option<(u8, Vec<u8>)> {
        let (mut tag, mut length) = ([0; 1], [0; 4]);
        if has_tag {
            stream.read_exact(&mut tag).ok()?;
        }
        stream.read_exact(&mut length).ok()?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
        stream.read_exact(&mut body).ok()?;
        Some((tag[0], body))
    }

    /// The answer to the execution of `sql`; `None` if the server ends.
    fn execute(&self, sql: &str, stream: &mut TcpStream) -> Option<()> {
        self.seen.lock().unwrap().push(sql.to_owned());
        if sql == self.statement {
            match self.answer {
                Answer::Error(severity, code) => {
                    let error = message(b'E', &fields(severity, severity, code));
                    stream.write_all(&error).ok()?;
                    return (severity == "ERROR").then_some(());
                }
                Answer::ForeignWarning => {
                    let warning = message(b'N', &fields("WARNING", "WARNUNG", "01000"));
                    stream.write_all(&warning).ok()?;
                }
            }
        }
        stream.write_all(&message(b'C', b"DONE\0")).ok()
    }

    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        Self::read(&mut stream, false)?;
        let ready = message(b'Z', b"I");
        let begin = [message(b'R', &[0; 4]), ready.clone()].concat();
        stream.write_all(&begin).ok()?;
        let (mut prepared, mut bound) = (Vec::<(String, String)>::new(), String::new());
        loop {
            let (tag, body) = Self::read(&mut stream, true)?;
            let mut texts = body.split(|byte| *byte == 0).map(String::from_utf8_lossy);
            let mut text = || texts.next().unwrap_or_default().into_owned();
            match tag {
                b'Q' => {
                    self.execute(&text(), &mut stream)?;
                    stream.write_all(&ready).ok()?;
                }
                b'P' => {
                    prepared.push((text(), text()));
                    stream.write_all(&message(b'1', &[])).ok()?;
                }
                b'D' => {
                    let count = prepared.last()?.1.matches('$').count();
                    let bytea = 17_u32.to_be_bytes().repeat(count);
                    let count = u16::try_from(count).unwrap().to_be_bytes();
                    let parameters = message(b't', &[&count[..], &bytea].concat());
                    stream.write_all(&parameters).ok()?;
                    stream.write_all(&message(b'n', &[])).ok()?;
                }
                b'B' => {
                    text();
                    let name = text();
                    bound = prepared.iter().find(|(of, _)| *of == name)?.1.clone();
                    stream.write_all(&message(b'2', &[])).ok()?;
                }
                b'E' => self.execute(&bound, &mut stream)?,
                b'S' => stream.write_all(&ready).ok()?,
                _ => {}
            }
        }
    }
}

/// A connection to a server that answers `statement` with `answer`, and what the server has seen.
fn connected(
    statement: &'static str,
    answer: Answer,
) -> (IoThread, Connection, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let script = Script {
        statement,
        answer,
        seen: Arc::clone(&seen),
    };
    thread::spawn(move || script.serve(listener.accept().unwrap().0));
    let io = IoThread::start().unwrap();
    let connecting = io.handle().spawn(async move {
        let mut config = Config::new();
        let config = config.host("127.0.0.1").port(port).user("me");
        let (client, wire) = config.connect(NoTls).await.unwrap();
        Connection::serve(&Handle::current(), client, wire)
    });
    let connection = block_on(connecting, soon()).unwrap().unwrap();
    (io, connection, seen)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// A value that is too large for a message.
#[derive(Debug)]
struct TooLarge;

impl ToSql for TooLarge {
    fn to_sql(
        &self,
        _: &Type,
        _: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        Err("too large".into())
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

const WRITE: &str = "INSERT INTO t VALUES ($1)";
const TOKEN: &str = "INSERT INTO tokens VALUES ($1)";

#[test]
fn part_of_a_batch_is_not_committed() {
    let (_io, connection, seen) = connected("none", Answer::ForeignWarning);
    let bytes: &[u8] = b"x";
    let calls = [
        Call {
            sql: TOKEN,
            params: vec![&bytes],
        },
        Call {
            sql: WRITE,
            params: vec![&TooLarge],
        },
    ];
    let committed = connection.commit(&calls, None, soon());
    assert!(matches!(committed, Err(ServerError::Invalid(_))));
    connection.run("ROLLBACK", soon()).unwrap();
    assert_eq!(*seen.lock().unwrap(), [TOKEN, "ROLLBACK"]);
}

#[test]
fn end_of_the_server_leaves_a_commit_in_doubt() {
    for (severity, code) in [("PANIC", "58030"), ("PANIC", "53100"), ("FATAL", "XX000")] {
        let (_io, connection, _) = connected("COMMIT", Answer::Error(severity, code));
        let committed = connection.commit(&[], None, soon());
        assert!(matches!(committed, Err(ServerError::Lost(_))), "{severity}");
        assert!(connection.is_closed() || connection.run("SELECT 1", soon()).is_err());
    }
    let (_io, connection, _) = connected("COMMIT", Answer::Error("ERROR", "53100"));
    let committed = connection.commit(&[], None, soon());
    assert!(matches!(committed, Err(ServerError::Refused(..))));
}

#[test]
fn query_after_a_commit_does_not_undo_it() {
    let after = "SELECT 1";
    let (_io, connection, _) = connected(after, Answer::Error("ERROR", "57014"));
    let committed = connection.commit(&[], Some(after), soon());
    assert!(matches!(committed, Err(ServerError::Lost(_))));
}

#[test]
fn warning_in_any_language_is_noticed() {
    let (_io, connection, _) = connected("COMMIT", Answer::ForeignWarning);
    connection.run("BEGIN", soon()).unwrap();
    assert!(!connection.take_warning());
    connection.commit(&[], None, soon()).unwrap();
    assert!(connection.take_warning());
}

#[test]
fn call_fails_with_the_beginning_of_its_transaction() {
    let (_io, connection, seen) = connected("BEGIN", Answer::Error("ERROR", "57014"));
    connection.begin_next("BEGIN".to_owned());
    let called = connection.run("SELECT 1", soon());
    assert!(matches!(called, Err(ServerError::Refused(..))));
    assert_eq!(*seen.lock().unwrap(), ["BEGIN", "SELECT 1"]);
    // It is sent once.
    connection.run("SELECT 2", soon()).unwrap();
    connection.begin_next("BEGIN".to_owned());
    assert!(connection.forget_beginning());
    connection.run("SELECT 3", soon()).unwrap();
    assert_eq!(seen.lock().unwrap()[2..], ["SELECT 2", "SELECT 3"]);
}
