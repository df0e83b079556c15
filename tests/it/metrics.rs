//! Metrics: correct values, accepted by Prometheus, used by the alert rules and the dashboard, and
//! without user names.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::support::account::PASSWORD;
use crate::support::certificates::{Age, Authority};
use crate::support::dialogue::Dialogue;
use crate::support::dovecot::free_address;
use crate::support::farm::FarmNode;
use crate::support::prometheus::{Prometheus, promtool};
use crate::support::running::Running;
use crate::support::{guests, http, mail_server, until};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reprieve_mailserver::MailServer;
use rustls::ClientConfig;

/// Unknown users with names that could break the text format.
const ODD_USERS: [&str; 4] =
    ["o\"dd{user=\"1\"}", "back\\slash\\n", "reprieve_polls_total 7", "n\u{e4}\u{ef}ve"];
/// The viewer token.
const TOKEN: &str = "a-token-for-prometheus-0123456789";
/// A wrong password.
const WRONG: &str = "wr0ng-\"s3cret\"";

/// Reprieve with one of everything that is counted.
struct Site {
    _reprieve: Running,
    /// Address of the admin listener.
    admin: SocketAddr,
    folder: tempfile::TempDir,
    authority: Authority,
    _mail: MailServer,
    farm: FarmNode,
    dead: SocketAddr,
    /// The virtual server, in cleartext and with TLS.
    pop3: [SocketAddr; 2],
    /// The virtual server with a store in a file and a limit of one connection per address.
    filed: SocketAddr,
    /// The virtual server with a policy that fails, and is paused at the second failure.
    broken: SocketAddr,
}

impl Site {
    fn start() -> Self {
        let mail = mail_server(3);
        for user in ["carol", "dora"] {
            mail.add_user(user, PASSWORD);
        }
        let (farm, dead) = (FarmNode::start(), free_address());
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let token = folder.path().join("token");
        crate::support::write_secret(&token, TOKEN);
        let premium = folder.path().join("premium.txt");
        std::fs::write(&premium, "alice\nbob gold\n").expect("a lookup table");
        let certificate = authority.server("server", &["localhost"], Age::Valid);
        let text = format!(
            r#"
policy-cache = "off"
threads = 2
admin = {{ listen = ["127.0.0.1:0"], read-token-file = {token:?} }}
decision-log = {{ path = {decisions:?} }}
traces = {{ endpoint = "http://{dead}", sample = 1.0 }}

[[virtual-server]]
name = "pop3"
listen = ["127.0.0.1:0"]
listen-tls = ["127.0.0.1:0"]
cleartext-login = "allow"
pool = "mail"
policy = {{ settings = {{ interval = "1h", reset = "never" }} }}
shadow = {{ component = "interval", settings = {{ interval = "0s" }} }}
tls = {{ certificate = {chain:?}, key = {key:?} }}
lookups = {{ premium = {premium:?} }}

[[virtual-server]]
name = "filed"
listen = ["127.0.0.1:0"]
pool = "mail"
max-connections-per-address = 1
store = {{ backend = "file", path = {file:?} }}

[[virtual-server]]
name = "broken"
listen = ["127.0.0.1:0"]
pool = "farm"
[virtual-server.policy]
component = {hostile:?}
settings = {{ at = "decide", how = "trap" }}
breaker = {{ failures = 2, pause = "1h", max-pause = "1h" }}

[pool.mail]
nodes = ["{mail}"]
health-check = "off"

[pool.farm]
nodes = ["{farm}", "{dead}"]
health-check = "off"
retry-after = "1h"
"#,
            token = token,
            premium = premium,
            decisions = folder.path().join("decisions.jsonl"),
            chain = certificate.chain,
            key = certificate.key,
            file = folder.path().join("store.redb"),
            hostile = guests::hostile(),
            mail = mail.address(),
            farm = farm.address(),
        );
        let mut reprieve = Running::with_configuration(folder.path(), &text);
        let mut next = || reprieve.address();
        let (pop3, filed, broken) = ([next(), next()], next(), next());
        let line: serde_json::Value = serde_json::from_str(&reprieve.line_with("dashboard")).unwrap();
        let url = line["url"].as_str().expect("a URL");
        let admin = url.trim_start_matches("http://").trim_end_matches('/').parse().expect("its address");
        Self { _reprieve: reprieve, admin, folder, authority, _mail: mail, farm, dead, pop3, filed, broken }
    }

