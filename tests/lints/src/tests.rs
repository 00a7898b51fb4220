//! Small trees that break each rule, and one that breaks none.

use crate::modules::{self, Sources};
use crate::{imports, pages, rooms, syncs};
use std::fs;
use tempfile::TempDir;

fn tree(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn sources(files: &[(&str, &str)]) -> (TempDir, Sources) {
    let root = tree(files);
    let sources = modules::read(root.path()).unwrap();
    (root, sources)
}

fn arrows(files: &[(&str, &str)]) -> Vec<String> {
    let (_root, sources) = sources(files);
    imports::arrows(&sources)
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn violations(files: &[(&str, &str)]) -> Vec<String> {
    let (root, sources) = sources(files);
    let arrows = imports::arrows(&sources);
    rooms::violations(root.path(), &sources, &arrows).unwrap()
}

const LIB: (&str, &str) = ("src/lib.rs", "mod model; mod store; pub use store::Store;");
const MODEL: (&str, &str) = ("src/model/mod.rs", "pub mod id;");
const STORE: (&str, &str) = (
    "src/store/mod.rs",
    "mod handle; mod read; pub use handle::Store;",
);
const HANDLE: (&str, &str) = (
    "src/store/handle.rs",
    "use crate::model::id::Id; pub struct Store(Id);",
);
const READ: (&str, &str) = (
    "src/store/read.rs",
    "use super::handle; fn read(_: &handle::Store) {}",
);

#[test]
fn sound_tree_has_no_violation() {
    let id = ("src/model/id.rs", "pub struct Id;");
    let tree = [LIB, MODEL, id, STORE, HANDLE, READ];
    assert_eq!(violations(&tree), Vec::<String>::new());
    assert_eq!(
        arrows(&tree),
        [
            "src/lib.rs -> src/store/mod.rs: Store",
            "src/lib.rs -> src/store/handle.rs: Store",
            "src/store/mod.rs -> src/store/handle.rs: Store",
            "src/store/handle.rs -> src/model/id.rs: Id",
            "src/store/read.rs -> src/store/handle.rs: Store, handle",
        ]
    );
}

#[test]
fn upward_arrow_between_rooms_is_found() {
    let id = (
        "src/model/id.rs",
        "pub struct Id; fn of() { crate::store::read::read() }",
    );
    let found = violations(&[LIB, MODEL, id, STORE, HANDLE, READ]);
    assert!(
        found.contains(
            &"upward arrow from src/model to src/store: \
              src/model/id.rs -> src/store/read.rs: read"
                .to_owned()
        ),
        "{found:#?}"
    );
}

#[test]
fn arrow_inside_a_macro_is_found() {
    let id = (
        "src/model/id.rs",
        "pub struct Id; fn of() { println!(\"{}\", crate::store::handle::NAME) }",
    );
    let found = violations(&[LIB, MODEL, id, STORE, HANDLE, READ]);
    assert!(found.iter().any(|found| found.contains("upward arrow")));
}

#[test]
fn comments_texts_and_tests_make_no_arrow() {
    let id = (
        "src/model/id.rs",
        "/// [`crate::store::Store`]\npub struct Id;\n// use crate::store::Store;\n\
         const TEXT: &str = \"crate::store::Store\";\n\
         #[cfg(test)]\nmod tests { use crate::store::Store; }\n\
         #[cfg(all(test, unix))]\nuse crate::store::Store;\n",
    );
    let tree = [LIB, MODEL, id, STORE, HANDLE, READ];
    assert_eq!(violations(&tree), Vec::<String>::new());
}

#[test]
fn circle_between_files_is_found_with_its_names() {
    let id = ("src/model/id.rs", "pub struct Id;");
    let handle = (
        "src/store/handle.rs",
        "use super::read::{self, Reader as R}; pub struct Store(R); fn f() { read::all() }",
    );
    let read = (
        "src/store/read.rs",
        "pub struct Reader; pub fn all() { super::handle::Store }",
    );
    let found = violations(&[LIB, MODEL, id, STORE, handle, read]);
    assert_eq!(
        found,
        ["circle of 2 files:\n\
          \x20 src/store/handle.rs -> src/store/read.rs: Reader, all, read\n\
          \x20 src/store/read.rs -> src/store/handle.rs: Store"]
    );
}

#[test]
fn re_export_of_the_own_page_is_a_circle() {
    let id = ("src/model/id.rs", "pub struct Id;");
    let read = ("src/store/read.rs", "use super::Store;");
    let found = violations(&[LIB, MODEL, id, STORE, HANDLE, read]);
    // The page does not import `read`: an arrow through it, and no circle yet.
    assert_eq!(found, Vec::<String>::new());
    let page = (
        "src/store/mod.rs",
        "mod handle; mod read; pub use handle::Store; pub use read::Reader;",
    );
    let read = (
        "src/store/read.rs",
        "use super::Store; pub struct Reader(Store);",
    );
    let found = violations(&[LIB, MODEL, id, page, HANDLE, read]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("circle of 2 files:"), "{found:#?}");
    let file = "src/store/read.rs -> src/store/mod.rs: Store";
    assert!(found[0].contains(file), "{found:#?}");
}

#[test]
fn circle_between_folders_of_a_room_is_found() {
    let found = violations(&[
        ("src/lib.rs", "mod layout;"),
        ("src/layout/mod.rs", "mod read; mod dir;"),
        ("src/layout/read/mod.rs", "pub mod a; pub mod b;"),
        (
            "src/layout/read/a.rs",
            "use crate::layout::dir::c::C; pub struct A(C);",
        ),
        ("src/layout/read/b.rs", "pub struct B;"),
        ("src/layout/dir/mod.rs", "pub mod c; pub mod d;"),
        ("src/layout/dir/c.rs", "pub struct C;"),
        ("src/layout/dir/d.rs", "use super::super::read::b::B;"),
    ]);
    assert_eq!(found.len(), 1, "{found:#?}");
    let folders = "circle of folders src/layout/dir, src/layout/read:";
    assert!(found[0].starts_with(folders), "{found:#?}");
}

#[test]
fn type_in_a_page_and_stray_file_are_found() {
    let found = violations(&[
        ("src/lib.rs", "mod model; mod stray;"),
        (
            "src/model/mod.rs",
            "pub(crate) struct A; const fn f() {} #[cfg(test)] struct T;",
        ),
        ("src/stray.rs", ""),
    ]);
    assert_eq!(
        found,
        [
            "src/stray.rs: stands in no room",
            "src/model/mod.rs: struct A in a mod.rs",
            "src/model/mod.rs: fn f in a mod.rs",
        ]
    );
}

#[test]
fn folder_with_25_files_is_found() {
    let names: Vec<String> = (0..24).map(|n| format!("src/model/m{n}.rs")).collect();
    let mut tree = vec![("src/lib.rs", "mod model;"), ("src/model/mod.rs", "")];
    tree.extend(names.iter().map(|name| (name.as_str(), "")));
    let full = "src/model: 25 files in one folder, more than 24";
    assert_eq!(violations(&tree), [full]);
    tree.pop();
    assert_eq!(violations(&tree), Vec::<String>::new());
}

#[test]
fn program_imports_the_library_by_its_name() {
    let id = ("src/model/id.rs", "pub struct Id;");
    let main = (
        "src/bin/runtime-store/main.rs",
        "use redb_runtime_store::Store;",
    );
    assert!(
        arrows(&[LIB, MODEL, id, STORE, HANDLE, READ, main])
            .contains(&"src/bin/runtime-store/main.rs -> src/lib.rs: Store".to_owned())
    );
}

#[test]
fn file_outside_src_belongs_to_its_declaring_room() {
    let tree = [
        ("src/lib.rs", "mod model; mod store;"),
        (
            "src/model/mod.rs",
            "#[path = \"../../migrations/first.rs\"] mod first;",
        ),
        ("migrations/first.rs", "use crate::store::Store;"),
        ("src/store/mod.rs", "mod handle; pub use handle::Store;"),
        ("src/store/handle.rs", "pub struct Store;"),
    ];
    let found = violations(&tree);
    assert_eq!(found.len(), 2, "{found:#?}");
    let arrow = "upward arrow from src/model to src/store: migrations/first.rs -> ";
    assert!(found[0].starts_with(arrow), "{found:#?}");
}

#[test]
fn sync_that_bypasses_steps_is_found() {
    let steps = "fn f() {\n\
         File::from(file.as_fd().try_clone_to_owned()?).sync_all()?;\n\
         step(|| Step::Synced(path.to_owned()));\n}";
    let (_root, sound) = sources(&[("src/lib.rs", "mod steps;"), ("src/steps.rs", steps)]);
    assert_eq!(syncs::violations(&sound), Vec::<String>::new());
    let lib = "mod steps;\nfn f() { file.sync_all() }";
    let (_root, broken) = sources(&[("src/lib.rs", lib), ("src/steps.rs", steps)]);
    assert_eq!(
        syncs::violations(&broken),
        ["src/lib.rs:2: a sync that bypasses steps: fn f() { file.sync_all() }"]
    );
    let (_root, none) = sources(&[("src/lib.rs", "mod steps;"), ("src/steps.rs", "")]);
    assert_eq!(syncs::violations(&none).len(), 1);
}

#[test]
fn pages_name_tests_and_errors() {
    let page = "`commits::one_two_three_four` and `Store::open`, `store::x`";
    let test = ("commits".to_owned(), "one_two_three_four".to_owned());
    assert_eq!(
        pages::named_tests(page).into_iter().collect::<Vec<_>>(),
        [test]
    );
    let source = "pub enum E {\n    /// A.\n    A(u8),\n    B,\n}\n    C,\n";
    assert_eq!(pages::variants(source, "E"), ["A", "B"]);
}

#[test]
fn missing_page_names_are_found() {
    let root = tree(&[
        ("src/lib.rs", ""),
        ("src/error.rs", "pub enum RuntimeError {\n    Lost,\n}\n"),
        ("README.md", "`commits::no_such_test_here`"),
        ("docs/errors.md", ""),
        ("examples/a.rs", "fn main() {}"),
        ("tests/suite/commits.rs", "fn another_test() {}"),
    ]);
    assert_eq!(
        pages::violations(root.path()).unwrap(),
        [
            "README.md: there is no test commits::no_such_test_here",
            "docs: only 1 tests are named",
            "src/error.rs: only 1 variants were found",
            "docs/errors.md: no advice for Lost",
            "examples/a.rs: no page at its beginning",
            "examples/a.rs: does not say how it is run",
        ]
    );
}
