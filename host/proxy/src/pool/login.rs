//! Logging in at a node with the client's own secret. Another node is tried as long as none
//! has judged the secret: before it was shown, or where the reply tells of trouble that will
//! pass.

use std::sync::Arc;
use std::time::Instant;

use zeroize::Zeroizing;

use super::choice::Order;
use super::connect::{Caller, Greeting, Ungreeted};
use super::connection::Connection;
use super::node::LoginResult;
use super::present::{Presentation, present};
use super::queue::Asked;
use super::state::Pool;
use reprieve_pop3::credential::{Credentials, Mechanism};
use reprieve_pop3::line::COMMAND_LIMIT;
use reprieve_pop3::reply::{response_code, status};
use reprieve_pop3::sasl;

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
    /// The nodes have as many sessions as they may, and the queue was full or too slow.
    Full,
    /// The pool has no way to present such a login: SASL EXTERNAL needs a master user.
    Impossible,
}

/// A node's refusal.
#[derive(Debug)]
pub struct Rejection {
    /// The node's name.
    pub node: Arc<str>,
    /// Its status line, its end included.
    pub reply: Vec<u8>,
    /// What it has said before that about a token, in base64: the client learns from it what
    /// is wrong (RFC 7628, section 3.2.2).
    pub challenge: Option<Vec<u8>>,
    /// Whether the node has answered the secret, not the name before it.
    pub answers_secret: bool,
}

impl Rejection {
    /// Whether it says that the secret is wrong, rather than that something else is.
    #[must_use]
    pub fn is_judgement(&self) -> bool {
        self.answers_secret && !self.has_code(&[b"SYS/TEMP", b"SYS/PERM", b"IN-USE", b"LOGIN-DELAY"])
    }

    /// Whether the trouble will pass by itself, so that another node may do better.
    fn is_temporary(&self) -> bool {
        self.has_code(&[b"SYS/TEMP"])
    }

    fn has_code(&self, codes: &[&[u8]]) -> bool {
        response_code(self.reply.trim_ascii_end())
            .is_some_and(|code| codes.iter().any(|known| code.eq_ignore_ascii_case(known)))
    }
}

/// What became of looking for a node.
#[derive(Debug)]
pub enum Reached {
    /// One that has greeted.
    Node(Connection, Greeting),
    /// None.
    Unreachable,
    /// The nodes have as many sessions as they may.
    Full,
}

impl Pool {
    /// Logs in at the node whose turn it is, or at the next one that can judge. `user`: the
    /// name in place of the client's.
    pub async fn log_in(
        &self,
        credentials: &Credentials,
        user: Option<&[u8]>,
        caller: Caller<'_>,
    ) -> LoginEnd {
        let config = self.config();
        let Some(presentation) = present(credentials, user, config.login, self.master()) else {
            return LoginEnd::Impossible;
        };
        let _waiting = self.wait();
        let began = Instant::now();
        let owner = credentials.authorization_id.as_deref().or(user).unwrap_or(&credentials.user);
        let mut search = self.search(Some(owner), caller);
        let mut refused = None;
        loop {
            let connection = match search.next().await {
                Reached::Node(connection, _) => connection,
                Reached::Full => return refused.map_or(LoginEnd::Full, LoginEnd::Rejected),
                Reached::Unreachable => break,
            };
            let node = connection.node_itself().clone();
            let judged = judge(connection, &presentation);
            let end = match tokio::time::timeout(config.login_timeout, judged).await {
                Ok(Ok(LoginEnd::Rejected(rejection))) if rejection.is_temporary() => {
                    node.count(LoginResult::Rejected);
                    refused = Some(rejection);
                    continue;
                }
                Ok(Ok(end)) => end,
                Ok(Err(Lost::Unjudged)) => {
                    self.lost_with_caller(&node, "lost at the login");
                    continue;
                }
                Ok(Err(Lost::PerhapsJudged)) | Err(_) => {
                    node.count(LoginResult::Lost);
                    return LoginEnd::Unreachable { node: Some(node.name.clone()) };
                }
            };
            if let LoginEnd::Accepted { .. } = end {
                node.count(LoginResult::Accepted);
                self.note_latency(began.elapsed());
                if node.is_to_be_asked() {
                    return Box::pin(self.with_capabilities(end)).await;
                }
            } else {
                node.count(LoginResult::Rejected);
            }
            return end;
        }
        refused.map_or(LoginEnd::Unreachable { node: None }, LoginEnd::Rejected)
    }

