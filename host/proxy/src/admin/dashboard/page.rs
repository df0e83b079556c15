//! The page, assembled once. Its content security policy allows only its own script and style, by
//! their digests.

use std::fmt::Write as _;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

use crate::admin::Status;
use reprieve_store::Health;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const TEMPLATE: &str = include_str!("page.html");
pub(super) const ICON: &str = include_str!("icon.svg");

/// The page before and after the content for browsers without JavaScript.
static PAGE: LazyLock<(String, String)> = LazyLock::new(|| {
    let page = TEMPLATE.replace("{{style}}", STYLE).replace("{{script}}", SCRIPT);
    let (before, after) = page.split_once("{{snapshot}}").unwrap_or((&page, ""));
    (before.to_owned(), after.to_owned())
});

pub(super) static CONTENT_SECURITY_POLICY: LazyLock<String> = LazyLock::new(|| {
    let digest = |text: &str| BASE64_STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
         img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        digest(SCRIPT),
        digest(STYLE)
    )
});

/// Returns the page. `status` is shown by browsers without JavaScript.
pub(super) fn page(status: Option<&Status>) -> String {
    let (before, after) = &*PAGE;
    let snapshot = status
        .map_or_else(|| "<p>This page needs JavaScript to ask you for a token.</p>".to_owned(), snapshot);
    [before, snapshot.as_str(), after].concat()
}

/// Displays text with HTML's special characters escaped.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '&' => to.write_str("&amp;"),
            '<' => to.write_str("&lt;"),
            '>' => to.write_str("&gt;"),
            '"' => to.write_str("&quot;"),
            '\'' => to.write_str("&#39;"),
            other => to.write_char(other),
        })
    }
}

fn table(title: &str, head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut html = format!("<section class=\"card\"><h2>{}</h2><table><thead><tr>", Escaped(title));
    for cell in head {
        let _ = write!(html, "<th scope=\"col\">{}</th>", Escaped(cell));
    }
    html += "</tr></thead><tbody>";
    for row in rows {
        html += "<tr>";
        for cell in &row {
            let _ = write!(html, "<td>{}</td>", Escaped(cell));
        }
        html += "</tr>";
    }
    html + "</tbody></table></section>"
}

/// The status at the time of loading, as HTML.
fn snapshot(status: &Status) -> String {
    let servers = status.virtual_servers.iter().map(|server| {
        let counters = &server.counters;
        vec![
            server.name.clone(),
            server.policy.component.clone(),
            counters.passed.to_string(),
            counters.denied.to_string(),
            counters.relieved.to_string(),
        ]
    });
    let nodes = status.pools.iter().flat_map(|pool| {
        pool.nodes.iter().map(|node| {
            vec![
                node.name.clone(),
                pool.name.clone(),
                if node.healthy { "up" } else { "down" }.to_owned(),
                node.mode.name().to_owned(),
                node.sessions.to_string(),
                node.last_error.clone().unwrap_or_default(),
            ]
        })
    });
    let stores = status.stores.iter().map(|store| {
        let health = match &store.health {
            Health::Healthy => "healthy".to_owned(),
            Health::Unreachable { reason } => format!("unreachable: {reason}"),
            Health::MemoryOnly { reason } => format!("in memory only: {reason}"),
        };
        vec![store.backend.clone(), store.location.clone().unwrap_or_default(), health]
    });
    let summary = format!(
        "<p>Reprieve {}, up {} s, when this page was loaded: {} passed, {} denied, {} relieved. With JavaScript \
         enabled, the page updates itself.</p>",
        Escaped(&status.version),
        status.uptime_s,
        status.passed,
        status.denied,
        status.relieved
    );
    [
        summary,
        table("Virtual servers", &["Name", "Policy", "Passed", "Denied", "Relieved"], servers),
        table("Mail servers", &["Address", "Pool", "Health", "Mode", "Sessions", "Last error"], nodes),
        table("Stores", &["Backend", "Location", "Health"], stores),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_self_contained_and_inserts_no_markup() {
        let page = page(None);
        assert!(!page.contains("{{"), "every placeholder is filled");
        for outside in ["http://", "https://", "//cdn", "@import", "url("] {
            let found = page.replace("http://www.w3.org/2000/svg", "").contains(outside);
            assert!(!found, "{outside} in the page");
        }
        for markup in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "style=", "onclick"]
        {
            assert!(!page.contains(markup), "{markup} in the page");
        }
        assert!(!SCRIPT.contains("</script") && !STYLE.contains("</style"));
        assert!(!CONTENT_SECURITY_POLICY.contains("unsafe"));
    }

    #[test]
    fn names_are_escaped_in_the_page_without_javascript() {
        let hostile = "<script>alert(1)</script>\"'&".to_owned();
        let html = table("Title", &["Head"], std::iter::once(vec![hostile]));
        assert!(html.contains("<td>&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;</td>"), "{html}");
    }
}
