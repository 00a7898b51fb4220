//! The program in a terminal: the pager, interrupts, another size, bars, colours. The screen is read as a person sees it,
//! and compared with snapshots in two widths.

use super::program::{Workplace, command};
use super::program_help::assert_snapshot;
use crate::support::send_many;
use crate::terminal::{NEW_SCREEN, resize, start, terminal};
use redb_runtime_store::catalog::CreateWorkerRequest;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use unicode_width::UnicodeWidthStr as _;

/// Longer than any of these runs takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that runs in a terminal of its own.
struct Terminal {
    keyboard: File,
    screen: Arc<Mutex<vt100::Parser>>,
    /// Returns all bytes that were read.
    reader: JoinHandle<Vec<u8>>,
    child: Child,
}

fn cells(number: u16) -> NonZero<u16> {
    NonZero::new(number).expect("a terminal has cells")
}

impl Terminal {
    /// Starts the program, with `pager` as its pager, as the foreground process of a new terminal.
    fn start(size: (u16, u16), pager: Option<&str>, arguments: &[&str]) -> Self {
        let pager = pager.map(|pager| ("PAGER", pager));
        Self::start_in(size, pager.as_slice(), arguments)
    }

    /// Starts the program with these variables in its environment.
    fn start_in(
        (rows, columns): (u16, u16),
        variables: &[(&str, &str)],
        arguments: &[&str],
    ) -> Self {
        let (keyboard, end) = terminal((rows, columns));
        let child = start(end, variables, arguments);
        let mut output = keyboard.try_clone().unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(
            cells(rows),
            cells(columns),
            1000,
        )));
        let shown = Arc::clone(&screen);
        let reader = std::thread::spawn(move || {
            let (mut all, mut bytes) = (Vec::new(), [0; 4096]);
            // An error when the program has closed its end.
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..read]);
                all.extend_from_slice(&bytes[..read]);
            }
            all
        });
        Self {
            keyboard,
            screen,
            reader,
            child,
        }
    }

    fn screen(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    fn wait_for(&self, what: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let screen = self.screen();
            if what(&screen) {
                return screen;
            }
            assert!(began.elapsed() < PATIENCE, "still:\n{screen}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn resize(&self, rows: u16, columns: u16) {
        resize(&self.keyboard, (rows, columns));
        let mut screen = self.screen.lock().unwrap();
        screen.screen_mut().set_size(cells(rows), cells(columns));
    }

    /// Waits for the end of the program. Returns how it ended, and its last screen.
    fn end(self) -> (ExitStatus, String) {
        let (status, screen, _) = self.end_with_bytes();
        (status, screen)
    }

    fn end_with_bytes(mut self) -> (ExitStatus, String, Vec<u8>) {
        let began = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < PATIENCE, "still:\n{}", self.screen());
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = self.child.wait().unwrap();
        let bytes = self.reader.join().unwrap();
        let screen = self.screen.lock().unwrap().screen().contents();
        (status, screen, bytes)
    }
}

/// The screen after a run that succeeds.
fn screen_of(of: (u16, u16), pager: Option<&str>, arguments: &[&str]) -> String {
    let (status, screen) = Terminal::start(of, pager, arguments).end();
    assert!(status.success(), "{status}\n{screen}");
    screen
}

/// A pager that marks each line.
const MARKING: &str = "sed 's/^/PAGED /'";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn long_output_goes_through_pager() {
    let work = Workplace::new();
    let store = work.imported();
    let events = ["events", text(&store)];
    let paged = screen_of((6, 80), Some(MARKING), &events);
    assert!(paged.contains("PAGED      8"), "{paged}");
    let fits = screen_of((30, 80), Some(MARKING), &events);
    assert!(fits.contains("   8 ") && !fits.contains("PAGED"), "{fits}");
    for unwanted in ["", "cat"] {
        let shown = screen_of((6, 80), Some(unwanted), &events);
        assert!(shown.contains("   8 "), "{shown}");
    }
    let without = ["events", text(&store), "--no-pager"];
    let shown = screen_of((6, 80), Some(MARKING), &without);
    assert!(
        shown.contains("   8 ") && !shown.contains("PAGED"),
        "{shown}"
    );
    let mut piped = command(&[&"events", &store]);
    let piped = piped.env("PAGER", MARKING).output().unwrap();
    assert!(!String::from_utf8(piped.stdout).unwrap().contains("PAGED"));
}