    /// Lets a login that was accepted teach what its node can do.
    async fn with_capabilities(&self, end: LoginEnd) -> LoginEnd {
        let LoginEnd::Accepted { mut connection, reply } = end else { return end };
        match connection.ask_after_login(self.config().connect_timeout).await {
            Ok(()) => LoginEnd::Accepted { connection, reply },
            Err(error) => {
                let node = connection.node().clone();
                tracing::warn!(pool = self.name(), node = &*node, %error, "lost by CAPA after a login");
                LoginEnd::Unreachable { node: Some(node) }
            }
        }
    }

    /// Finds a node for a login whose secret only the node will see. `user`: where he is
    /// known.
    pub async fn reach(&self, user: Option<&[u8]>, caller: Caller<'_>) -> Reached {
        let _waiting = self.wait();
        self.search(user, caller).next().await
    }

    fn search<'a>(&'a self, user: Option<&[u8]>, caller: Caller<'a>) -> Search<'a> {
        Search { pool: self, caller, order: self.in_turn(user), tried: vec![false; self.nodes().len()] }
    }
}

/// A login's way from node to node.
struct Search<'a> {
    pool: &'a Pool,
    caller: Caller<'a>,
    order: Order,
    tried: Vec<bool>,
}

impl Search<'_> {
    /// The next node that can be reached and has a place; each is tried once.
    async fn next(&mut self) -> Reached {
        loop {
            let candidates = self.order.next(&self.tried);
            if candidates.is_empty() {
                return Reached::Unreachable;
            }
            let config = self.pool.config();
            let place = match self.pool.queue().ask(&candidates, config.queue_length) {
                Asked::Place(place) => place,
                Asked::Full => return Reached::Full,
                Asked::Wait(place) => match tokio::time::timeout(config.queue_timeout, place).await {
                    Ok(Ok(place)) => place,
                    _ => return Reached::Full,
                },
            };
            let node = place.node().clone();
            self.tried[node.index] = true;
            match self.pool.greeted(&node, Some(self.caller)).await {
                Ok((wire, greeting)) => {
                    self.pool.succeeded(&node);
                    return Reached::Node(Connection::new(wire, place, config.reply_timeout), greeting);
                }
                Err(why @ Ungreeted::Node(_)) => self.pool.login_failed(&node, &why.to_string()),
                Err(why @ Ungreeted::Caller(_)) => self.pool.lost_with_caller(&node, &why.to_string()),
            }
        }
    }
}

/// A connection that was lost at the login.
enum Lost {
    /// Before the secret was judged: another node may be shown it.
    Unjudged,
    /// After that, perhaps.
    PerhapsJudged,
}

/// What a node has said at the end of a login.
struct Judgement {
    /// Its status line.
    reply: Vec<u8>,
    challenge: Option<Vec<u8>>,
    answers_secret: bool,
}

async fn judge(mut connection: Connection, presentation: &Presentation) -> Result<LoginEnd, Lost> {
    let Judgement { reply, challenge, answers_secret } = present_to(&mut connection, presentation).await?;
    match status(&reply) {
        Some(true) => Ok(LoginEnd::Accepted { connection, reply }),
        Some(false) => {
            let node = connection.node().clone();
            Ok(LoginEnd::Rejected(Rejection { node, reply, challenge, answers_secret }))
        }
        None => Err(Lost::PerhapsJudged),
    }
}

async fn present_to(connection: &mut Connection, presentation: &Presentation) -> Result<Judgement, Lost> {
    match presentation {
        Presentation::UserPass { name, secret } => {
            let secret = secret.expose();
            let longest = name.len().max(secret.len()) + "PASS \r\n".len();
            if longest > COMMAND_LIMIT && connection.may_take(Mechanism::Plain) {
                // A SASL message has a line of its own, which may be longer than a command. A node
                // that does not know AUTH says so before it has seen anything, and judges itself
                // how long its commands may be.
                let message = sasl::write_plain(b"", name, secret);
                let judgement = Box::pin(sasl(connection, Mechanism::Plain, &message)).await?;
                if judgement.answers_secret {
                    return Ok(judgement);
                }
            }
            user_and_pass(connection, name, secret).await
        }
        Presentation::Sasl { mechanism, message } => sasl(connection, *mechanism, message).await,
    }
}

