//! Where the program takes the password for a server from.

use crate::runs::{program, schema, url_of};
use postgres_tests::cluster::Cluster;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const PASSWORD: &str = "geh:eim-7361";
const WRONG: &str = "falsch-9042";

/// Who may log in. The user of the tests themselves needs no password.
const ACCESS: &str = "
host all postgres 127.0.0.1/32 trust
host all agents 127.0.0.1/32 scram-sha-256
";

/// Imports a store with a home directory and variables of the environment. Returns whether that worked, and what was
/// printed.
fn import(url: &str, home: &Path, variables: &[(&str, &str)]) -> (bool, String) {
    let mut command = program();
    command.args(["import", crate::runs::SMALL, url]);
    command.env_remove("PGPASSWORD").env_remove("PGPASSFILE");
    command.env("HOME", home).envs(variables.iter().copied());
    let output = command.output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    (output.status.success(), printed)
}

fn password_file(path: PathBuf, port: u16, password: &str, mode: u32) -> String {
    let escaped = password.replace(':', "\\:");
    fs::write(&path, format!("127.0.0.1:{port}:*:agents:{escaped}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn password_comes_from_the_environment_or_a_file() {
    let cluster = Cluster::single();
    let server = cluster.primary();
    server.write("pg_hba.conf", ACCESS);
    server.reload();
    server.ask(&format!("CREATE USER agents PASSWORD '{PASSWORD}'"));
    server.ask("GRANT CREATE ON DATABASE postgres TO agents");
    let work = tempfile::tempdir().unwrap();
    let (empty, home) = (work.path().join("empty"), work.path().join("home"));
    for directory in [&empty, &home] {
        fs::create_dir(directory).unwrap();
    }
    let file = |name: &str, password: &str, mode: u32| {
        password_file(work.path().join(name), server.port(), password, mode)
    };
    let private = file("private", PASSWORD, 0o600);
    let shared = file("shared", PASSWORD, 0o640);
    let wrong = file("wrong", WRONG, 0o600);
    file("home/.pgpass", PASSWORD, 0o600);
    let url = || url_of(&cluster.url().replace("postgres@", "agents@"), &schema());

    let accepted: [(&Path, &[(&str, &str)]); 4] = [
        (&empty, &[("PGPASSWORD", PASSWORD)]),
        (&empty, &[("PGPASSWORD", PASSWORD), ("PGPASSFILE", &wrong)]),
        (&empty, &[("PGPASSFILE", &private)]),
        (&home, &[]),
    ];
    for (home, variables) in accepted {
        let (is_success, printed) = import(&url(), home, variables);
        assert!(is_success, "{variables:?}: {printed}");
    }
    let in_url = url().replace("agents@", "agents:geh%3Aeim-7361@");
    assert!(import(&in_url, &empty, &[("PGPASSWORD", WRONG)]).0);

    let refused: [(&Path, &[(&str, &str)]); 5] = [
        (&empty, &[]),
        (&home, &[("PGPASSWORD", WRONG)]),
        (&home, &[("PGPASSFILE", &wrong)]),
        // A file that others can read is not used.
        (&empty, &[("PGPASSFILE", &shared)]),
        (&empty, &[("PGPASSFILE", "/nonexistent/file")]),
    ];
    for (home, variables) in refused {
        let (is_success, printed) = import(&url(), home, variables);
        assert!(!is_success, "{variables:?}");
        assert!(printed.contains("PGPASSWORD"), "no advice: {printed}");
        for password in [PASSWORD, WRONG] {
            assert!(!printed.contains(password), "{printed}");
        }
    }
}