    fn ask(&self, accept: &str) -> http::Answer {
        let headers = [&format!("Accept: {accept}")[..], &format!("Authorization: Bearer {TOKEN}")];
        let answer = http::ask_at(self.admin, "GET /metrics", &headers, "").expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    }

    fn text(&self) -> String {
        self.ask("text/plain").body
    }

    /// All samples by name and labels, as text.
    fn samples(&self) -> BTreeMap<String, f64> {
        let text = self.text();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            (name.to_owned(), value.parse().expect("a value"))
        });
        let mut all = BTreeMap::new();
        for (name, value) in samples {
            assert!(all.insert(name.clone(), value).is_none(), "{name} is there twice");
        }
        all
    }

    /// Waits until a sample has a value: sessions are counted shortly after they end.
    #[track_caller]
    fn until(&self, sample: &str, expected: f64) {
        until(&format!("{sample} {expected}"), || self.samples().get(sample) == Some(&expected));
    }

    /// Sessions of every kind; [`EXPECTED`] has the resulting metrics.
    fn have_sessions(&self) {
        let log_in = |user: &str| {
            let mut session = Dialogue::open(self.pop3[0]);
            session.give_password(user, PASSWORD);
            session
        };
        // Alice passes, is posed to three times, and then retrieves a message.
        log_in("alice").quit();
        for _ in 0..3 {
            let mut posed = log_in("alice");
            posed.ok("STAT");
            posed.quit();
        }
        let mut upgraded = log_in("alice");
        upgraded.lines("RETR 1");
        upgraded.quit();
        // A different password is not posed to, but refused by the mail server.
        let refused = |user: &str, password: &str| {
            let mut session = Dialogue::open(self.pop3[0]);
            session.ok(&format!("USER {user}"));
            session.err(&format!("PASS {password}"));
            session.quit();
        };
        refused("alice", WRONG);
        ODD_USERS.iter().for_each(|user| refused(user, WRONG));
        // Carol uses TLS, and then resumes her TLS session.
        let trusted: Arc<ClientConfig> = self.authority.trusted(None);
        let plain = BASE64_STANDARD.encode(format!("\0carol\0{PASSWORD}"));
        for _ in 0..2 {
            let mut session = Dialogue::open_tls(self.pop3[1], &trusted, "localhost");
            session.ok(&format!("AUTH PLAIN {plain}"));
            session.quit();
        }
        let mut scanner = TcpStream::connect(self.pop3[1]).expect("connecting");
        scanner.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("writing");
        drop(scanner);
        // Dora stays connected while another client connects from her address.
        let mut dora = Dialogue::open(self.filed);
        dora.ok("USER dora");
        dora.ok(&format!("PASS {PASSWORD}"));
        let refusal = crate::support::dialogue::spoken_one_by_one(self.filed, &[]);
        assert!(refusal.starts_with("-ERR"), "{refusal}");
        dora.quit();
        // The broken policy fails twice and is paused; its logins pass. The second one's node is
        // down, and it goes to the other.
        for _ in 0..3 {
            let mut session = Dialogue::open(self.broken);
            session.give_password("emil", PASSWORD);
            session.quit();
        }
        for (server, sessions) in [("pop3", 12.0), ("filed", 1.0), ("broken", 3.0)] {
            self.until(
                &format!("reprieve_session_ends_total{{virtual_server=\"{server}\",end=\"quit\"}}"),
                sessions,
            );
        }
        self.until("reprieve_tls_handshake_failures_total{virtual_server=\"pop3\"}", 1.0);
        self.until("reprieve_connections_open", 0.0);
        // The shadow policy and the decision log's writer are asynchronous.
        self.until("reprieve_decision_log_lines_total{result=\"written\"}", 16.0);
        self.until("reprieve_shadow_verdicts_total{virtual_server=\"pop3\",verdict=\"pass\"}", 12.0);
    }
}

