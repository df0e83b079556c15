//! Runs Reprieve in this process, with the policy `interval`, in front of the demo's mail server.

use std::net::SocketAddr;

use anyhow::Context;

use crate::config::Config;
use crate::server::{Options, Server};

/// Name of the virtual server without signals of new mail, and of its pool.
pub(crate) const INTERVAL: &str = "interval-only";
/// Name of the virtual server with signals, and of its pool.
pub(crate) const SIGNALS: &str = "with-signals";

/// Starts Reprieve on free loopback ports.
pub(crate) fn start(backend: SocketAddr, interval: &str) -> anyhow::Result<Server> {
    let config = Config::parse(&configuration(backend, interval), "the demo's configuration")?;
    Server::start(config, Options::default()).context("cannot start Reprieve")
}

fn configuration(backend: SocketAddr, interval: &str) -> String {
    // Quoted by the library, because the interval is user input.
    let interval = toml::Value::String(interval.to_owned());
    let server = |name: &str, new_mail: &str| {
        format!(
            "[[virtual-server]]\n\
             name = \"{name}\"\n\
             listen = [\"127.0.0.1:0\"]\n\
             pool = \"{name}\"\n\n\
             [virtual-server.policy]\n\
             component = \"interval\"\n\
             settings = {{ interval = {interval} }}\n\n\
             [pool.{name}]\n\
             nodes = [\"{backend}\"]\n\
             health-check = \"off\"\n\
             {new_mail}\n"
        )
    };
    server(INTERVAL, "") + &server(SIGNALS, "new-mail.notifications.complete = true\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_cannot_inject_other_settings() {
        let text = configuration("127.0.0.1:1".parse().unwrap(), "5s\" }\nx = \"");
        let parsed: toml::Table = text.parse().unwrap();
        for server in parsed["virtual-server"].as_array().unwrap() {
            let settings = &server["policy"]["settings"];
            assert_eq!(settings["interval"].as_str(), Some("5s\" }\nx = \""));
        }
    }
}