#[test]
fn pager_that_fails_is_an_error() {
    let work = Workplace::new();
    let store = work.imported();
    for (pager, why) in [
        ("no-such-pager", "the pager `no-such-pager` was not found"),
        ("false", "the pager `false` failed with exit code 1"),
    ] {
        let events = ["events", text(&store)];
        let (status, screen) = Terminal::start((6, 80), Some(pager), &events).end();
        assert_eq!(status.code(), Some(1), "{screen}");
        assert!(screen.contains(why), "{screen}");
    }
}

#[test]
fn narrow_terminals_show_every_column() {
    let work = Workplace::new();
    let store = work.imported();
    for columns in [40, 60] {
        let screen = screen_of((60, columns), None, &["events", text(&store)]);
        let joined = screen.replace('\n', "");
        assert!(
            joined.contains("MESSAGE") && joined.contains("done for"),
            "{screen}"
        );
    }
}

#[test]
fn leaving_the_pager_early_is_success() {
    let work = Workplace::new();
    let runtime = work.runtime("many");
    let worker = runtime
        .create_worker(CreateWorkerRequest::default())
        .unwrap();
    send_many(&runtime, &worker.worker_ref, 3000);
    let shown = screen_of(
        (6, 80),
        Some("head -n 2"),
        &["events", text(&work.path("many"))],
    );
    assert!(
        shown.contains("EVENT") && !shown.contains("3000"),
        "{shown}"
    );
}

#[test]
fn interrupt_leaves_the_pager_running() {
    let work = Workplace::new();
    let store = work.imported();
    let pager = "trap '' INT; cat; printf 'at the end'; read key < /dev/tty; echo left by $key";
    let mut terminal = Terminal::start((6, 80), Some(pager), &["events", text(&store)]);
    terminal.wait_for(|screen| screen.contains("at the end"));
    terminal.press("\u{3}");
    // The terminal shows the key when it has sent the signal.
    terminal.wait_for(|screen| screen.contains("^C"));
    std::thread::sleep(Duration::from_millis(300));
    assert!(terminal.child.try_wait().unwrap().is_none(), "it has ended");
    terminal.press("q\n");
    let (status, screen) = terminal.end();
    assert!(status.success(), "{status}");
    assert!(screen.contains("left by q"), "{screen}");
}

/// Appends an event with a long message.
fn say_more(runtime: &redb_runtime_store::Runtime, message: &str) {
    let worker = runtime
        .create_worker(CreateWorkerRequest::default())
        .unwrap();
    let reason = format!("{message} {}", "and so on ".repeat(20));
    runtime
        .stop_worker(&worker.worker_ref, Some(reason))
        .unwrap();
}