/// The metrics after [`Site::have_sessions`].
const EXPECTED: [(&str, f64); 58] = [
    ("reprieve_polls_total{virtual_server=\"pop3\"}", 12.0),
    ("reprieve_relieved_total{virtual_server=\"pop3\"}", 4.0),
    ("reprieve_posed_total{virtual_server=\"pop3\"}", 5.0),
    ("reprieve_verdicts_total{virtual_server=\"pop3\",verdict=\"pass\",manner=\"\",reason=\"\"}", 6.0),
    (
        "reprieve_verdicts_total{virtual_server=\"pop3\",verdict=\"deny\",manner=\"unchanged\",reason=\"too-soon\"}",
        6.0,
    ),
    ("reprieve_denials_passed_total{virtual_server=\"pop3\",reason=\"changed-secret\"}", 1.0),
    ("reprieve_denials_passed_total{virtual_server=\"pop3\",reason=\"none-yet\"}", 0.0),
    ("reprieve_unjudged_total{virtual_server=\"pop3\",reason=\"failure\"}", 0.0),
    ("reprieve_outcomes_total{virtual_server=\"pop3\",outcome=\"authenticated\"}", 3.0),
    ("reprieve_outcomes_total{virtual_server=\"pop3\",outcome=\"rejected\"}", 5.0),
    ("reprieve_outcomes_total{virtual_server=\"pop3\",outcome=\"unreachable\"}", 0.0),
    ("reprieve_outcomes_total{virtual_server=\"pop3\",outcome=\"abandoned\"}", 0.0),
    ("reprieve_logins_total{virtual_server=\"pop3\",mechanism=\"USER\"}", 10.0),
    ("reprieve_logins_total{virtual_server=\"pop3\",mechanism=\"PLAIN\"}", 2.0),
    ("reprieve_upgrades_total{virtual_server=\"pop3\",command=\"RETR\"}", 1.0),
    ("reprieve_upgrades_total{virtual_server=\"pop3\",command=\"DELE\"}", 0.0),
    ("reprieve_upgrade_failures_total{virtual_server=\"pop3\",reason=\"rejected\"}", 0.0),
    ("reprieve_sessions_total{virtual_server=\"pop3\"}", 12.0),
    ("reprieve_session_ends_total{virtual_server=\"pop3\",end=\"quit\"}", 12.0),
    ("reprieve_session_ends_total{virtual_server=\"pop3\",end=\"lost\"}", 0.0),
    ("reprieve_sessions_open{virtual_server=\"pop3\",state=\"login\"}", 0.0),
    ("reprieve_sessions_open{virtual_server=\"pop3\",state=\"posed\"}", 0.0),
    ("reprieve_sessions_open{virtual_server=\"pop3\",state=\"relayed\"}", 0.0),
    ("reprieve_tls_handshakes_total{virtual_server=\"pop3\",version=\"TLSv1.3\",resumed=\"false\"}", 1.0),
    ("reprieve_tls_handshakes_total{virtual_server=\"pop3\",version=\"TLSv1.3\",resumed=\"true\"}", 1.0),
    ("reprieve_tls_handshakes_total{virtual_server=\"pop3\",version=\"TLSv1.2\",resumed=\"false\"}", 0.0),
    ("reprieve_tls_handshake_failures_total{virtual_server=\"pop3\"}", 1.0),
    ("reprieve_policy_calls_total{virtual_server=\"pop3\",call=\"decide\"}", 12.0),
    // For each login that reached the mail server, but not for the upgrade.
    ("reprieve_policy_calls_total{virtual_server=\"pop3\",call=\"observe\"}", 8.0),
    ("reprieve_policy_decide_seconds_count{virtual_server=\"pop3\"}", 12.0),
    ("reprieve_policy_decide_seconds_bucket{virtual_server=\"pop3\",le=\"+Inf\"}", 12.0),
    ("reprieve_policy_paused{virtual_server=\"pop3\"}", 0.0),
    ("reprieve_lookup_entries{virtual_server=\"pop3\",table=\"premium\"}", 2.0),
    ("reprieve_lookup_stale{virtual_server=\"pop3\",table=\"premium\"}", 0.0),
    ("reprieve_shadow_verdicts_total{virtual_server=\"pop3\",verdict=\"deny\"}", 0.0),
    ("reprieve_shadow_differences_total{virtual_server=\"pop3\",kind=\"would-pass\"}", 6.0),
    ("reprieve_shadow_differences_total{virtual_server=\"pop3\",kind=\"would-deny\"}", 0.0),
    ("reprieve_shadow_skipped_total{virtual_server=\"pop3\"}", 0.0),
    (
        "reprieve_connections_refused_total{virtual_server=\"filed\",limit=\"max-connections-per-address\"}",
        1.0,
    ),
    ("reprieve_connections_refused_total{virtual_server=\"filed\",limit=\"max-connections\"}", 0.0),
    // USER dora, PASS, QUIT.
    ("reprieve_received_bytes_total{virtual_server=\"filed\"}", 11.0 + 18.0 + 6.0),
    ("reprieve_unjudged_total{virtual_server=\"broken\",reason=\"failure\"}", 2.0),
    ("reprieve_unjudged_total{virtual_server=\"broken\",reason=\"paused\"}", 1.0),
    ("reprieve_policy_failures_total{virtual_server=\"broken\",kind=\"trap\"}", 2.0),
    ("reprieve_policy_pauses_total{virtual_server=\"broken\"}", 1.0),
    ("reprieve_policy_paused{virtual_server=\"broken\"}", 1.0),
    ("reprieve_decision_log_lines_total{result=\"written\"}", 16.0),
    ("reprieve_decision_log_lines_total{result=\"dropped\"}", 0.0),
    ("reprieve_relieved_total{virtual_server=\"broken\"}", 0.0),
    ("reprieve_pool_nodes{pool=\"farm\"}", 2.0),
    ("reprieve_pool_usable_nodes{pool=\"farm\"}", 1.0),
    ("reprieve_pool_login_seconds_count{pool=\"mail\"}", 4.0),
    ("reprieve_pool_queued_logins{pool=\"mail\"}", 0.0),
    ("reprieve_maildrop_users{store=\"shared\"}", 3.0),
    ("reprieve_maildrop_snapshots{store=\"shared\"}", 3.0),
    ("reprieve_maildrop_forgotten_users_total{store=\"shared\"}", 0.0),
    ("reprieve_store_up{store=\"filed\",backend=\"file\"}", 1.0),
    ("reprieve_store_entries{store=\"shared\",namespace=\"policy:pop3\"}", 2.0),
];