async fn user_and_pass(connection: &mut Connection, name: &[u8], secret: &[u8]) -> Result<Judgement, Lost> {
    // Exactly as large as it becomes: a vector that grows leaves copies behind.
    let mut commands = Zeroizing::new(Vec::with_capacity(name.len() + secret.len() + 14));
    for part in [&b"USER "[..], name, b"\r\nPASS "] {
        commands.extend_from_slice(part);
    }
    let user = name.len() + 7;
    commands.extend_from_slice(secret);
    commands.extend_from_slice(b"\r\n");
    // One that has said that it takes both at once gets them so (RFC 2449, section 6.6): it has
    // one read, one write and one turn less for each login.
    let at_once = connection.says_pipelining();
    let first = if at_once { &commands[..] } else { &commands[..user] };
    connection.write(first).await.map_err(|_| Lost::Unjudged)?;
    // Replies come in order: who has not answered the name has not judged the secret.
    let reply = connection.line().await.map_err(|_| Lost::Unjudged)?;
    match status(&reply) {
        Some(true) => {}
        Some(false) => return Ok(Judgement { reply, challenge: None, answers_secret: false }),
        None => return Err(Lost::Unjudged),
    }
    if !at_once {
        connection.write(&commands[user..]).await.map_err(|_| Lost::PerhapsJudged)?;
    }
    drop(commands);
    let reply = connection.line().await.map_err(|_| Lost::PerhapsJudged)?;
    Ok(Judgement { reply, challenge: None, answers_secret: true })
}

async fn sasl(connection: &mut Connection, mechanism: Mechanism, message: &[u8]) -> Result<Judgement, Lost> {
    // The response always in a line of its own: it may be longer than a command.
    let command = format!("AUTH {}\r\n", mechanism.name());
    connection.write(command.as_bytes()).await.map_err(|_| Lost::Unjudged)?;
    let reply = connection.line().await.map_err(|_| Lost::Unjudged)?;
    if !reply.starts_with(b"+ ") && reply.trim_ascii_end() != b"+" {
        return match status(&reply) {
            Some(false) => Ok(Judgement { reply, challenge: None, answers_secret: false }),
            _ => Err(Lost::Unjudged),
        };
    }
    {
        let encoded = sasl::encode(message);
        let mut line = Zeroizing::new(Vec::with_capacity(encoded.len() + 2));
        line.extend_from_slice(&encoded);
        line.extend_from_slice(b"\r\n");
        connection.write(&line).await.map_err(|_| Lost::PerhapsJudged)?;
    }
    let mut reply = connection.line().await.map_err(|_| Lost::PerhapsJudged)?;
    let mut challenge = None;
    if let Some(said) = reply.strip_prefix(b"+ ") {
        // It tells what is wrong with the token, and waits for a word before it says -ERR.
        challenge = Some(said.trim_ascii().to_vec());
        let word: &[u8] = if mechanism == Mechanism::OauthBearer { b"AQ==\r\n" } else { b"\r\n" };
        connection.write(word).await.map_err(|_| Lost::PerhapsJudged)?;
        reply = connection.line().await.map_err(|_| Lost::PerhapsJudged)?;
    }
    Ok(Judgement { reply, challenge, answers_secret: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_of_the_secret_judges_it() {
        let rejection = |reply: &[u8], answers_secret| Rejection {
            node: "a".into(),
            reply: reply.to_vec(),
            challenge: None,
            answers_secret,
        };
        assert!(rejection(b"-ERR [AUTH] Authentication failed.\r\n", true).is_judgement());
        assert!(rejection(b"-ERR wrong\r\n", true).is_judgement());
        assert!(!rejection(b"-ERR wrong\r\n", false).is_judgement());
        assert!(!rejection(b"-ERR [SYS/TEMP] later\r\n", true).is_judgement());
        assert!(!rejection(b"-ERR [in-use] locked\r\n", true).is_judgement());
        assert!(rejection(b"-ERR [sys/temp] later\r\n", true).is_temporary());
        assert!(!rejection(b"-ERR [IN-USE] locked\r\n", true).is_temporary());
        assert!(!rejection(b"-ERR [SYS/PERM] no\r\n", true).is_temporary());
    }
}
