//! Logging in to a node with the client's credentials. Another node is tried only if no node has
//! verified the password: if the connection was lost before the node replied to USER, if the node takes
//! no passwords on this connection, or if the reply reports a temporary failure (`[SYS/TEMP]`).

use std::sync::Arc;
use std::time::Instant;

use zeroize::Zeroizing;

use super::balancing::NodeOrder;
use super::connect::{ClientInfo, ConnectError, Greeting};
use super::connection::Connection;
use super::login_commands::{LoginCommands, login_commands};
use super::node::LoginResult;
use super::pool::Pool;
use super::queue::SlotRequest;
#[cfg(test)]
use crate::simulation::{Fault, planted};
use reprieve_pop3::credential::{Credentials, Mechanism};
use reprieve_pop3::line::COMMAND_LIMIT;
use reprieve_pop3::reply::{response_code, status};
use reprieve_pop3::sasl;

/// Outcome of a login to a pool.
#[derive(Debug)]
pub enum LoginOutcome {
    /// A node accepted the login. Its reply is forwarded to the client.
    Accepted {
        /// The logged-in connection.
        connection: Connection,
        /// The node's status line, including its line ending.
        reply: Vec<u8>,
    },
    /// A node rejected the login. Its reply is forwarded to the client.
    Rejected(Rejection),
    /// No node could be reached, or the node that received the password did not answer.
    Unreachable {
        /// The node whose connection was lost after it received the password, if any.
        node: Option<Arc<str>>,
    },
    /// All nodes are at their session limits, and the queue was full or timed out.
    Full,
    /// The pool cannot forward such a login: SASL EXTERNAL needs a master user.
    Impossible,
}

/// A login that a node rejected.
#[derive(Debug)]
pub struct Rejection {
    /// The node's `host:port`, as configured.
    pub node: Arc<str>,
    /// Its status line, including its line ending.
    pub reply: Vec<u8>,
    /// The node's error message about an OAuth token, in base64, sent before the status line and
    /// forwarded to the client (RFC 7628, section 3.2.2).
    pub challenge: Option<Vec<u8>>,
    /// Whether the node rejected the password rather than the user name sent before it.
    pub answers_password: bool,
}

impl Rejection {
    /// Whether the node says that the password is wrong, rather than that it cannot log in now.
    #[must_use]
    pub fn rejects_password(&self) -> bool {
        self.answers_password && !self.has_code(&[b"SYS/TEMP", b"SYS/PERM", b"IN-USE", b"LOGIN-DELAY"])
    }

    /// Whether the failure is temporary, so that another node may accept the login.
    fn is_temporary(&self) -> bool {
        self.has_code(&[b"SYS/TEMP"])
    }

    /// The response code, without brackets (RFC 2449, section 8).
    #[must_use]
    pub fn response_code(&self) -> Option<Box<str>> {
        let code = response_code(self.reply.trim_ascii_end())?;
        Some(String::from_utf8_lossy(code).to_ascii_uppercase().into())
    }

    fn has_code(&self, codes: &[&[u8]]) -> bool {
        response_code(self.reply.trim_ascii_end())
            .is_some_and(|code| codes.iter().any(|known| code.eq_ignore_ascii_case(known)))
    }
}

/// Outcome of connecting to a node of a pool.
#[derive(Debug)]
pub enum ConnectOutcome {
    /// Connected, and the greeting was read.
    Connected(Connection, Greeting),
    /// No node could be reached.
    Unreachable,
    /// All nodes are at their session limits.
    Full,
}

impl Pool {
    /// Logs in to the first node, in load-balancing order, that can verify the credentials.
    /// `user` replaces the client's user name.
    pub async fn log_in(
        &self,
        credentials: &Credentials,
        user: Option<&[u8]>,
        client: ClientInfo<'_>,
    ) -> LoginOutcome {
        let config = self.config();
        let Some(commands) = login_commands(credentials, user, config.login, self.master()) else {
            return LoginOutcome::Impossible;
        };
        let _in_progress = self.count_login();
        let started = Instant::now();
        let owner = credentials.authorization_id.as_deref().or(user).unwrap_or(&credentials.user);
        let mut search = self.search(Some(owner), client);
        let mut temporary_rejection = None;
        loop {
            let connection = match search.next().await {
                ConnectOutcome::Connected(connection, _) => connection,
                ConnectOutcome::Full => {
                    return temporary_rejection.map_or(LoginOutcome::Full, LoginOutcome::Rejected);
                }
                ConnectOutcome::Unreachable => break,
            };
            let node = connection.node().clone();
            let verification = verify(connection, &commands);
            let outcome = match crate::time::timeout(config.login_timeout, verification).await {
                Ok(Ok(LoginOutcome::Rejected(rejection))) if rejection.is_temporary() => {
                    node.count(LoginResult::Rejected);
                    temporary_rejection = Some(rejection);
                    continue;
                }
                // It would refuse every user: nobody should be asked for another password.
                Ok(Ok(LoginOutcome::Rejected(rejection)))
                    if !rejection.answers_password && node.takes_no_secrets() =>
                {
                    node.count(LoginResult::Unreachable);
                    continue;
                }
                Ok(Ok(outcome)) => outcome,
                Ok(Err(Lost::Unverified)) => {
                    self.login_lost(&node, "connection lost before the password was verified");
                    continue;
                }
                Ok(Err(Lost::MaybeVerified)) | Err(_) => {
                    node.count(LoginResult::Lost);
                    #[cfg(test)]
                    if planted(Fault::PasswordSentTwice) {
                        continue;
                    }
                    return LoginOutcome::Unreachable { node: Some(node.name.clone()) };
                }
            };
            if let LoginOutcome::Accepted { .. } = outcome {
                node.count(LoginResult::Accepted);
                self.record_login_duration(started.elapsed());
                if node.claim_capability_query() {
                    return Box::pin(self.query_capabilities(outcome)).await;
                }
            } else {
                node.count(LoginResult::Rejected);
            }
            return outcome;
        }
        temporary_rejection.map_or(LoginOutcome::Unreachable { node: None }, LoginOutcome::Rejected)
    }

