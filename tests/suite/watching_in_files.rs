//! Followers of an event log in a file: of other processes, of a file that is moved or replaced, and of the program.

use crate::support::{TestChild, assert_refused, named, scratch, tell, told_as_child};
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::time::Duration;

fn open(path: &std::path::Path) -> Runtime {
    Store::open(path).unwrap().runtime(named("r")).unwrap()
}

#[test]
fn follower_reports_missing_file() {
    let (_directory, path) = scratch();
    open(&path).store().close().unwrap();
    let follow = || {
        let store = Store::open_read_only(&path).unwrap();
        let runtime = store.runtime(named("r")).unwrap();
        let now = runtime.event_cursor_now().unwrap();
        runtime.follow_events(now).unwrap()
    };
    let mut follower = follow();
    assert_eq!(follower.next_batch(Duration::ZERO).unwrap(), None);
    let copy = path.with_extension("copy");
    std::fs::copy(&path, &copy).unwrap();
    std::fs::rename(&copy, &path).unwrap();
    assert_refused!(
        follower.next_batch(Duration::MAX),
        RuntimeError::StoreMoved { operation: "follow events", place, .. }
            if place.as_path() == Some(path.as_path())
    );
    let mut follower = follow();
    std::fs::rename(&path, &copy).unwrap();
    assert_refused!(
        follower.next_batch(Duration::MAX),
        RuntimeError::StoreMoved { .. }
    );
    std::fs::rename(&copy, &path).unwrap();
    assert_eq!(follower.next_batch(Duration::ZERO).unwrap(), None);
}

#[cfg(all(unix, feature = "program"))]
mod program {
    use super::{TestChild, open, scratch, tell, told_as_child};
    use crate::support::{
        all_events, bulk, event, full_request, runtime_id, runtime_snapshot, say,
    };
    use redb_runtime_store::Store;
    use std::io::{BufRead, BufReader, Read};
    use std::path::Path;
    use std::process::{Child, ChildStdout, Command, Stdio};

    /// The program, following.
    struct Follows {
        child: Child,
        lines: std::io::Lines<BufReader<ChildStdout>>,
    }

    impl Follows {
        fn start(arguments: &[&str], store: &Path) -> Self {
            let mut child = Command::new(env!("CARGO_BIN_EXE_runtime-store"))
                .arg(arguments[0])
                .arg(store)
                .args(&arguments[1..])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            Self { child, lines }
        }

        fn line(&mut self) -> String {
            self.lines.next().expect("a line").unwrap()
        }

        fn send(&self, signal: &str) {
            let pid = self.child.id().to_string();
            let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
            assert!(sent.success());
        }

        /// Waits until the program ends. Returns its exit code and its standard error.
        fn end(mut self) -> (Option<i32>, String) {
            let more = self.lines.next().map(Result::unwrap);
            assert_eq!(more, None, "a line more");
            let mut said = String::new();
            let mut stderr = self.child.stderr.take().unwrap();
            stderr.read_to_string(&mut said).unwrap();
            (self.child.wait().unwrap().code(), said)
        }

        /// Interrupts the program; its exit code.
        fn interrupt(mut self) -> Option<i32> {
            self.send("-INT");
            assert!(self.lines.next().is_none(), "a line after the interrupt");
            self.child.wait().unwrap().code()
        }
    }

    #[test]
    fn follow_prints_events_across_host_restart() {
        let (_directory, path) = scratch();
        let runtime = open(&path);
        let worker = runtime.create_worker(full_request()).unwrap().worker_ref;
        let mut follows = Follows::start(&["events", "--follow", "--json", "--no-time"], &path);
        let mut printed = vec![follows.line(), follows.line()];
        for round in 0..3 {
            let runtime = open(&path);
            for input in 0..20 {
                say(&runtime, &worker, &format!("{round} {input}")).unwrap();
                // Each line is flushed before the next event exists.
                printed.push(follows.line());
            }
            runtime.store().close().unwrap();
        }
        let runtime = open(&path);
        runtime.stop_runtime().unwrap();
        printed.push(follows.line());
        let expected: Vec<String> = all_events(&runtime)
            .iter()
            .map(|event| serde_json::to_string(event).unwrap())
            .collect();
        assert_eq!(printed, expected);
        assert_eq!(follows.interrupt(), Some(0));
    }