#[test]
fn metrics_match_the_traffic() {
    let site = Site::start();
    site.have_sessions();
    let samples = site.samples();
    for (sample, expected) in EXPECTED {
        assert_eq!(samples.get(sample), Some(&expected), "{sample}");
    }
    let value = |sample: String| *samples.get(&sample).unwrap_or_else(|| panic!("no {sample}"));
    let node = |node: SocketAddr, result: &str| {
        value(format!("reprieve_node_logins_total{{pool=\"farm\",node=\"{node}\",result=\"{result}\"}}"))
    };
    assert_eq!((node(site.farm.address(), "accepted"), node(site.dead, "unreachable")), (3.0, 1.0));
    let up = |node: SocketAddr| value(format!("reprieve_node_up{{pool=\"farm\",node=\"{node}\"}}"));
    assert_eq!((up(site.farm.address()), up(site.dead)), (1.0, 0.0));
    let expiry = samples.iter().find(|(name, _)| name.starts_with("reprieve_tls_certificate_expiry"));
    assert_eq!(expiry.map(|(_, value)| *value), Some(2_208_988_800.0), "the year 2040");
    for (operations, least) in [("shared", 14.0), ("filed", 2.0)] {
        let counted = value(format!("reprieve_store_operations_total{{store=\"{operations}\"}}"));
        assert!(counted >= least, "{operations}: {counted}");
    }
    // Gauges of sessions at the banner, posed and relayed.
    let waits = Dialogue::open(site.pop3[0]);
    let mut posed = Dialogue::open(site.pop3[0]);
    posed.give_password("alice", PASSWORD);
    let mut relayed = Dialogue::open(site.filed);
    relayed.ok("USER carol");
    relayed.ok(&format!("PASS {PASSWORD}"));
    site.until("reprieve_connections_open", 3.0);
    for (server, state) in [("pop3", "login"), ("pop3", "posed"), ("filed", "relayed")] {
        site.until(&format!("reprieve_sessions_open{{virtual_server=\"{server}\",state=\"{state}\"}}"), 1.0);
    }
    site.until("reprieve_pool_usable_nodes{pool=\"mail\"}", 1.0);
    let answer = http::ask_at(site.admin, "GET /metrics", &[], "").expect("an answer");
    assert_eq!(answer.status, 401, "who shows no token sees nothing");
    [waits, posed, relayed].into_iter().for_each(Dialogue::quit);
    site.until("reprieve_connections_open", 0.0);
}

