//! A record of free pages that is wrong, with checksums that are right.

use super::super::page_layout::{Child, Geometry, HEADER_BYTES, Header, Reference};
use super::*;
use crate::Store;
use crate::catalog::CreateWorkerRequest;
use crate::interaction::WorkerInput;
use crate::management::RuntimeOptions;
use crate::store::{VerifyKind, VerifyOptions};
use xxhash_rust::xxh3::xxh3_128;

/// redb's own table of what is free, which it writes when it closes: what the keys of its rows begin
/// with that are about a region of the file, and where in such a row the bits begin that say of pages what is free.
const FREE_PAGES: &[u8] = b"allocator_state";
const REGION: u8 = 3;
const PAGES: usize = 112;

/// Where the checksums of the header's commits stand, after what they are of.
const SLOTS: [usize; 2] = [64, 192];
const SLOT_SUM: usize = 112;

fn page(file: &[u8], geometry: Geometry, at: Reference) -> std::ops::Range<usize> {
    let (offset, bytes) = geometry.place(at.number);
    let start = usize::try_from(offset).unwrap();
    assert!(start < file.len());
    start..start + usize::try_from(bytes).unwrap()
}

/// Flips the bits `mask` of `file[offset]`, which is in the page of the last reference of `way`, and
/// makes every checksum on the way to it right again.
fn change(file: &mut [u8], geometry: Geometry, way: &[Reference], offset: usize, mask: u8) {
    let sums = way.iter().rev().map(|one| {
        let page = page(file, geometry, *one);
        // What a checksum is of ends with the last entry.
        let end = (1..=page.len()).find(|end| {
            let sum = xxh3_128(&file[page.start..page.start + end]);
            sum as u64 == one.sum
        });
        page.start..page.start + end.unwrap()
    });
    let sums: Vec<_> = sums.collect();
    let old: Vec<_> = sums.iter().map(|of| xxh3_128(&file[of.clone()])).collect();
    file[offset] ^= mask;
    for (of, old) in sums.iter().zip(old) {
        let (old, new) = (old.to_le_bytes(), xxh3_128(&file[of.clone()]).to_le_bytes());
        let found: Vec<_> = (0..file.len() - 16)
            .filter(|at| file[*at..*at + 16] == old)
            .collect();
        assert!(!found.is_empty());
        for at in found {
            file[at..at + 16].copy_from_slice(&new);
        }
    }
    for slot in SLOTS {
        let sum = xxh3_128(&file[slot..slot + SLOT_SUM]).to_le_bytes();
        file[slot + SLOT_SUM..slot + SLOT_SUM + 16].copy_from_slice(&sum);
    }
}

/// The pages that lead to the row of a region in the tree below the last page of `way`, and where its
/// value begins.
fn row_of_region(
    file: &[u8],
    geometry: Geometry,
    way: &[Reference],
) -> Option<(Vec<Reference>, usize)> {
    let mut found = None;
    let last = way[way.len() - 1];
    let bytes = &file[page(file, geometry, last)];
    let _ = last.tree.rows(bytes, |key, value| {
        if key.first() == Some(&REGION) {
            let start = value.as_ptr().addr() - file.as_ptr().addr();
            found = Some((way.to_vec(), start));
        }
    });
    let _ = last.tree.children(bytes, |child| {
        if let Child::Page { page, .. } = child {
            let below = row_of_region(file, geometry, &[way, &[page]].concat());
            found = found.take().or(below);
        }
    });
    found
}

/// The pages that lead to the record of free pages, and where it begins.
fn free_pages(file: &[u8]) -> (Geometry, Vec<Reference>, usize) {
    let header = Header::parse(&file[..HEADER_BYTES]).unwrap();
    let geometry = header.geometry().unwrap();
    let mut found = None;
    for root in header.primary().roots() {
        let tables = root
            .tree
            .children(&file[page(file, geometry, root)], |child| {
                if let Child::Table { name, root: table } = child
                    && name == FREE_PAGES
                {
                    found = row_of_region(file, geometry, &[root, table]);
                }
            });
        tables.unwrap();
    }
    let (way, start) = found.unwrap();
    (geometry, way, start)
}

#[test]
fn a_wrong_record_of_free_pages_is_found_where_every_page_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(RuntimeOptions::default()).unwrap();
    let request = CreateWorkerRequest::default();
    let worker = runtime.create_worker(request).unwrap().worker_ref;
    let input = WorkerInput::user("x".repeat(10_000));
    runtime.send_input(&worker, input).unwrap();
    store.close().unwrap();
    let finds_it = || {
        let report = Store::verify_file(&path, &VerifyOptions::new()).unwrap();
        report
            .findings
            .iter()
            .any(|one| one.kind == VerifyKind::FreePages)
    };
    assert!(!finds_it());
    let sound = std::fs::read(&path).unwrap();
    let (geometry, way, start) = free_pages(&sound);
    // One of these bits says of a page in use that it is free, or the other way round.
    let bits = (start + PAGES..start + PAGES + 48).flat_map(|at| (0..8).map(move |bit| (at, bit)));
    let found = bits.into_iter().any(|(at, bit)| {
        let mut file = sound.clone();
        change(&mut file, geometry, &way, at, 1 << bit);
        std::fs::write(&path, &file).unwrap();
        let at = At::new("check", &path);
        assert_eq!(
            find_damage(&path, at).unwrap(),
            Some(DamagedPages::default())
        );
        finds_it()
    });
    assert!(found);
}
