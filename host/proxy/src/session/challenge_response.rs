//! Challenge-response logins, whose secret Reprieve never sees: APOP, CRAM-MD5, SCRAM-SHA-256. Only
//! the mail server can verify them, so they pass or are refused, and are never posed.

use std::time::Instant;

use zeroize::Zeroizing;

use super::Session;
use super::client_io::Disconnect;
use super::counters::Counters;
use super::deadline::deadline_or_drain;
use super::login::{Answer, Candidate};
use crate::maildrop::Route;
use crate::pool::{ConnectOutcome, Connection, LoginOutcome, LoginResult, Rejection};
use crate::time::timeout_at;
use reprieve_policy_host::{Action, Cause, Decided};
use reprieve_pop3::authorization::{ChallengeResponse, UnusableLogin};
use reprieve_pop3::credential::{Credentials, Mechanism, Secret};
use reprieve_pop3::line::{LOGIN_LIMIT, NextLine};
use reprieve_pop3::reply::{self, status};
use reprieve_pop3::sasl;

/// Steps per exchange; SCRAM has two.
const MOST_STEPS: usize = 8;

/// A login that goes to the mail server.
struct Passed {
    candidate: Candidate,
    cause: Cause,
    note: Option<String>,
    pool: Option<String>,
}

/// Why an exchange with the mail server did not begin.
enum NotBegun {
    /// The mail server does not accept the mechanism.
    NotOffered,
    /// All nodes are at their session limits.
    Full,
    /// No node was reached, or it did not answer with a challenge.
    Unreachable,
}

/// How an exchange with the mail server ended.
enum Exchanged {
    /// By its status line.
    Status(Vec<u8>),
    /// The client cancelled it or sent something invalid; the reply to the client.
    Ended(&'static [u8]),
    /// The mail server was lost, or its reply is not POP3.
    Lost,
}

impl Session {
    /// `challenger`: the connection to the mail server whose challenge is in the greeting.
    pub(super) async fn digest(
        &mut self,
        digest: ChallengeResponse,
        challenger: Option<Box<Connection>>,
        deadline: crate::time::Instant,
    ) -> Result<Answer, Disconnect> {
        match digest {
            ChallengeResponse::Apop { user, digest } => self.apop(&user, &digest, challenger, deadline).await,
            ChallengeResponse::CramMd5 => self.cram_md5(deadline).await,
            ChallengeResponse::Scram { user, authorization_id, first } => {
                let mut credentials = Credentials::new(&user, Secret::new(b""), Mechanism::ScramSha256);
                credentials.authorization_id = authorization_id;
                self.scram(credentials, &first, deadline).await
            }
        }
    }

    async fn apop(
        &mut self,
        user: &[u8],
        digest: &Secret,
        challenger: Option<Box<Connection>>,
        deadline: crate::time::Instant,
    ) -> Result<Answer, Disconnect> {
        let Some(mut connection) = challenger else {
            // The previous login has used the challenge.
            self.client.out.extend_from_slice(reply::NOT_OFFERED);
            return Ok(Answer::TryAgain);
        };
        let credentials = Credentials::new(user, Secret::new(b""), Mechanism::Apop);
        let passed = match self.decide_unverifiable(credentials).await? {
            Ok(passed) => passed,
            Err(answer) => return Ok(answer),
        };
        let began = Instant::now();
        self.record.asked_server = true;
        let command = Zeroizing::new([b"APOP ", user, b" ", digest.expose(), b"\r\n"].concat());
        let asked = async {
            connection.write(&command).await?;
            connection.line().await
        };
        let end = match timeout_at(deadline, asked).await {
            Ok(Ok(line)) => Exchanged::Status(line),
            _ => Exchanged::Lost,
        };
        self.exchanged(end, *connection, passed, began).await
    }

    /// The challenge comes from the mail server, so it is asked before the user is known.
    async fn cram_md5(&mut self, deadline: crate::time::Instant) -> Result<Answer, Disconnect> {
        let pool = self.context.pool.clone();
        let reached = Box::pin(pool.connect_any(None, self.record.client_info())).await;
        let (mut connection, challenge) = match begin_auth(reached, "CRAM-MD5", deadline).await {
            Ok(begun) => begun,
            Err(why) => return Ok(self.not_begun(why)),
        };
        self.client.out.extend_from_slice(&challenge);
        let line = match self.continuation(deadline).await? {
            Ok(line) => line,
            Err(word) => {
                self.client.out.extend_from_slice(word);
                return Ok(Answer::TryAgain);
            }
        };
        let message = sasl::decode(&line);
        let user = message.as_ref().and_then(|message| sasl::cram_user(message));
        let Some(user) = user else {
            self.client.out.extend_from_slice(reply::NOT_A_MESSAGE);
            return Ok(Answer::TryAgain);
        };
        let credentials = Credentials::new(user, Secret::new(b""), Mechanism::CramMd5);
        let passed = match self.decide_unverifiable(credentials).await? {
            Ok(passed) => passed,
            Err(answer) => return Ok(answer),
        };
        let began = Instant::now();
        self.record.asked_server = true;
        let end = self.exchange(&mut connection, &line, deadline).await?;
        self.exchanged(end, connection, passed, began).await
    }

