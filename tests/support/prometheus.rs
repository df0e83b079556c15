//! A Prometheus server that scrapes one target, and promtool.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::dovecot::free_address;
use super::http;
use super::tool::Tool;
use super::until;

const PROMETHEUS: Tool = Tool { program: "prometheus", package: "prometheus" };
const PROMTOOL: Tool = Tool { program: "promtool", package: "prometheus" };

/// A sample: labels and value.
pub type Sample = (BTreeMap<String, String>, f64);

/// A running Prometheus; dropping it stops it.
pub struct Prometheus {
    process: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts a server that scrapes a target with this token as the job `reprieve`, and evaluates
    /// these rules, both once per second.
    #[track_caller]
    pub fn scraping(target: SocketAddr, token: &str, rules: &[PathBuf]) -> Self {
        let folder = TempDir::with_prefix("prometheus-").expect("a temporary folder");
        let rules: Vec<_> = rules.iter().map(|rules| format!("{rules:?}")).collect();
        let configuration = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\n\
             rule_files: [{}]\n\
             scrape_configs:\n  - job_name: reprieve\n    authorization: {{ credentials: {token:?} }}\n    static_configs: [{{ targets: [\"{target}\"] }}]\n",
            rules.join(", ")
        );
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, configuration).expect("a configuration");
        let address = free_address();
        let process = PROMETHEUS
            .command()
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starting prometheus");
        let started = Self { process, address, _folder: folder };
        until("Prometheus is ready", || {
            http::ask_at(address, "GET /-/ready", &[], "").is_ok_and(|answer| answer.status == 200)
        });
        started
    }

    /// Evaluates an expression; the error is Prometheus's message.
    pub fn try_query(&self, expression: &str) -> Result<Vec<Sample>, String> {
        let body = format!("query={}", escaped(expression));
        let headers = ["Content-Type: application/x-www-form-urlencoded"];
        let answer = http::ask_at(self.address, "POST /api/v1/query", &headers, &body);
        let answer = answer.map_err(|error| error.to_string())?;
        let told: Value = serde_json::from_str(&answer.body).map_err(|error| error.to_string())?;
        if told["status"] != "success" {
            return Err(told["error"].to_string());
        }
        let samples = told["data"]["result"].as_array().ok_or("no vector")?;
        let samples = samples.iter().map(|sample| {
            let labels = sample["metric"].as_object().ok_or("no labels")?;
            let labels =
                labels.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap_or("").to_owned()));
            let value = sample["value"][1].as_str().and_then(|value| value.parse().ok()).ok_or("no value")?;
            Ok((labels.collect(), value))
        });
        samples.collect()
    }

    /// The value of an expression that has at most one.
    #[track_caller]
    pub fn value(&self, expression: &str) -> Option<f64> {
        let samples = self.try_query(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        assert!(samples.len() < 2, "{expression} has several values: {samples:?}");
        samples.first().map(|(_, value)| *value)
    }

    /// Names of all scraped metrics.
    #[track_caller]
    pub fn names(&self) -> BTreeSet<String> {
        let told = self.get("/api/v1/label/__name__/values");
        let names = told["data"].as_array().expect("names");
        names.iter().map(|name| name.as_str().expect("a name").to_owned()).collect()
    }

    /// The JSON of a GET request.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        let answer = http::ask_at(self.address, &format!("GET {path}"), &[], "").expect("an answer");
        serde_json::from_str(&answer.body).expect("JSON")
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs promtool in a folder and returns its output; fails unless promtool succeeds.
#[track_caller]
pub fn promtool(folder: &Path, arguments: &[&str], input: &str) -> String {
    let mut child = PROMTOOL
        .command()
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starting promtool");
    let mut stdin = child.stdin.take().expect("its standard input");
    stdin.write_all(input.as_bytes()).expect("input that is read");
    drop(stdin);
    let output = child.wait_with_output().expect("its output");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}:\n{said}");
    said
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