#[test]
fn metrics_have_no_user_names_and_no_secrets() {
    let site = Site::start();
    site.have_sessions();
    for accept in ["text/plain", "application/openmetrics-text"] {
        let text = site.ask(accept).body;
        for secret in ["alice", "carol", "dora", "emil", "sesame", "wr0ng", "s3cret", TOKEN] {
            assert!(!text.contains(secret), "{secret} stands in\n{text}");
        }
        for user in ODD_USERS {
            let escaped = user.replace('\\', "\\\\").replace('"', "\\\"");
            assert!(!text.contains(user) && !text.contains(&escaped), "{user} stands in\n{text}");
        }
    }
}

/// Folder of the alert rules and the dashboard.
fn packaging(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(folder)
}

/// Names of metrics in a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text
        .split(|character: char| !character.is_ascii_alphanumeric() && character != '_' && character != ':');
    let is_metric = |word: &&str| {
        let own = word.rsplit(':').nth(1).unwrap_or(word);
        ["reprieve_", "process_"].iter().any(|prefix| own.starts_with(prefix))
    };
    words.filter(is_metric).map(str::to_owned).collect()
}

#[test]
fn prometheus_has_the_relief_and_every_metric_of_the_rules_and_dashboard() {
    let site = Site::start();
    let rules =
        ["reprieve-recording.yml", "reprieve-alerts.yml"].map(|file| packaging("prometheus").join(file));
    let prometheus = Prometheus::scraping(site.admin, TOKEN, &rules);
    // Counters are 0 before the first event, so that it is not lost.
    until("it has scraped", || prometheus.value("sum(reprieve_polls_total)") == Some(0.0));
    site.have_sessions();
    until("it has scraped the sessions", || {
        prometheus.value("reprieve_polls_total{virtual_server=\"pop3\"}") == Some(12.0)
            && prometheus.value("reprieve_relieved_total{virtual_server=\"pop3\"}") == Some(4.0)
    });
    assert_eq!(prometheus.value("up"), Some(1.0));
    let relief = "sum(rate(reprieve_relieved_total[5m])) / sum(rate(reprieve_polls_total[5m]))";
    // Four of the sixteen logins at all virtual servers.
    until("the relief", || prometheus.value(relief).is_some_and(|relief| (relief - 0.25).abs() < 1e-9));
    let recorded = "job_virtual_server:reprieve_relief:ratio_rate5m{virtual_server=\"pop3\"}";
    until("it is recorded", || {
        prometheus.value(recorded).is_some_and(|relief| (relief - 1.0 / 3.0).abs() < 1e-9)
    });
    let paused = "ALERTS{alertname=\"ReprievePolicyPaused\", virtual_server=\"broken\"}";
    until("the alert for the paused policy is pending", || prometheus.value(paused) == Some(1.0));
    let told = prometheus.get("/api/v1/rules");
    let groups = told["data"]["groups"].as_array().expect("groups");
    for rule in groups.iter().flat_map(|group| group["rules"].as_array().expect("rules")) {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    let names = prometheus.names();
    let mut asked = BTreeSet::new();
    for file in &rules {
        let text = std::fs::read_to_string(file).expect("rules");
        for metric in metrics_in(&text) {
            assert!(names.contains(&metric), "{} uses {metric}, which does not exist", file.display());
            asked.insert(metric);
        }
    }
    let text = std::fs::read_to_string(packaging("grafana").join("reprieve.json")).expect("a dashboard");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64()), "{title} has the number of another panel");
        let targets = panel["targets"].as_array().map_or(&[][..], Vec::as_slice);
        assert!(!targets.is_empty() || panel["type"] == "row", "{title} shows nothing");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            let expression = target["expr"].as_str().expect("an expression");
            asked.extend(metrics_in(expression));
            let asked_now = expression
                .replace("$__rate_interval", "5m")
                .replace("$virtual_server", ".*")
                .replace("$instance", ".*")
                .replace("$job", ".*");
            assert!(!asked_now.contains('$'), "{title} uses a variable that there is not: {expression}");
            let samples = prometheus.try_query(&asked_now).unwrap_or_else(|error| panic!("{title}: {error}"));
            // Series that are hidden while 0 exist.
            let unfiltered = asked_now.trim_end_matches(" > 0");
            let is_empty =
                samples.is_empty() && prometheus.try_query(unfiltered).is_ok_and(|all| all.is_empty());
            assert!(!is_empty, "{title} is empty: {asked_now}");
        }
    }
    for metric in &asked {
        assert!(names.contains(metric), "the dashboard uses {metric}, which does not exist");
    }
    // Every metric is in a dashboard or rule.
    let base = |name: &String| {
        let name = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        name.map(str::to_owned)
    };
    let shown: BTreeSet<String> =
        asked.iter().flat_map(|name| base(name).into_iter().chain([name.clone()])).collect();
    for name in names.iter().filter(|name| name.starts_with("reprieve_")) {
        assert!(
            shown.contains(name) || base(name).is_some_and(|base| shown.contains(&base)),
            "{name} is not shown"
        );
    }
}

