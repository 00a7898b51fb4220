//! The proxy understands the protocol as far as it must.

use postgres_tests::frames::{Commits, Frame, Start};

fn frame(tag: u8, body: &[u8]) -> Frame {
    let length = (body.len() as u32 + 4).to_be_bytes();
    let bytes = [&[tag][..], &length, body].concat();
    Frame::read(&mut &bytes[..]).unwrap().unwrap()
}

#[test]
fn commit_is_found_in_every_form() {
    let mut commits = Commits::default();
    assert!(commits.has_commit(&frame(b'Q', b"COMMIT\0")));
    assert!(commits.has_commit(&frame(b'Q', b"insert into t values (1); commit;\0")));
    assert!(!commits.has_commit(&frame(b'Q', b"SELECT 'COMMIT'\0")));
    assert!(!commits.has_commit(&frame(b'P', b"s1\0COMMIT\0\0\0")));
    assert!(!commits.has_commit(&frame(b'B', b"\0s2\0\0\0\0\0\0\0")));
    assert!(!commits.has_commit(&frame(b'E', b"\0\0\0\0\0")));
    assert!(!commits.has_commit(&frame(b'B', b"\0s1\0\0\0\0\0\0\0")));
    assert!(commits.has_commit(&frame(b'E', b"\0\0\0\0\0")));
    assert!(frame(b'C', b"COMMIT\0").is_commit_answer());
    assert!(!frame(b'C', b"ROLLBACK\0").is_commit_answer());
}

#[test]
fn broken_lengths_are_errors() {
    assert!(Frame::read(&mut &b""[..]).unwrap().is_none());
    assert!(Frame::read(&mut &b"Q\0\0\0\x03"[..]).is_err());
    assert!(Frame::read(&mut &b"Q\xff\xff\xff\xff"[..]).is_err());
    assert!(Frame::read(&mut &b"Q\0\0\0\x08ab"[..]).is_err());
    let start = Frame::read_start(&mut &b"\0\0\0\x08\x04\xd2\x16\x2f"[..]).unwrap();
    assert_eq!(start.start(), Start::Encryption);
}
