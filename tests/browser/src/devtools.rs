//! Headless Chromium, driven through the DevTools protocol: requests and events as JSON over a WebSocket.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

/// How long the browser may take to answer one request.
const PATIENCE: Duration = Duration::from_secs(60);

/// The line in which Chromium names the address of its end of the protocol.
const ADDRESS: &str = "DevTools listening on ";

/// A browser with one page. Dropping it ends the browser and all its processes.
pub(crate) struct Browser {
    child: Child,
    socket: WebSocket<TcpStream>,
    /// The page that requests are about.
    session: Option<String>,
    last_id: u64,
    /// Events of the page that arrived between requests.
    events: Vec<Value>,
    /// Where the browser stores everything.
    _profile: TempDir,
}

impl Browser {
    /// Starts the browser with an empty page.
    pub(crate) fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut child = chromium(profile.path());
        let address = address_of(&mut child);
        let host = address
            .trim_start_matches("ws://")
            .split('/')
            .next()
            .unwrap();
        let stream = TcpStream::connect(host).expect("Chromium accepts a connection");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) = tungstenite::client(address.as_str(), stream).expect("a WebSocket");
        let mut browser = Self {
            child,
            socket,
            session: None,
            last_id: 0,
            events: Vec::new(),
            _profile: profile,
        };
        let page = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": page["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Network", "Log", "Runtime", "Debugger"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Sends a request and returns its result.
    pub(crate) fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        let mut request = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        self.socket
            .send(Message::text(request.to_string()))
            .expect("the browser is there");
        loop {
            let message = self.receive();
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    fn receive(&mut self) -> Value {
        let message = self
            .socket
            .read()
            .expect("an answer of the browser in time");
        serde_json::from_str(message.to_text().unwrap()).unwrap()
    }

    /// The events since the last call, after the one named `last` has arrived.
    fn events_until(&mut self, last: &str) -> Vec<Value> {
        while !self.events.iter().any(|event| event["method"] == last) {
            let event = self.receive();
            self.events.push(event);
        }
        std::mem::take(&mut self.events)
    }

    /// Shows the file at `path` on a screen of this width, in light or dark colours, and returns the events until it is
    /// shown.
    pub(crate) fn show(&mut self, path: &Path, width: u32, scheme: &str) -> Vec<Value> {
        let is_phone = width < 600;
        let screen =
            json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": is_phone});
        self.call("Emulation.setDeviceMetricsOverride", screen);
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
        self.events.clear();
        let address = format!("file://{}", path.display());
        let result = self.call("Page.navigate", json!({"url": address}));
        assert!(result["errorText"].is_null(), "{result}");
        self.events_until("Page.loadEventFired")
    }

    /// The value of a JavaScript expression on the page.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let request =
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", request);
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {result}"
        );
        result["result"]["value"].clone()
    }

    /// The events since the page was shown.
    pub(crate) fn later_events(&mut self) -> Vec<Value> {
        // An answer arrives after the events before it.
        self.value("1");
        std::mem::take(&mut self.events)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It has a group of its own: the group's other processes are its children.
        if let Ok(group) = i32::try_from(self.child.id())
            && let Some(group) = rustix::process::Pid::from_raw(group)
        {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

fn chromium(profile: &Path) -> Child {
    let mut command = Command::new("chromium");
    command.args([
        "--headless=new",
        "--remote-debugging-port=0",
        "--no-first-run",
        "--no-default-browser-check",
        "--disable-gpu",
        "--disable-extensions",
        "--disable-background-networking",
        "--disable-component-update",
        // Containers have a small /dev/shm; without this the browser's pages crash there.
        "--disable-dev-shm-usage",
    ]);
    // Chromium refuses to use its sandbox as root, as which CI runs. The pages are our own files.
    if rustix::process::geteuid().is_root() {
        command.arg("--no-sandbox");
    }
    let profile = format!("--user-data-dir={}", profile.display());
    command
        .arg(profile)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command.process_group(0);
    command.spawn().unwrap_or_else(|error| {
        panic!("chromium does not start ({error}): run tests/browser/run, which installs it")
    })
}

/// The address that the browser prints when it is ready.
fn address_of(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut seen = Vec::new();
    loop {
        let Some(Ok(line)) = lines.next() else {
            panic!("chromium ended, run tests/browser/run: {}", seen.join("; "));
        };
        if let Some(address) = line.strip_prefix(ADDRESS) {
            // The browser must not block or end because nobody reads its messages.
            std::thread::spawn(move || lines.for_each(drop));
            return address.to_owned();
        }
        seen.push(line);
    }
}
