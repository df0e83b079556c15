//! Options that describe a login, for `policy decide` and `policy bench`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use reprieve_policy_host::harness::LoginFacts;
use reprieve_policy_host::scenario::Scenario;
use reprieve_policy_host::{Freshness, MECHANISMS, Mechanism, STANDINGS, Standing, TlsSession};

/// Facts about a login.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LoginOptions {
    /// How the secret is presented
    #[arg(long, value_name = "MECHANISM", default_value = "user-pass", value_parser = words(&MECHANISMS))]
    mechanism: Mechanism,
    /// Identity that the client asks to act as [default: the user's own]
    #[arg(long, value_name = "ID")]
    authorization_id: Option<String>,
    /// What the host knows about the presented secret
    #[arg(long, value_name = "STANDING", value_parser = words(&STANDINGS))]
    pub(super) standing: Option<Standing>,
    /// Address of the client
    #[arg(long, value_name = "ADDR", default_value = "192.0.2.1")]
    peer: IpAddr,
    /// TLS version of the connection [default: none; without a value: TLSv1.3]
    #[arg(long, value_name = "VERSION", num_args = 0..=1, require_equals = true, default_missing_value = "TLSv1.3",
          value_parser = ["TLSv1.2", "TLSv1.3"])]
    tls: Option<String>,
    /// Server name that the client asks for in the TLS handshake
    #[arg(long, value_name = "NAME", requires = "tls")]
    server_name: Option<String>,
    /// Subject of the client's TLS certificate
    #[arg(long, value_name = "SUBJECT", requires = "tls")]
    client_subject: Option<String>,
    /// What the host knows about changes of the maildrop since the user's last session
    #[arg(long, value_name = "FRESHNESS", default_value = "unknown", value_parser = freshness())]
    freshness: Freshness,
    /// Number of nodes in the pool
    #[arg(long, value_name = "N", default_value_t = 1)]
    nodes: u32,
    /// Number of healthy nodes [default: all]
    #[arg(long, value_name = "N")]
    healthy_nodes: Option<u32>,
    /// Number of open sessions at the nodes
    #[arg(long, value_name = "N", default_value_t = 0)]
    sessions: u32,
    /// Number of logins that wait for a node
    #[arg(long, value_name = "N", default_value_t = 0)]
    waiting: u32,
    /// Recent login latency of the nodes, in milliseconds
    #[arg(long, value_name = "MS")]
    latency: Option<u32>,
}

/// Names of the options above, for options that replace them all.
pub(super) const OPTIONS: [&str; 13] = [
    "mechanism",
    "authorization_id",
    "standing",
    "peer",
    "tls",
    "server_name",
    "client_subject",
    "freshness",
    "nodes",
    "healthy_nodes",
    "sessions",
    "waiting",
    "latency",
];

/// A parser of the words of an enumeration.
pub(super) fn words<T: Copy + Send + Sync + 'static>(
    all: &'static [(&'static str, T)],
) -> impl clap::builder::TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.iter().map(|(word, _)| *word)).try_map(|text| {
        let found = all.iter().find(|(word, _)| *word == text);
        found.map(|(_, meaning)| *meaning).ok_or("unknown word")
    })
}

fn freshness() -> impl clap::builder::TypedValueParser<Value = Freshness> {
    PossibleValuesParser::new(Freshness::ALL.map(Freshness::name))
        .try_map(|text| Freshness::named(&text).ok_or("unknown word"))
}

impl LoginOptions {
    /// The login of a user.
    pub(super) fn facts(&self, user: &str) -> LoginFacts {
        let mut facts = LoginFacts::new(user);
        facts.mechanism = self.mechanism;
        facts.authorization_id.clone_from(&self.authorization_id);
        if let Some(standing) = self.standing {
            facts.standing = standing;
        }
        facts.peer = SocketAddr::new(self.peer, facts.peer.port());
        facts.tls = self.tls.as_ref().map(|version| TlsSession {
            version: version.clone(),
            server_name: self.server_name.clone(),
            client_subject: self.client_subject.clone(),
        });
        facts.maildrop.freshness = self.freshness;
        facts.backend.nodes = self.nodes;
        facts.backend.healthy_nodes = self.healthy_nodes.unwrap_or(self.nodes);
        facts.backend.sessions = self.sessions;
        facts.backend.waiting = self.waiting;
        facts.backend.login_latency_ms = self.latency;
        facts
    }
}

/// A step of a scenario file: `FILE:LINE`, as reports of `policy test` name it.
#[derive(Clone, Debug)]
pub(super) struct StepLocation {
    file: PathBuf,
    pub(super) line: usize,
}

impl std::str::FromStr for StepLocation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.rsplit_once(':').and_then(|(file, line)| Some((file, line.parse().ok()?)));
        match parts {
            Some((file, line)) if !file.is_empty() && line > 0 => Ok(Self { file: file.into(), line }),
            _ => Err("use FILE:LINE, such as scenarios/days.toml:12, with the line of a step".to_owned()),
        }
    }
}

impl StepLocation {
    /// The scenario with a login step in this line.
    pub(super) fn scenario(&self, policy: &str) -> anyhow::Result<Scenario> {
        let name = self.file.display().to_string();
        let text = std::fs::read_to_string(&self.file)
            .with_context(|| format!("cannot read the scenario {name}"))?;
        let scenarios = Scenario::parse(&text, &name, policy)?;
        let lines: Vec<_> =
            scenarios.iter().flat_map(Scenario::login_lines).map(|line| line.to_string()).collect();
        scenarios.into_iter().find(|one| one.login_lines().contains(&self.line)).with_context(|| {
            format!(
                "{name}:{}: no login begins in this line; logins begin in: {}",
                self.line,
                lines.join(", ")
            )
        })
    }
}