    #[test]
    fn follow_prints_transcript_as_it_grows() {
        let (_directory, path) = scratch();
        let runtime = open(&path);
        let worker = runtime.create_worker(full_request()).unwrap().worker_ref;
        let other = runtime.create_worker(full_request()).unwrap().worker_ref;
        say(&runtime, &worker, "before").unwrap();
        let name = worker.worker_id.as_str();
        let mut follows = Follows::start(&["transcript", name, "--follow", "--no-time"], &path);
        assert_eq!(follows.line().trim(), "1 user       before");
        for input in 2..10 {
            say(&runtime, &other, "not this one").unwrap();
            say(&runtime, &worker, &format!("input {input}")).unwrap();
            let expected = format!("{input} user       input {input}");
            assert_eq!(follows.line().trim(), expected);
        }
        assert_eq!(follows.interrupt(), Some(0));
    }

    #[test]
    fn follow_ends_when_its_pipe_closes() {
        let (_directory, path) = scratch();
        let runtime = open(&path);
        let worker = runtime.create_worker(full_request()).unwrap().worker_ref;
        let mut follows = Follows::start(&["events", "--follow", "--json"], &path);
        follows.line();
        let Follows { mut child, lines } = follows;
        drop(lines);
        say(&runtime, &worker, "to nobody").unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }

    #[test]
    fn follow_ends_without_waiting_for_events() {
        let (_directory, path) = scratch();
        let _runtime = open(&path);
        let mut follows = Follows::start(&["events", "--follow", "--json"], &path);
        follows.line();
        let Follows { mut child, lines } = follows;
        drop(lines);
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }

    #[test]
    fn follow_ends_cleanly_on_signals() {
        let (_directory, path) = scratch();
        let _runtime = open(&path);
        for signal in ["-INT", "-TERM", "-HUP"] {
            let mut follows = Follows::start(&["events", "--follow", "--json"], &path);
            follows.line();
            follows.send(signal);
            assert_eq!(follows.end(), (Some(0), String::new()), "{signal}");
        }
    }

