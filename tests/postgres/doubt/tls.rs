//! TLS: the certificate and the name of a server are verified, and no other machine is spoken to in clear by default.

use crate::hosts::{assert_refused, named, said, say, schema, shown};
use postgres_tests::cluster::Cluster;
use postgres_tests::frames::{Frame, Start};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use redb_runtime_store::{PostgresOptions, RuntimeError, Store};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The name of the server. The address of its machine stands next to it in a URL.
const NAME: &str = "db.example";
const PASSWORD: &str = "geheim-5520";

/// An authority that certifies servers.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The file with its certificate.
    root: PathBuf,
    _directory: TempDir,
}

impl Authority {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Each has a name of its own, as a certificate says by name who gave it.
        let name = format!("authority {}", NEXT.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        let directory = tempfile::tempdir().unwrap();
        // A URL has to escape the blank.
        let root = directory.path().join("the root.pem");
        std::fs::write(&root, certificate.pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            root,
            _directory: directory,
        }
    }

    /// Has the server of `cluster` use a certificate for [`NAME`] that is valid through the year `last`.
    fn certify(&self, cluster: &Cluster, last: i32) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
        params.not_after = date_time_ymd(last, 12, 31);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let server = cluster.primary();
        server.write("server.key", &key.serialize_pem());
        server.write("server.crt", &certificate.pem());
        server.set("ssl", "on");
    }
}

/// Who may log in, and how. The user of the tests themselves comes unencrypted.
const ACCESS: &str = "
host all postgres 127.0.0.1/32 trust
hostssl all agents 127.0.0.1/32 scram-sha-256
";

/// A server with a certificate that ends with the year `last`, and the authority that gave it.
fn certified(last: i32) -> (Cluster, Authority) {
    let (cluster, authority) = (Cluster::single(), Authority::new());
    let server = cluster.primary();
    server.write("pg_hba.conf", ACCESS);
    authority.certify(&cluster, last);
    server.ask(&format!("CREATE USER agents PASSWORD '{PASSWORD}'"));
    server.ask("GRANT CREATE ON DATABASE postgres TO agents");
    (cluster, authority)
}

static CERTIFIED: LazyLock<(Cluster, Authority)> = LazyLock::new(|| certified(4000));

/// The address of the server at `port` under `name`, which no resolver has to know.
fn address(name: &str, port: u16, rest: &str) -> String {
    format!("postgres://agents:{PASSWORD}@{name}:{port}/postgres?hostaddr=127.0.0.1{rest}")
}

fn options(url: String) -> PostgresOptions {
    PostgresOptions::new(url)
        .schema(schema())
        .max_connections(2)
}

/// Asserts that connecting with `options` fails at once, says `why` and shows no password.
fn assert_unverified(options: PostgresOptions, why: &str) {
    let began = Instant::now();
    let error = Store::connect(options).unwrap_err();
    let shown = shown(&error);
    assert!(shown.contains(why), "{shown}");
    assert!(!shown.contains(PASSWORD), "{shown}");
    assert_refused!(Err::<(), _>(error), RuntimeError::StoreIo { .. });
    // The time of an outage is 30 seconds.
    assert!(began.elapsed() < Duration::from_secs(10));
}

/// `path` in a URL.
fn escaped(path: &Path) -> String {
    path.to_str().unwrap().replace(' ', "%20")
}

#[test]
fn verified_server_is_spoken_to_encrypted() {
    let (cluster, authority) = &*CERTIFIED;
    let port = cluster.primary().port();
    let root = escaped(&authority.root);
    for options in [
        options(address(NAME, port, "")).root_certificates(&authority.root),
        options(address(NAME, port, &format!("&sslrootcert={root}"))),
        options(address(
            NAME,
            port,
            &format!("&sslmode=verify-full&sslrootcert={root}"),
        )),
        // It asks for no less.
        options(address(
            NAME,
            port,
            &format!("&sslmode=require&sslrootcert={root}"),
        )),
    ] {
        let store = Store::connect(options).unwrap();
        let runtime = store.runtime(named("r")).unwrap();
        let worker = runtime.create_worker(Default::default()).unwrap();
        say(&runtime, &worker.worker_ref, "hello").unwrap();
        assert_eq!(said(&runtime, &worker.worker_ref), ["hello"]);
        let sessions = "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
            WHERE usename = 'agents'";
        assert_eq!(cluster.primary().ask(sessions), "t");
    }
}