    async fn scram(
        &mut self,
        credentials: Credentials,
        first: &[u8],
        deadline: crate::time::Instant,
    ) -> Result<Answer, Disconnect> {
        let owner = credentials.authorization_id.clone().unwrap_or_else(|| credentials.user.clone());
        let passed = match self.decide_unverifiable(credentials).await? {
            Ok(passed) => passed,
            Err(answer) => return Ok(answer),
        };
        let began = Instant::now();
        self.record.asked_server = true;
        let wanted = passed.pool.as_ref().and_then(|name| self.context.pools.get(name));
        let pool = wanted.unwrap_or(&self.context.pool).clone();
        let reached = Box::pin(pool.connect_any(Some(&owner), self.record.client_info())).await;
        if let ConnectOutcome::Full | ConnectOutcome::Unreachable = reached {
            let end = match reached {
                ConnectOutcome::Full => LoginOutcome::Full,
                _ => LoginOutcome::Unreachable { node: None },
            };
            return self.concluded(end, passed, began).await;
        }
        let (mut connection, _) = match begin_auth(reached, "SCRAM-SHA-256", deadline).await {
            Ok(begun) => begun,
            Err(why) => return Ok(self.not_begun(why)),
        };
        let end = self.exchange(&mut connection, first, deadline).await?;
        self.exchanged(end, connection, passed, began).await
    }

    /// Asks the policy and applies the host's rules. `Err`: the answer, if the login does not go to a
    /// mail server.
    async fn decide_unverifiable(
        &mut self,
        credentials: Credentials,
    ) -> Result<Result<Box<Passed>, Answer>, Disconnect> {
        let credentials = credentials.split_master_user(self.context.settings.master_separator);
        if let Err(why) = credentials.check() {
            let login = UnusableLogin::new(&credentials.user, credentials.mechanism, why);
            self.client.out.extend_from_slice(&login.reply());
            self.record.unusable(&login);
            return Ok(Err(Answer::TryAgain));
        }
        let mut candidate = self.candidate(Box::new(credentials)).await;
        let verdict = self.ask_policy(&candidate).await;
        let pass = self.route(verdict.clone(), &candidate);
        let disposition = self.dispose(Decided::from(&verdict), &candidate, Some(&pass)).disposition;
        match disposition.action {
            Action::Refused => return Ok(Err(self.refuse(&verdict, disposition))),
            Action::Disconnected => return self.disconnect().await.map(Err),
            // Never posed: the secret was not seen.
            Action::Passed | Action::Posed => {}
        }
        let pool = pass.pool.filter(|pool| *pool != self.context.settings.pool);
        self.context.registry.reserve(&mut candidate.fetched, candidate.key).await;
        Ok(Ok(Box::new(Passed { candidate, cause: disposition.cause(), note: pass.note, pool })))
    }

    /// Answers a login whose exchange did not begin.
    fn not_begun(&mut self, why: NotBegun) -> Answer {
        let (word, answer) = match why {
            NotBegun::NotOffered => (reply::NOT_OFFERED, Answer::TryAgain),
            NotBegun::Full => (reply::POOL_FULL, Answer::Unjudged),
            NotBegun::Unreachable => (reply::UNREACHABLE, Answer::Unjudged),
        };
        if let Answer::Unjudged = answer {
            Counters::count(&self.context.counters.unreachable);
        }
        self.client.out.extend_from_slice(word);
        answer
    }