#[test]
fn the_alert_rules_fire_when_they_should() {
    let folder = packaging("prometheus");
    promtool(&folder, &["check", "rules", "reprieve-recording.yml", "reprieve-alerts.yml"], "");
    promtool(&folder, &["test", "rules", "reprieve-tests.yml"], "");
    // Every rule has a test.
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).expect("a file");
    let tests = read("reprieve-tests.yml");
    for alert in read("reprieve-alerts.yml").lines().filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "nothing tests {alert}");
    }
}

#[test]
fn both_formats_are_valid_and_every_metric_is_documented() {
    let site = Site::start();
    site.have_sessions();
    let answer = site.ask("text/plain");
    assert!(answer.headers.contains("text/plain; version=0.0.4"), "{}", answer.headers);
    let said = promtool(site.folder.path(), &["check", "metrics"], &answer.body);
    assert_eq!(said, "", "it finds nothing that should be named otherwise");
    let answer = site.ask("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5");
    assert!(answer.headers.contains("application/openmetrics-text; version=1.0.0"), "{}", answer.headers);
    let file = site.folder.path().join("openmetrics.txt");
    std::fs::write(&file, &answer.body).expect("a file");
    // A strict parser.
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-tools/python/bin/python3");
    let script = "import sys; from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse; \
                  print(len(list(parse(open(sys.argv[1]).read()))))";
    let parsed = Command::new(python).args(["-c", script]).arg(&file).output();
    let parsed = parsed.expect("Python's prometheus_client is missing; install it with: tests/setup");
    assert!(parsed.status.success(), "{}", String::from_utf8_lossy(&parsed.stderr));

    let families = String::from_utf8_lossy(&parsed.stdout).trim().parse::<usize>().expect("a number");
    let text = site.text();
    assert_eq!(families_of(&text).len(), families, "both formats have the same metrics");
    assert_documented(&table_of(&text));
}

/// The table of docs/metrics.md, from what the metrics say about themselves.
fn table_of(text: &str) -> String {
    let labels = families_of(text);
    let mut table = "| metric | labels | meaning |\n| --- | --- | --- |\n".to_owned();
    for (name, help) in text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' ')) {
        let labels: Vec<_> = labels[name].iter().map(|label| format!("`{label}`")).collect();
        table += &format!("| `{name}` | {} | {help} |\n", labels.join(", "));
    }
    table
}

/// Compares the generated part of docs/metrics.md with the table; writes it, if so wanted.
fn assert_documented(table: &str) {
    const BEGIN: &str = "<!-- generated: metrics -->\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = std::fs::read_to_string(&path).expect("docs/metrics.md");
    let (before, rest) = page.split_once(BEGIN).expect("the begin of the table");
    let (documented, after) = rest.split_once("<!-- /generated -->").expect("the end of the table");
    if std::env::var_os("REPRIEVE_WRITE_TABLE").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}<!-- /generated -->{after}")).expect("writing");
    } else {
        assert!(
            documented == table,
            "docs/metrics.md is out of date; renew it with: REPRIEVE_WRITE_TABLE=1 cargo test \
             both_formats_are_valid_and_every_metric_is_documented\n{table}"
        );
    }
}

/// Metric families of a text, with the labels of their samples.
fn families_of(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut families = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            name = rest.split(' ').next().unwrap_or_default().to_owned();
            families.insert(name.clone(), BTreeSet::new());
        } else if let Some((_, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let labels = labels.split("=\"").map(|part| part.rsplit(['"', ',', '{']).next().unwrap_or(part));
            let labels = labels.filter(|label| !label.contains('}') && *label != "le").map(str::to_owned);
            families.get_mut(&name).expect("a family").extend(labels);
        }
    }
    families
}