    /// Queries the node's capabilities on a connection whose login was accepted.
    async fn query_capabilities(&self, outcome: LoginOutcome) -> LoginOutcome {
        let LoginOutcome::Accepted { mut connection, reply } = outcome else { return outcome };
        match connection.query_capabilities(self.config().connect_timeout).await {
            Ok(()) => LoginOutcome::Accepted { connection, reply },
            Err(error) => {
                let node = connection.node_name().clone();
                tracing::warn!(pool = self.name(), node = &*node, %error, "connection lost by CAPA after the login");
                LoginOutcome::Unreachable { node: Some(node) }
            }
        }
    }

    /// Connects to a node for a login whose secret only the node sees, such as APOP. `user`: the
    /// mailbox owner, if already known.
    pub async fn connect_any(&self, user: Option<&[u8]>, client: ClientInfo<'_>) -> ConnectOutcome {
        let _in_progress = self.count_login();
        self.search(user, client).next().await
    }

    fn search<'a>(&'a self, user: Option<&[u8]>, client: ClientInfo<'a>) -> Search<'a> {
        Search { pool: self, client, order: self.node_order(user), tried: vec![false; self.nodes().len()] }
    }
}

/// The nodes that a login has tried and has still to try.
struct Search<'a> {
    pool: &'a Pool,
    client: ClientInfo<'a>,
    order: NodeOrder,
    tried: Vec<bool>,
}

impl Search<'_> {
    /// Connects to the next node that can be reached and has a free session slot. Each node is
    /// tried once.
    async fn next(&mut self) -> ConnectOutcome {
        loop {
            let candidates = self.order.candidates(&self.tried);
            if candidates.is_empty() {
                return ConnectOutcome::Unreachable;
            }
            let config = self.pool.config();
            let slot = match self.pool.queue().acquire(&candidates, config.queue_length) {
                SlotRequest::Granted(slot) => slot,
                SlotRequest::QueueFull => return ConnectOutcome::Full,
                SlotRequest::Queued(slot) => match crate::time::timeout(config.queue_timeout, slot).await {
                    Ok(Ok(slot)) => slot,
                    _ => return ConnectOutcome::Full,
                },
            };
            let node = slot.node().clone();
            self.tried[node.index] = true;
            match self.pool.connect(&node, Some(self.client)).await {
                Ok((line_stream, greeting)) => {
                    self.pool.succeeded(&node);
                    return ConnectOutcome::Connected(
                        Connection::new(line_stream, slot, config.reply_timeout),
                        greeting,
                    );
                }
                Err(error @ ConnectError::Node(_)) => self.pool.login_failed(&node, &error.to_string()),
                Err(error @ ConnectError::Client(_)) => self.pool.login_lost(&node, &error.to_string()),
            }
        }
    }
}

/// A connection that was lost during the login.
enum Lost {
    /// The node has not verified the password: another node may be tried.
    Unverified,
    /// The node may have verified the password. No other node is tried: a wrong password must not
    /// count twice.
    MaybeVerified,
}

/// A node's final reply to a login.
struct FinalReply {
    /// Status line, including its line ending.
    reply: Vec<u8>,
    challenge: Option<Vec<u8>>,
    answers_password: bool,
}

async fn verify(mut connection: Connection, commands: &LoginCommands) -> Result<LoginOutcome, Lost> {
    let FinalReply { reply, challenge, answers_password } = send_login(&mut connection, commands).await?;
    match status(&reply) {
        Some(true) => Ok(LoginOutcome::Accepted { connection, reply }),
        Some(false) => {
            let node = connection.node_name().clone();
            Ok(LoginOutcome::Rejected(Rejection { node, reply, challenge, answers_password }))
        }
        None => Err(Lost::MaybeVerified),
    }
}

