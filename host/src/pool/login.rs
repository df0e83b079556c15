//! Logging in at a node with the client's own secret. Another node is tried only as long as
//! none has seen the secret.

use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::connection::Connection;
use super::node::{Node, Pool};
use crate::pop3::credential::Secret;
use crate::pop3::reply::{response_code, status};

/// How a login at a pool ended.
#[derive(Debug)]
pub enum LoginEnd {
    /// A node has accepted it; its reply is for the client.
    Accepted {
        /// The session's connection.
        connection: Connection,
        /// The node's status line, its end included.
        reply: Vec<u8>,
    },
    /// A node has refused it; its reply is for the client.
    Rejected(Rejection),
    /// No node could be reached, or the one that had seen the secret gave no answer.
    Unreachable {
        /// The node that was lost in the middle, if one was.
        node: Option<Arc<str>>,
    },
}

/// A node's refusal.
#[derive(Debug)]
pub struct Rejection {
    /// The node's name.
    pub node: Arc<str>,
    /// Its status line, its end included.
    pub reply: Vec<u8>,
}

impl Rejection {
    /// Whether it says that the secret is wrong, rather than that something else is.
    #[must_use]
    pub fn is_judgement(&self) -> bool {
        !response_code(self.reply.trim_ascii_end()).is_some_and(|code| {
            let code = code.to_ascii_uppercase();
            code.starts_with(b"SYS/") || code == b"IN-USE" || code == b"LOGIN-DELAY"
        })
    }
}

impl Pool {
    /// Logs in at the node whose turn it is, or at the next one that can be reached.
    pub async fn log_in(&self, user: &[u8], secret: &Secret) -> LoginEnd {
        let _waiting = self.wait();
        let began = Instant::now();
        for node in &self.in_turn() {
            match greeted(node, self.config.connect_timeout).await {
                Ok(connection) => {
                    self.mark_up(node);
                    let judged = judge(connection, user, secret);
                    let end = match tokio::time::timeout(self.config.login_timeout, judged).await {
                        Ok(Ok(end)) => end,
                        Ok(Err(Lost::BeforeSecret)) => {
                            self.mark_down(node);
                            continue;
                        }
                        Ok(Err(Lost::AfterSecret)) | Err(_) => {
                            LoginEnd::Unreachable { node: Some(node.name.clone()) }
                        }
                    };
                    if let LoginEnd::Accepted { .. } = end {
                        self.note_latency(began.elapsed());
                    }
                    return end;
                }
                Err(_) => self.mark_down(node),
            }
        }
        LoginEnd::Unreachable { node: None }
    }
}

async fn greeted(node: &Arc<Node>, within: Duration) -> std::io::Result<Connection> {
    let mut connection = Connection::open(node, within).await?;
    let banner = tokio::time::timeout(within, connection.line()).await??;
    if status(&banner) == Some(true) {
        Ok(connection)
    } else {
        Err(std::io::Error::other("the mail server does not greet with +OK"))
    }
}

enum Lost {
    BeforeSecret,
    AfterSecret,
}

async fn judge(mut connection: Connection, user: &[u8], secret: &Secret) -> Result<LoginEnd, Lost> {
    let user = [b"USER ", user, b"\r\n"].concat();
    connection.write(&user).await.map_err(|_| Lost::BeforeSecret)?;
    let reply = connection.line().await.map_err(|_| Lost::BeforeSecret)?;
    match status(&reply) {
        Some(true) => {}
        Some(false) => {
            let node = connection.node().clone();
            return Ok(LoginEnd::Rejected(Rejection { node, reply }));
        }
        None => return Err(Lost::BeforeSecret),
    }
    {
        let secret = secret.expose();
        // Exactly as large as it becomes: a vector that grows leaves copies behind.
        let mut command = Zeroizing::new(Vec::with_capacity(secret.len() + 7));
        command.extend_from_slice(b"PASS ");
        command.extend_from_slice(secret);
        command.extend_from_slice(b"\r\n");
        connection.write(&command).await.map_err(|_| Lost::AfterSecret)?;
    }
    let reply = connection.line().await.map_err(|_| Lost::AfterSecret)?;
    match status(&reply) {
        Some(true) => Ok(LoginEnd::Accepted { connection, reply }),
        Some(false) => {
            let node = connection.node().clone();
            Ok(LoginEnd::Rejected(Rejection { node, reply }))
        }
        None => Err(Lost::AfterSecret),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_of_the_secret_judges_it() {
        let rejection = |reply: &[u8]| Rejection { node: "a".into(), reply: reply.to_vec() };
        assert!(rejection(b"-ERR [AUTH] Authentication failed.\r\n").is_judgement());
        assert!(rejection(b"-ERR wrong\r\n").is_judgement());
        assert!(!rejection(b"-ERR [SYS/TEMP] later\r\n").is_judgement());
        assert!(!rejection(b"-ERR [in-use] locked\r\n").is_judgement());
    }
}
