//! The messages of PostgreSQL's protocol (version 3), as far as a proxy has to know them.

use std::io::{self, Read};

/// Longer than any message of these tests: a length above it means that the stream was misread.
const LONGEST: usize = 1 << 30;

/// One message with its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type; `None` for the first messages of a client, which have none.
    pub tag: Option<u8>,
    /// Every byte of it.
    pub bytes: Vec<u8>,
}

/// What a message without a type asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A session.
    Session,
    /// To speak TLS or GSSAPI from here on.
    Encryption,
    /// To cancel what another connection does.
    Cancel,
}

impl Frame {
    /// Reads the next message with a type. `None` at the end of the stream.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut tag = [0];
        match from.read(&mut tag)? {
            0 => Ok(None),
            _ => Self::rest(from, Some(tag[0])).map(Some),
        }
    }

    /// Reads a message without a type.
    pub fn read_start(from: &mut impl Read) -> io::Result<Self> {
        Self::rest(from, None)
    }

    fn rest(from: &mut impl Read, tag: Option<u8>) -> io::Result<Self> {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let following = (u32::from_be_bytes(length) as usize).checked_sub(4);
        let Some(following) = following.filter(|&following| following <= LONGEST) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no message"));
        };
        let mut bytes: Vec<u8> = tag.into_iter().chain(length).collect();
        let head = bytes.len();
        bytes.resize(head + following, 0);
        from.read_exact(&mut bytes[head..])?;
        Ok(Self { tag, bytes })
    }

    /// Its content.
    pub fn body(&self) -> &[u8] {
        &self.bytes[4 + usize::from(self.tag.is_some())..]
    }

    /// What a message without a type asks for.
    pub fn start(&self) -> Start {
        match self.body() {
            [0x04, 0xd2, 0x16, 0x2f | 0x30, ..] => Start::Encryption,
            [0x04, 0xd2, 0x16, 0x2e, ..] => Start::Cancel,
            _ => Start::Session,
        }
    }

    /// Whether it ends what a host asks for at once: the server answers now, and is idle afterwards.
    pub fn is_end_of_request(&self) -> bool {
        matches!(self.tag, Some(b'Q' | b'S'))
    }

    /// Whether a server says that it committed.
    pub fn is_commit_answer(&self) -> bool {
        self.tag == Some(b'C') && self.body() == b"COMMIT\0"
    }
}

/// Finds the COMMIT among the messages of a client, also when it is a prepared statement.
#[derive(Debug, Default)]
pub struct Commits {
    prepared: Vec<Vec<u8>>,
    bound: bool,
}

impl Commits {
    /// Whether `frame`, the next message of the client, has the server commit.
    pub fn has_commit(&mut self, frame: &Frame) -> bool {
        let texts: Vec<&[u8]> = frame.body().split(|&byte| byte == 0).collect();
        let text = |number: usize| texts.get(number).copied().unwrap_or_default();
        match frame.tag {
            Some(b'Q') => is_commit(text(0)),
            Some(b'P') => {
                self.prepared.retain(|name| name != text(0));
                if is_commit(text(1)) {
                    self.prepared.push(text(0).to_vec());
                }
                false
            }
            // The portal's name, then the statement's.
            Some(b'B') => {
                self.bound = self.prepared.iter().any(|name| name == text(1));
                false
            }
            Some(b'E') => self.bound,
            _ => false,
        }
    }
}

/// Whether one of the statements of `sql` is COMMIT.
fn is_commit(sql: &[u8]) -> bool {
    let sql = String::from_utf8_lossy(sql).to_uppercase();
    sql.split(';').any(|statement| statement.trim() == "COMMIT")
}
