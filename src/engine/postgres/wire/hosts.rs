//! The hosts of an address, tried one after the other.

use crate::engine::postgres::wire::connection::Connection;
use crate::engine::postgres::wire::server_error::ServerError;
use crate::engine::postgres::wire::tls::Tls;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_postgres::config::{Host, LoadBalanceHosts};
use tokio_postgres::{Config, NoTls};

/// Connects to the first host of `config` that takes the session. The client's own time-out ends when a host accepts the
/// connection; one that then says nothing, such as a stopped server, would keep this from the hosts after it. So each host
/// has `limit` to begin the session.
pub(crate) async fn connect(
    config: &Config,
    tls: Option<Tls>,
    limit: Duration,
) -> Result<Connection, ServerError> {
    let mut failed = ServerError::Lost("the address names no host".to_owned());
    for host in one_by_one(config) {
        failed = match timeout(limit, begin(&host, tls.clone())).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => error.into(),
            Err(_) => ServerError::Lost(format!("no session within {limit:?}")),
        };
    }
    Err(failed)
}

/// Connects to a host.
async fn begin(config: &Config, tls: Option<Tls>) -> Result<Connection, tokio_postgres::Error> {
    let io = Handle::current();
    match tls {
        Some(tls) => {
            let (client, wire) = config.connect(tls).await?;
            Ok(Connection::serve(&io, client, wire))
        }
        None => {
            let (client, wire) = config.connect(NoTls).await?;
            Ok(Connection::serve(&io, client, wire))
        }
    }
}

/// `config` for each of its hosts alone. The client shuffles hosts itself where that is asked, and refuses numbers of hosts,
/// addresses and ports that do not match: such an address stays whole.
fn one_by_one(config: &Config) -> Vec<Config> {
    let (hosts, addresses, ports) = (
        config.get_hosts(),
        config.get_hostaddrs(),
        config.get_ports(),
    );
    let count = hosts.len().max(addresses.len());
    let fits = |length: usize| length == 0 || length == count;
    let is_plain = fits(hosts.len()) && fits(addresses.len());
    let is_plain = is_plain && (ports.len() <= 1 || fits(ports.len()));
    if !is_plain || count < 2 || config.get_load_balance_hosts() != LoadBalanceHosts::Disable {
        return vec![config.clone()];
    }
    let alone = (0..count).map(|number| {
        let mut alone = without_hosts(config);
        match hosts.get(number) {
            Some(Host::Tcp(name)) => alone.host(name),
            #[cfg(unix)]
            Some(Host::Unix(path)) => alone.host_path(path),
            None => &mut alone,
        };
        if let Some(address) = addresses.get(number) {
            alone.hostaddr(*address);
        }
        if let Some(port) = ports.get(number).or_else(|| ports.first()) {
            alone.port(*port);
        }
        alone
    });
    alone.collect()
}

/// Everything of `config` besides its hosts.
fn without_hosts(config: &Config) -> Config {
    let mut other = Config::new();
    other
        .ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding());
    if let Some(user) = config.get_user() {
        other.user(user);
    }
    if let Some(password) = config.get_password() {
        other.password(password);
    }
    if let Some(database) = config.get_dbname() {
        other.dbname(database);
    }
    if let Some(options) = config.get_options() {
        other.options(options);
    }
    if let Some(name) = config.get_application_name() {
        other.application_name(name);
    }
    if let Some(limit) = config.get_connect_timeout() {
        other.connect_timeout(*limit);
    }
    if let Some(limit) = config.get_tcp_user_timeout() {
        other.tcp_user_timeout(*limit);
    }
    if let Some(interval) = config.get_keepalives_interval() {
        other.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        other.keepalives_retries(retries);
    }
    other
}

#[cfg(test)]
mod tests {
    use super::{connect, one_by_one};
    use crate::engine::postgres::wire::io_thread::{IoThread, block_on};
    use std::net::TcpListener;
    use std::time::{Duration, Instant};
    use tokio_postgres::Config;

    fn config(url: &str) -> Config {
        url.parse().unwrap()
    }

    /// A listener that the system accepts connections for, as for a stopped server.
    fn silent() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    #[test]
    fn silent_host_does_not_hide_the_next() {
        let (first, second) = (silent(), silent());
        let url = format!(
            "postgres://u@127.0.0.1:{},127.0.0.1:{}/d",
            first.1, second.1
        );
        let io = IoThread::start().unwrap();
        let tried = io
            .handle()
            .spawn(async move { connect(&config(&url), None, Duration::from_millis(50)).await });
        let far = Instant::now() + Duration::from_secs(60);
        assert!(block_on(tried, far).unwrap().unwrap().is_err());
        second.0.set_nonblocking(true).unwrap();
        assert!(second.0.accept().is_ok(), "the second host was not tried");
    }

    #[test]
    fn each_host_alone_has_the_whole_address() {
        let rest = "sslmode=disable&sslnegotiation=direct&options=-c%20x%3D1&application_name=me\
            &connect_timeout=3&tcp_user_timeout=4&keepalives=1&keepalives_idle=5&keepalives_interval=6\
            &keepalives_retries=7&target_session_attrs=read-write&channel_binding=disable";
        let of = |hosts: &str| config(&format!("postgres://u:p@{hosts}/d?{rest}"));
        let whole = of("a:1,b:2");
        assert_eq!(one_by_one(&whole), [of("a:1"), of("b:2")]);
        let one_port = config(&format!(
            "postgres://u:p@a,b/d?{rest}&hostaddr=10.0.0.1,10.0.0.2"
        ));
        let [first, second] = &one_by_one(&one_port)[..] else {
            panic!("two hosts");
        };
        assert_eq!(first.get_hostaddrs()[0].to_string(), "10.0.0.1");
        assert_eq!(second.get_hostaddrs()[0].to_string(), "10.0.0.2");
    }

    #[test]
    fn address_stays_whole_if_its_order_is_not_ours() {
        for rest in ["load_balance_hosts=random", "hostaddr=10.0.0.1"] {
            let whole = config(&format!("postgres://u@a,b/d?{rest}"));
            assert_eq!(one_by_one(&whole), [whole]);
        }
    }
}