#[test]
fn server_of_another_authority_is_refused() {
    let (cluster, _) = &*CERTIFIED;
    let port = cluster.primary().port();
    let other = Authority::new();
    for sslmode in ["", "&sslmode=verify-full", "&sslmode=require"] {
        let to_other = options(address(NAME, port, sslmode)).root_certificates(&other.root);
        assert_unverified(to_other, "UnknownIssuer");
        // The authorities of the Web.
        assert_unverified(options(address(NAME, port, sslmode)), "UnknownIssuer");
    }
}

#[test]
fn server_of_another_name_is_refused() {
    let (cluster, authority) = &*CERTIFIED;
    let port = cluster.primary().port();
    let trusting = |url| options(url).root_certificates(&authority.root);
    for name in ["other.example", "db.example.com", "127.0.0.1"] {
        let url = address(name, port, "&sslmode=verify-full");
        assert_unverified(trusting(url), "not valid for name");
    }
}

#[test]
fn expired_certificate_is_refused() {
    let (cluster, authority) = certified(2020);
    let options = options(address(NAME, cluster.primary().port(), ""));
    let options = options.root_certificates(&authority.root);
    assert_unverified(options.clone(), "expired");
    authority.certify(&cluster, 4000);
    cluster.primary().reload();
    Store::connect(options).unwrap();
}

#[test]
fn unusable_root_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let missing = directory.path().join("missing.pem");
    let key = KeyPair::generate().unwrap().serialize_pem();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for path in [
        missing,
        file("empty.pem", ""),
        file("key.pem", &key),
        file("broken.pem", broken),
    ] {
        let root = escaped(&path);
        let name = path.to_str().unwrap();
        let by_url = options(address(NAME, 1, &format!("&sslrootcert={root}")));
        assert_unverified(by_url, name);
        assert_unverified(options(address(NAME, 1, "")).root_certificates(&path), name);
    }
}

/// What a server without TLS gets from a host with `url`, after it has said that it has none.
fn sent_in_clear(name: &str, rest: &str) -> (Vec<Start>, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = address(name, listener.local_addr().unwrap().port(), rest);
    let server = thread::spawn(move || {
        let (mut host, _) = listener.accept().unwrap();
        let first = Frame::read_start(&mut host).unwrap();
        let mut rest = Vec::new();
        if first.start() == Start::Encryption {
            host.write_all(b"N").unwrap();
            host.read_to_end(&mut rest).unwrap();
        } else {
            rest = first.bytes.clone();
        }
        (vec![first.start()], rest)
    });
    let options = options(url).outage_timeout(Duration::from_secs(2));
    Store::connect(options).unwrap_err();
    server.join().unwrap()
}

#[test]
fn other_machine_hears_nothing_in_clear() {
    for rest in ["", "&sslmode=verify-full", "&sslmode=require"] {
        let (starts, rest) = sent_in_clear(NAME, rest);
        assert_eq!(starts, [Start::Encryption]);
        assert_eq!(rest, b"", "it was sent in clear");
    }
    // Only when the address says so.
    let (starts, sent) = sent_in_clear(NAME, "&sslmode=disable");
    assert_eq!(starts, [Start::Session]);
    assert!(sent.windows(6).any(|text| text == b"agents"));
}

#[test]
fn server_that_wants_encryption_refuses_clear_hosts() {
    let (cluster, _) = &*CERTIFIED;
    let url = address(NAME, cluster.primary().port(), "&sslmode=disable");
    let refused = Store::connect(options(url));
    assert_refused!(
        refused,
        RuntimeError::StoreIo { source, .. }
            if source.kind() == ErrorKind::PermissionDenied
                && source.to_string().contains("no encryption")
    );
}