    #[test]
    fn blocked_follow_pins_no_old_snapshot() {
        let (_directory, path) = scratch();
        let store = Store::open(&path).unwrap();
        bulk(&store, |load| {
            for id in 1..=3000 {
                load.append_event(&runtime_id("r"), event(id, &"long ".repeat(50)).into())?;
            }
            load.put_runtime(runtime_snapshot("r", 3001).into())
        });
        let mut follows = Follows::start(&["events", "--follow", "--json"], &path);
        // The program has then written more than a pipe holds, so it blocks.
        follows.line();
        let compacted = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            store.compact().is_ok()
        });
        assert!(compacted, "a reader still pins an old snapshot");
        follows.send("-INT");
        assert_eq!(follows.child.wait().unwrap().code(), Some(0));
    }

    #[test]
    fn follow_continues_in_replaced_file() {
        let (_directory, path) = scratch();
        let runtime = open(&path);
        let worker = runtime.create_worker(full_request()).unwrap().worker_ref;
        say(&runtime, &worker, "before").unwrap();
        runtime.store().close().unwrap();
        let name = worker.worker_id.as_str();
        let mut events = Follows::start(&["events", "--follow", "--json", "--no-time"], &path);
        let mut transcript = Follows::start(&["transcript", name, "--follow", "--json"], &path);
        let mut printed: Vec<String> = (0..3).map(|_| events.line()).collect();
        transcript.line();
        let copy = path.with_extension("copy");
        std::fs::copy(&path, &copy).unwrap();
        let runtime = open(&copy);
        for input in 0..3 {
            say(&runtime, &worker, &format!("input {input}")).unwrap();
        }
        let expected: Vec<String> = all_events(&runtime)
            .iter()
            .map(|event| serde_json::to_string(event).unwrap())
            .collect();
        runtime.store().close().unwrap();
        std::fs::rename(&copy, &path).unwrap();
        printed.extend((0..3).map(|_| events.line()));
        assert_eq!(printed, expected);
        for input in 0..3 {
            assert!(transcript.line().contains(&format!("input {input}")));
        }
        assert_eq!(events.interrupt(), Some(0));
        assert_eq!(transcript.interrupt(), Some(0));
    }

    #[test]
    fn follow_fails_when_log_is_replaced() {
        let (_directory, path) = scratch();
        let runtime = open(&path);
        let worker = runtime.create_worker(full_request()).unwrap().worker_ref;
        say(&runtime, &worker, "before").unwrap();
        runtime.store().close().unwrap();
        let whole = std::fs::read(&path).unwrap();
        let name = worker.worker_id.as_str();
        let follow = || {
            std::fs::write(&path, &whole).unwrap();
            let mut events = Follows::start(&["events", "--follow", "--json"], &path);
            let mut transcript =
                Follows::start(&["transcript", name, "--follow", "--no-time"], &path);
            (0..3).for_each(|_| drop(events.line()));
            transcript.line();
            [events, transcript]
        };
        // Another handle than the reader removes the runtime.
        let followers = follow();
        let store = Store::open(&path).unwrap();
        bulk(&store, |load| load.remove_runtime(&runtime_id("r")));
        for (follower, says) in followers.into_iter().zip(["no runtime r", "no worker"]) {
            let (code, said) = follower.end();
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains(says), "{said}");
        }
        store.close().unwrap();
        std::fs::remove_file(&path).unwrap();
        // Another store replaces the file.
        let followers = follow();
        let other = path.with_extension("other");
        let runtime = open(&other);
        let workers = [(); 3].map(|()| runtime.create_worker(full_request()).unwrap().worker_ref);
        for worker in &workers {
            say(&runtime, worker, "of another log").unwrap();
        }
        runtime.store().close().unwrap();
        std::fs::rename(&other, &path).unwrap();
        for follower in followers {
            let (code, said) = follower.end();
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains("the log was replaced"), "{said}");
        }
        std::fs::remove_file(&path).unwrap();
        let followers = follow();
        std::fs::remove_file(&path).unwrap();
        for follower in followers {
            let (code, said) = follower.end();
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains("no such file"), "{said}");
        }
    }

    #[test]
    fn limit_ends_a_follow() {
        let (_directory, path) = scratch();
        let runtime = open(&path);
        let worker = runtime.create_worker(full_request()).unwrap().worker_ref;
        let arguments = ["events", "--follow", "--json", "--limit", "4"];
        let mut follows = Follows::start(&arguments, &path);
        follows.line();
        for input in 0..5 {
            say(&runtime, &worker, &format!("input {input}")).unwrap();
        }
        assert_eq!(follows.lines.by_ref().count(), 3);
        assert_eq!(follows.child.wait().unwrap().code(), Some(0));
    }

    #[test]
    fn store_under_repair_is_locked() {
        let name = "watching_in_files::program::store_under_repair_is_locked";
        if let Some(path) = told_as_child() {
            let options = Store::options().on_repair(|_| {
                tell("repairing");
                let _ = std::io::stdin().read(&mut [0]);
                std::ops::ControlFlow::Continue(())
            });
            options.open(path).unwrap();
            return;
        }
        let (_directory, path) = scratch();
        let runtime = open(&path);
        let left = path.with_extension("left");
        std::fs::copy(&path, &left).unwrap();
        drop(runtime);
        let mut host = TestChild::start(name, &left);
        assert_eq!(host.hear().as_deref(), Some("repairing"));
        let output = Command::new(env!("CARGO_BIN_EXE_runtime-store"))
            .args(["runtimes".as_ref(), left.as_os_str()])
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{error}");
        assert!(!error.contains("--no-repair"), "{error}");
    }

    #[test]
    fn reading_verbs_report_their_repair() {
        let (_directory, path) = scratch();
        let store = Store::open(&path).unwrap();
        store.runtime(crate::support::named("r")).unwrap();
        // The bytes of an open file are those that a kill leaves.
        let left = path.with_extension("left");
        std::fs::copy(&path, &left).unwrap();
        let run = |arguments: &[&str]| {
            let output = Command::new(env!("CARGO_BIN_EXE_runtime-store"))
                .arg(arguments[0])
                .arg(&left)
                .args(&arguments[1..])
                .output()
                .unwrap();
            let error = String::from_utf8(output.stderr).unwrap();
            (output.status.code(), error)
        };
        let before = std::fs::read(&left).unwrap();
        let (code, error) = run(&["runtimes", "--no-repair"]);
        assert_eq!(code, Some(1));
        assert!(error.contains("not closed cleanly"), "{error}");
        assert!(
            before == std::fs::read(&left).unwrap(),
            "the file was touched"
        );
        let (code, error) = run(&["events"]);
        assert_eq!(code, Some(0), "{error}");
        assert!(error.contains("repairing it"), "{error}");
        let (code, error) = run(&["events", "--no-repair"]);
        assert_eq!((code, error.as_str()), (Some(0), ""));
    }
}