    /// Relays lines in both directions, the client's first, until the mail server answers with a
    /// status.
    async fn exchange(
        &mut self,
        connection: &mut Connection,
        first: &[u8],
        deadline: crate::time::Instant,
    ) -> Result<Exchanged, Disconnect> {
        let mut line = Zeroizing::new(first.to_vec());
        for _ in 0..MOST_STEPS {
            let asked = async {
                let mut command = Zeroizing::new(Vec::with_capacity(line.len() + 2));
                command.extend_from_slice(&line);
                command.extend_from_slice(b"\r\n");
                connection.write(&command).await?;
                drop(command);
                connection.line().await
            };
            let Ok(Ok(said)) = timeout_at(deadline, asked).await else { return Ok(Exchanged::Lost) };
            if status(&said).is_some() {
                return Ok(Exchanged::Status(said));
            }
            if !said.starts_with(b"+ ") {
                return Ok(Exchanged::Lost);
            }
            self.client.out.extend_from_slice(&said);
            match self.continuation(deadline).await? {
                Ok(answer) => line = answer,
                Err(word) => return Ok(Exchanged::Ended(word)),
            }
        }
        Ok(Exchanged::Lost)
    }

    /// Flushes the replies and reads the client's next line of an exchange. `Err`: the reply if the
    /// client cancels, or sends a line that is not Base64, which a mail server could take for several
    /// commands.
    pub(super) async fn continuation(
        &mut self,
        deadline: crate::time::Instant,
    ) -> Result<Result<Zeroizing<Vec<u8>>, &'static [u8]>, Disconnect> {
        let context = self.context.clone();
        let mut wait_limit = std::pin::pin!(deadline_or_drain(deadline, &context.drain));
        loop {
            match self.client.inbox.next_line(LOGIN_LIMIT) {
                NextLine::Line => {
                    return Ok(match self.client.inbox.line() {
                        b"*" => Err(reply::CANCELLED),
                        line if sasl::decode(line).is_none() => Err(reply::NOT_BASE64),
                        line => Ok(Zeroizing::new(line.to_vec())),
                    });
                }
                NextLine::TooLong => return Ok(Err(reply::TOO_LONG)),
                NextLine::Incomplete => {
                    self.client.flush_until(deadline).await?;
                    self.client.fill_until(deadline, wait_limit.as_mut()).await?;
                }
            }
        }
    }

    async fn exchanged(
        &mut self,
        end: Exchanged,
        connection: Connection,
        passed: Box<Passed>,
        began: Instant,
    ) -> Result<Answer, Disconnect> {
        let node = connection.node_name().clone();
        match &end {
            Exchanged::Ended(_) => {}
            Exchanged::Lost => connection.count(LoginResult::Lost),
            Exchanged::Status(reply) if status(reply) == Some(true) => {
                connection.count(LoginResult::Accepted)
            }
            Exchanged::Status(_) => connection.count(LoginResult::Rejected),
        }
        let end = match end {
            Exchanged::Ended(word) => {
                self.client.out.extend_from_slice(word);
                return Ok(Answer::TryAgain);
            }
            Exchanged::Lost => LoginOutcome::Unreachable { node: Some(node) },
            Exchanged::Status(reply) if status(&reply) == Some(true) => {
                LoginOutcome::Accepted { connection, reply }
            }
            Exchanged::Status(reply) => {
                LoginOutcome::Rejected(Rejection { node, reply, challenge: None, answers_password: true })
            }
        };
        self.concluded(end, passed, began).await
    }

    async fn concluded(
        &mut self,
        end: LoginOutcome,
        passed: Box<Passed>,
        began: Instant,
    ) -> Result<Answer, Disconnect> {
        let Passed { candidate, cause, note, pool } = *passed;
        let route = pool.map(|pool| std::sync::Arc::new(Route { pool: Some(pool), user: None }));
        self.conclude(end, candidate, route, (cause, began, note)).await
    }
}

/// Sends AUTH to a node and returns its challenge.
async fn begin_auth(
    reached: ConnectOutcome,
    mechanism: &str,
    deadline: crate::time::Instant,
) -> Result<(Connection, Vec<u8>), NotBegun> {
    let mut connection = match reached {
        ConnectOutcome::Connected(connection, _) => connection,
        ConnectOutcome::Full => return Err(NotBegun::Full),
        ConnectOutcome::Unreachable => return Err(NotBegun::Unreachable),
    };
    let asked = async {
        connection.write(format!("AUTH {mechanism}\r\n").as_bytes()).await?;
        connection.line().await
    };
    match timeout_at(deadline, asked).await {
        Ok(Ok(line)) if line.starts_with(b"+ ") || line.trim_ascii_end() == b"+" => Ok((connection, line)),
        Ok(Ok(line)) if status(&line) == Some(false) => Err(NotBegun::NotOffered),
        _ => Err(NotBegun::Unreachable),
    }
}