#[test]
fn rows_take_the_terminal_as_it_is_now() {
    let work = Workplace::new();
    let runtime = work.runtime("live");
    say_more(&runtime, "first");
    let live = work.path("live");
    let arguments = ["events", text(&live), "--follow"];
    let mut terminal = Terminal::start((24, 80), None, &arguments);
    let row = |screen: &str, word: &str| {
        let row = screen.lines().find(|line| line.contains(word));
        row.map(|row| row.trim_end().chars().count())
    };
    let screen = terminal.wait_for(|screen| row(screen, "first").is_some());
    assert_eq!(row(&screen, "first"), Some(80), "{screen}");
    terminal.resize(24, 120);
    say_more(&runtime, "second");
    let screen = terminal.wait_for(|screen| row(screen, "second").is_some());
    assert_eq!(row(&screen, "second"), Some(120), "{screen}");
    terminal.press("\u{3}");
    let (status, _) = terminal.end();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn bars_leave_nothing_on_the_screen() {
    let work = Workplace::new();
    let store = work.imported();
    for (verb, said) in [
        ("verify", "no damage"),
        ("backup", "copied"),
        ("stats", "TABLE"),
    ] {
        let copy = work.path(&format!("copy-{verb}"));
        let mut arguments = vec![verb, text(&store)];
        if verb == "backup" {
            arguments.push(text(&copy));
        }
        let screen = screen_of((40, 80), None, &arguments);
        assert!(screen.contains(said), "{verb}:\n{screen}");
        let bar = screen
            .lines()
            .find(|line| line.contains(" rows ") || line.contains('░'));
        assert_eq!(bar, None, "{verb}:\n{screen}");
        assert!(!screen.starts_with('\n'), "{verb}:\n{screen}");
    }
}

#[test]
fn color_option_stands_above_the_environment() {
    let work = Workplace::new();
    let store = work.imported();
    let has_colours = |variable: &str, color: &str| {
        let mut command = command(&[&"runtimes", &store, &"--color", &color]);
        for name in ["NO_COLOR", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        let output = command.env(variable, "1").output().unwrap();
        output.stdout.contains(&0x1b)
    };
    assert!(has_colours("NO_COLOR", "always"));
    assert!(!has_colours("CLICOLOR_FORCE", "never"));
    assert!(has_colours("CLICOLOR_FORCE", "auto"));
    assert!(!has_colours("NO_COLOR", "auto"));
}

/// What verbs that read print on a terminal, one below the other.
fn looked_at(columns: u16, variables: &[(&str, &str)]) -> String {
    let work = Workplace::new();
    let store = work.imported();
    let verbs: [&[&str]; 9] = [
        &["runtimes"],
        &["workers"],
        &["worker", "1"],
        &["events"],
        &["events", "-n", "3", "--content", "--reverse"],
        &["transcript", "1"],
        &["search", "e"],
        &["diagnostics"],
        &["stats", "--quiet"],
    ];
    let mut shown = String::new();
    for verb in verbs {
        let mut arguments = vec![verb[0], text(&store)];
        arguments.extend(&verb[1..]);
        let terminal = Terminal::start_in((100, columns), variables, &arguments);
        let (status, _, bytes) = terminal.end_with_bytes();
        assert!(status.success(), "{verb:?}");
        let printed = String::from_utf8(bytes).unwrap().replace('\r', "");
        let (_, printed) = printed.split_once(NEW_SCREEN).unwrap();
        // The size on the disk depends on the file system, and an import record has the path of the fixture.
        let is_fixed = |line: &&str| !line.contains("on disk") && !line.starts_with("imports ");
        let lines = printed.lines().filter(is_fixed);
        shown.push_str(&format!("$ runtime-store {}\n", verb.join(" ")));
        for line in lines {
            shown.push_str(&line.replace('\u{1b}', "\\e"));
            shown.push('\n');
        }
    }
    shown
}

#[test]
fn terminals_of_two_widths_match_snapshots() {
    for columns in [80, 200] {
        let shown = looked_at(columns, &[("NO_COLOR", "1")]);
        assert!(!shown.contains("\\e["), "a colour: {shown}");
        // The texts of a worker are not cut: the terminal wraps them.
        let is_text = |line: &&str| line.trim_start().starts_with("diagnostic ");
        let rows = shown.lines().filter(|line| !is_text(line));
        for line in rows {
            assert!(line.width() <= usize::from(columns), "{line}");
        }
        assert_snapshot(&format!("terminal-{columns}"), &shown);
    }
}

#[test]
fn colours_on_a_terminal_match_snapshot() {
    assert_snapshot("terminal-colours", &looked_at(80, &[]));
}