async fn send_login(connection: &mut Connection, commands: &LoginCommands) -> Result<FinalReply, Lost> {
    match commands {
        LoginCommands::UserPass { name, secret } => {
            let secret = secret.expose();
            let longest = name.len().max(secret.len()) + "PASS \r\n".len();
            if longest > COMMAND_LIMIT && connection.may_support(Mechanism::Plain) {
                // A SASL response has a line of its own, which may be longer than a command. A node
                // that does not support AUTH rejects it before it sees the password; it then gets
                // USER and PASS, and may accept longer commands.
                let message = sasl::write_plain(b"", name, secret);
                let reply = Box::pin(sasl(connection, Mechanism::Plain, &message)).await?;
                if reply.answers_password {
                    return Ok(reply);
                }
            }
            user_and_pass(connection, name, secret).await
        }
        LoginCommands::Sasl { mechanism, message } => sasl(connection, *mechanism, message).await,
    }
}

async fn user_and_pass(connection: &mut Connection, name: &[u8], secret: &[u8]) -> Result<FinalReply, Lost> {
    // Allocated at its final size: a growing vector would leave copies of the password behind.
    let mut commands = Zeroizing::new(Vec::with_capacity(name.len() + secret.len() + 14));
    for part in [&b"USER "[..], name, b"\r\nPASS "] {
        commands.extend_from_slice(part);
    }
    let user_command_len = name.len() + "USER \r\n".len();
    commands.extend_from_slice(secret);
    commands.extend_from_slice(b"\r\n");
    // A node that announces PIPELINING gets both commands at once (RFC 2449, section 6.6), which
    // saves a round trip per login.
    let is_pipelined = connection.announces_pipelining();
    let first = if is_pipelined { &commands[..] } else { &commands[..user_command_len] };
    connection.write(first).await.map_err(|_| Lost::Unverified)?;
    // Replies come in order: without a reply to USER, the password was not verified.
    let reply = connection.line().await.map_err(|_| Lost::Unverified)?;
    match status(&reply) {
        Some(true) => {}
        Some(false) => return Ok(FinalReply { reply, challenge: None, answers_password: false }),
        None => return Err(Lost::Unverified),
    }
    if !is_pipelined {
        connection.write(&commands[user_command_len..]).await.map_err(|_| Lost::MaybeVerified)?;
    }
    drop(commands);
    let reply = connection.line().await.map_err(|_| Lost::MaybeVerified)?;
    Ok(FinalReply { reply, challenge: None, answers_password: true })
}

async fn sasl(connection: &mut Connection, mechanism: Mechanism, message: &[u8]) -> Result<FinalReply, Lost> {
    // No initial response in the command line: it may exceed the limit of a command.
    let command = format!("AUTH {}\r\n", mechanism.name());
    connection.write(command.as_bytes()).await.map_err(|_| Lost::Unverified)?;
    let reply = connection.line().await.map_err(|_| Lost::Unverified)?;
    if !reply.starts_with(b"+ ") && reply.trim_ascii_end() != b"+" {
        return match status(&reply) {
            Some(false) => Ok(FinalReply { reply, challenge: None, answers_password: false }),
            _ => Err(Lost::Unverified),
        };
    }
    {
        let encoded = sasl::encode(message);
        let mut line = Zeroizing::new(Vec::with_capacity(encoded.len() + 2));
        line.extend_from_slice(&encoded);
        line.extend_from_slice(b"\r\n");
        connection.write(&line).await.map_err(|_| Lost::MaybeVerified)?;
    }
    let mut reply = connection.line().await.map_err(|_| Lost::MaybeVerified)?;
    let mut challenge = None;
    if let Some(error) = reply.strip_prefix(b"+ ") {
        // The node reports what is wrong with the token, and expects an answer before it sends -ERR
        // (RFC 7628, section 3.2.3).
        challenge = Some(error.trim_ascii().to_vec());
        let answer: &[u8] = if mechanism == Mechanism::OauthBearer { b"AQ==\r\n" } else { b"\r\n" };
        connection.write(answer).await.map_err(|_| Lost::MaybeVerified)?;
        reply = connection.line().await.map_err(|_| Lost::MaybeVerified)?;
    }
    Ok(FinalReply { reply, challenge, answers_password: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_some_rejections_mean_a_wrong_password() {
        let rejection = |reply: &[u8], answers_password| Rejection {
            node: "a".into(),
            reply: reply.to_vec(),
            challenge: None,
            answers_password,
        };
        assert!(rejection(b"-ERR [AUTH] Authentication failed.\r\n", true).rejects_password());
        assert!(rejection(b"-ERR wrong\r\n", true).rejects_password());
        assert!(!rejection(b"-ERR wrong\r\n", false).rejects_password());
        // Dovecot's reply to USER if it wants TLS.
        assert!(!rejection(b"-ERR [AUTH] Plaintext authentication disallowed\r\n", false).rejects_password());
        assert!(!rejection(b"-ERR [SYS/TEMP] later\r\n", true).rejects_password());
        assert!(!rejection(b"-ERR [in-use] locked\r\n", true).rejects_password());
        assert!(rejection(b"-ERR [sys/temp] later\r\n", true).is_temporary());
        assert!(!rejection(b"-ERR [IN-USE] locked\r\n", true).is_temporary());
        assert!(!rejection(b"-ERR [SYS/PERM] no\r\n", true).is_temporary());
    }
}
