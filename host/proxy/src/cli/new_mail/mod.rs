//! `reprieve new-mail`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use hyper::Uri;

use crate::output::outln;
use reprieve_secrets::secret_file;

/// The script, with marks for its settings.
const DOVECOT: &str = include_str!("dovecot.lua");

/// Set up signals of new mail: users with new mail pass at once.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, clap::Subcommand)]
enum Subcommands {
    /// Print a script for Dovecot that signals each message that is stored in an INBOX
    ///
    /// The script's comments say which settings Dovecot needs.
    DovecotScript {
        /// Admin address of a proxy: http://HOST:PORT or https://HOST:PORT; if repeated, they are tried
        /// in this order until one accepts the signal
        #[arg(long, required = true, value_name = "URL")]
        url: Vec<String>,
        /// File whose first line is the token (`admin.new-mail-token-file`)
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
        /// Pool of the mail server [default: all with `notifications`]
        #[arg(long, value_name = "NAME")]
        pool: Option<String>,
        /// Send each signal to all proxies, because they do not share a store
        #[arg(long)]
        all: bool,
    },
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Subcommands::DovecotScript { url, token_file, pool, all } = &arguments.command;
    let token = token_file.as_deref().map(secret_file::first_line_or_pipe).transpose();
    let token = token.map_err(|why| anyhow::anyhow!("--token-file: {why}"))?;
    let token = match &token {
        Some(token) => lua_string(std::str::from_utf8(token.expose()).context("--token-file: not ASCII")?)?,
        None => "nil".to_owned(),
    };
    let urls = url.iter().map(|url| signal_url(url, pool.as_deref()));
    let urls =
        urls.map(|url| Ok(format!("  {},", lua_string(&url?)?))).collect::<anyhow::Result<Vec<_>>>()?;
    let script = DOVECOT
        .replace("@URLS@", &urls.join("\n"))
        .replace("@TOKEN@", &token)
        .replace("@ALL@", &all.to_string());
    outln!("{}", script.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// The URL for signals at an admin address.
fn signal_url(url: &str, pool: Option<&str>) -> anyhow::Result<String> {
    let uri = url.parse::<Uri>().ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.path() == "/"
            && uri.query().is_none()
            && !uri.authority().is_none_or(|authority| authority.as_str().contains('@'))
    });
    anyhow::ensure!(
        uri.is_some(),
        "--url {url:?} is not of the form http://HOST:PORT or https://HOST:PORT, without a path"
    );
    let pool = pool.map_or_else(String::new, |pool| format!("/{}", crate::admin::percent_encoded(pool)));
    Ok(format!("{}/new-mail{pool}", url.trim_end_matches('/')))
}

fn lua_string(text: &str) -> anyhow::Result<String> {
    anyhow::ensure!(
        text.bytes().all(|byte| byte.is_ascii_graphic()),
        "{text:?} has characters other than ASCII"
    );
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_for_signals_is_made_from_an_admin_address() {
        assert_eq!(signal_url("http://127.0.0.1:8110", None).unwrap(), "http://127.0.0.1:8110/new-mail");
        assert_eq!(
            signal_url("https://[::1]:8110/", Some("big pool")).unwrap(),
            "https://[::1]:8110/new-mail/big%20pool"
        );
        for bad in ["127.0.0.1:8110", "http://a/new-mail", "ftp://a", "http://u:p@a", "http://a/?b", ""] {
            assert!(signal_url(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn strings_are_quoted_for_lua() {
        assert_eq!(lua_string(r#"a"b\c"#).unwrap(), r#""a\"b\\c""#);
        assert!(lua_string("a\nb").is_err());
    }
}
