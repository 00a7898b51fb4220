//! Standard output, or a pager for what is longer than the screen.

use std::ffi::OsString;
use std::io::{self, StdoutLock, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The variables of the environment that name the pager, the first one that is set. An empty one means: no pager.
const VARIABLES: [&str; 2] = ["RUNTIME_STORE_PAGER", "PAGER"];

/// The pager where none is named.
const DEFAULT: &str = "less";

/// Options for `less` where the user has set none: end if the text fits on the screen, show colours, leave the text there.
const LESS: &str = "FRX";

/// The exit code of a shell that does not find the command.
const NOT_FOUND: i32 = 127;

/// The exit code after an interrupt.
const INTERRUPTED: i32 = 130;

/// How often the end of the pager is looked for.
const POLL: Duration = Duration::from_millis(20);

/// The screen of a terminal, in characters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

/// The end of a run's output.
pub(crate) enum Sink {
    Stdout(StdoutLock<'static>),
    /// Text that fits on the screen so far.
    Short(Short),
    Pager(Pager),
}

/// Text that is held until it ends, or until it is longer than the screen.
pub(crate) struct Short {
    stdout: StdoutLock<'static>,
    screen: Screen,
    text: Vec<u8>,
}

impl Short {
    /// Whether the text takes more rows than the screen has. Bytes are counted as columns: a pager that is started too
    /// early does no harm.
    fn is_too_long(&self) -> bool {
        let lines = self.text.split(|byte| *byte == b'\n');
        let rows = lines.map(|line| line.len().div_ceil(self.screen.columns).max(1));
        rows.sum::<usize>() > self.screen.rows
    }
}

/// A running pager.
pub(crate) struct Pager {
    name: String,
    child: Arc<Mutex<Child>>,
    /// `None` after the end of the text.
    input: Option<ChildStdin>,
}

fn locked(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pager's name and command; `None` if the user wants none.
fn command() -> Option<(String, Command)> {
    let named: Option<OsString> = VARIABLES.iter().find_map(std::env::var_os);
    let (name, mut command) = match named {
        None => (DEFAULT.to_owned(), Command::new(DEFAULT)),
        Some(named) if named.is_empty() || named == "cat" => return None,
        Some(named) => {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(&named);
            (named.to_string_lossy().into_owned(), shell)
        }
    };
    if std::env::var_os("LESS").is_none() {
        command.env("LESS", LESS);
    }
    Some((name, command))
}

impl Pager {
    /// Starts the pager; `None` if the user wants none, or if it cannot be started.
    fn start() -> Option<Self> {
        let (name, mut command) = command()?;
        let mut child = command.stdin(Stdio::piped()).spawn().ok()?;
        let input = child.stdin.take();
        let child = Arc::new(Mutex::new(child));
        // An interrupt at the terminal reaches the pager, too, which goes on. If this process ended, the shell and the
        // pager would both read the keyboard. It ends after the pager: by itself, or here while it still reads the store.
        let outlived = Arc::clone(&child);
        ctrlc::set_handler(move || {
            if !matches!(locked(&outlived).try_wait(), Ok(None)) {
                std::process::exit(INTERRUPTED);
            }
        })
        .ok()?;
        Some(Self { name, child, input })
    }

    /// Ends the text, and waits until the user has left the pager.
    fn end(&mut self) -> io::Result<()> {
        self.input = None;
        let status = loop {
            // The lock is free between two looks: a handler of interrupts needs it.
            match locked(&self.child).try_wait()? {
                Some(status) => break status,
                None => std::thread::sleep(POLL),
            }
        };
        let name = &self.name;
        match status.code() {
            // Without a code it was ended by a signal: by the user.
            None | Some(0) => Ok(()),
            Some(NOT_FOUND) => Err(io::Error::other(format!(
                "the pager `{name}` was not found"
            ))),
            Some(code) => Err(io::Error::other(format!(
                "the pager `{name}` failed with exit code {code}"
            ))),
        }
    }
}

impl Sink {
    /// Standard output; with a screen, a pager as soon as the text is longer.
    pub(crate) fn new(screen: Option<Screen>) -> Self {
        let stdout = io::stdout().lock();
        match screen {
            None => Self::Stdout(stdout),
            Some(screen) => Self::Short(Short {
                stdout,
                screen,
                text: Vec::new(),
            }),
        }
    }

    /// Writes what is held, and waits for the pager.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.flush(),
            Self::Short(short) => {
                let text = std::mem::take(&mut short.text);
                short.stdout.write_all(&text)?;
                short.stdout.flush()
            }
            Self::Pager(pager) => pager.end(),
        }
    }

    /// Passes the held text on, to a pager if there is one.
    fn begin(&mut self) -> io::Result<()> {
        let Self::Short(short) = self else {
            return Ok(());
        };
        let text = std::mem::take(&mut short.text);
        *self = match Pager::start() {
            Some(pager) => Self::Pager(pager),
            None => Self::Stdout(io::stdout().lock()),
        };
        self.write_all(&text)
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(stdout) => stdout.write(bytes),
            Self::Short(short) => {
                short.text.extend_from_slice(bytes);
                if short.is_too_long() {
                    self.begin()?;
                }
                Ok(bytes.len())
            }
            Self::Pager(pager) => match &mut pager.input {
                Some(input) => input.write(bytes),
                None => Err(io::ErrorKind::BrokenPipe.into()),
            },
        }
    }

    /// Nothing for text that is held: it is written by [`end`](Self::end).
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.flush(),
            Self::Short(_) => Ok(()),
            Self::Pager(pager) => pager.input.as_mut().map_or(Ok(()), Write::flush),
        }
    }
}
